"""Optical flow of two gray frames, by name, and the 256 levels that a backbone is fed."""

from types import ModuleType
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from co2net_runtime.artefact.backbone import FlowAlgorithm
from co2net_runtime.errors import BackendError
from co2net_runtime.video.decode import Image
from co2net_runtime.video.resize import load_cv2

ALGORITHMS: tuple[FlowAlgorithm, ...] = get_args(FlowAlgorithm)


class FlowEstimator:
    """Computes the forward flow from one gray frame to the next.

    OpenCV's flow objects hold buffers: one estimator for each thread.
    """

    def __init__(self, algorithm: FlowAlgorithm) -> None:
        """Prepare an algorithm.

        Args:
            algorithm: "tvl1": dual TV-L1 with OpenCV's defaults, what I3D was trained with;
                "tvl1-half": the same at half the size, doubled; "dis-medium", "dis-fast":
                dense inverse search with OpenCV's presets; "farneback": with window 15, 3 scales.

        Raises:
            MissingDependencyError: OpenCV is not installed.
            BackendError: This OpenCV has no TV-L1.
        """
        self._cv2 = load_cv2("optical flow")
        # Farneback's borders see motion where there is none
        self._still_is_zero = algorithm != "farneback"
        self._halve = algorithm == "tvl1-half"
        self._engine = _engine(self._cv2, algorithm)

    def __call__(self, first: Image, second: Image) -> npt.NDArray[np.float32]:
        """Return the displacements (H, W, 2) float32 in pixels, x then y, from first to second.

        Args:
            first: Gray frame (H, W) uint8.
            second: The next one.
        """
        if first is second and self._still_is_zero:
            return np.zeros((*first.shape, 2), np.float32)
        if not self._halve:
            return self._calc(first, second)
        cv2, (height, width) = self._cv2, first.shape
        small = max(1, width // 2), max(1, height // 2)
        halves = [
            cv2.resize(image, small, interpolation=cv2.INTER_AREA) for image in (first, second)
        ]
        flow = cv2.resize(self._calc(*halves), (width, height), interpolation=cv2.INTER_LINEAR)
        scaled: npt.NDArray[np.float32] = flow * np.array(
            [width / small[0], height / small[1]], np.float32
        )
        return scaled

    def _calc(self, first: Image, second: Image) -> npt.NDArray[np.float32]:
        try:
            # some return a buffer of their own, which the next call overwrites
            return np.array(self._engine.calc(first, second, None), np.float32)
        except self._cv2.error as error:
            raise BackendError(f"OpenCV's optical flow: {' '.join(str(error).split())}") from error


def flow_levels(displacements: npt.NDArray[np.float32], bound: float) -> Image:
    """Return displacements in pixels as levels: round(255 (v + bound) / (2 bound)), uint8.

    Displacements beyond +-bound are clipped. No motion is level 128, as for the flow images that
    I3D was trained with.
    """
    scaled = (displacements.clip(-bound, bound) + np.float32(bound)) * np.float32(127.5 / bound)
    levels: Image = np.floor(scaled + np.float32(0.5)).astype(np.uint8)
    return levels


def gray(image: Image) -> Image:
    """Return the gray levels (H, W) uint8 of an image (H, W, 3) R, G, B."""
    cv2 = load_cv2("optical flow")
    levels: Image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return levels


def _engine(cv2: ModuleType, algorithm: FlowAlgorithm) -> Any:
    if algorithm == "dis-medium":
        return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    if algorithm == "dis-fast":
        return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    if algorithm == "farneback":
        return cv2.FarnebackOpticalFlow_create(numLevels=3, winSize=15)
    if not hasattr(cv2, "optflow"):
        raise BackendError(
            f"{algorithm}: this OpenCV has no TV-L1: install opencv-contrib-python-headless in "
            "place of the other opencv packages"
        )
    return cv2.optflow.DualTVL1OpticalFlow_create()
