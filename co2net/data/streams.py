"""How the channels of features divide into RGB and flow."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from co2net.data.feature_store import FeatureStore, Header
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping

# channels of one stream of I3D
_I3D_STREAM_DIM = 1024


@dataclass(frozen=True)
class Streams:
    """Channels of the two streams, as annotations.json states them under "streams"."""

    rgb_dim: int
    flow_dim: int


def stream_dims(
    store: FeatureStore,
    names: Sequence[str],
    document: Mapping[str, Any],
    rgb_dim: int | None,
    where: str,
) -> Streams:
    """Return the channels of RGB and flow: as the annotations state, else as in the first video.

    Args:
        store: The features.
        names: Videos that have features.
        document: The annotations' JSON; it may state the widths under "streams".
        rgb_dim: How many channels of a file that holds both are RGB; None: half.
        where: The annotations' file, for errors.

    Raises:
        InputError: The channels cannot be divided so, or no video can be read.
    """
    if "streams" in document:
        stated = from_mapping(Streams, document["streams"], f"{where}: streams")
        widths: tuple[int, ...] = (stated.rgb_dim, stated.flow_dim)
    else:
        widths = _first_header(store, names).widths
    if len(widths) == 2 and rgb_dim is None:
        return Streams(widths[0], widths[1])
    total = sum(widths)
    if rgb_dim is None and total % 2:
        raise InputError(f"{total} channels a snippet do not halve: say --rgb-dim")
    rgb_dim = total // 2 if rgb_dim is None else rgb_dim
    if not 0 < rgb_dim < total:
        raise InputError(f"--rgb-dim {rgb_dim}: the features have {total} channels in all")
    return Streams(rgb_dim, total - rgb_dim)


def _first_header(store: FeatureStore, names: Sequence[str]) -> Header:
    """Return the first header that can be read; the error of the first file if none can."""
    errors = []
    for name in names:
        try:
            return store.header(name)
        except InputError as error:
            errors.append(error)
    raise errors[0]


def one_stream(streams: Streams) -> list[str]:
    """Warn of features whose width is that of one stream of I3D."""
    if streams.rgb_dim + streams.flow_dim != _I3D_STREAM_DIM:
        return []
    return [
        f"{_I3D_STREAM_DIM} channels are those of one stream of I3D, RGB or flow alone; CO2-Net "
        "needs both: the first half is taken for RGB, the second for flow (say --rgb-dim if the "
        "file does hold both)"
    ]
