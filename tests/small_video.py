"""Rendered videos, and backbones small enough to run in milliseconds."""

from fractions import Fraction

import numpy as np

SIDE, SHORT = 32, 40


def picture(index, height=48, width=64):
    """A textured frame whose pattern moves one pixel to the right per frame; (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width]
    x = x - index
    return (
        np.stack(
            [
                128 + 100 * np.sin(x / 5) * np.cos(y / 7),
                128 + 90 * np.cos((x + y) / 6),
                2.0 * y + 20,
            ],
            axis=-1,
        )
        .clip(0, 255)
        .astype(np.uint8)
    )


def write_video(
    path, frames=40, *, codec="libx264", fps=25, times=None, pix_fmt="yuv420p",
    size=(48, 64), options=None, make=picture,
):  # fmt: skip
    """Write a video.

    times: of the frames, in milliseconds; frames: how many at `fps`, where there are no times.
    """
    import av

    path.parent.mkdir(exist_ok=True, parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.height, stream.width = size
        stream.pix_fmt = pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(frames if times is None else len(times)):
            frame = av.VideoFrame.from_ndarray(make(index, *size), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts = index if times is None else times[index]
            frame.time_base = Fraction(1, fps) if times is None else Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_backbone(path, stream, width, *, algorithm="dis-fast", seed=0, claimed=None, **changed):
    """Write a backbone: a mean over 2 x 2 fields of the clip, a random matrix, ReLU."""
    import onnx

    from co2net_runtime.artefact.backbone import BackboneContract, Flow
    from co2net_runtime.artefact.contract import METADATA_KEY

    helper = onnx.helper
    channels = {"rgb": 3, "flow": 2}[stream]
    contract = BackboneContract(
        stream=stream,
        name="mean",
        weights="unknown",
        weights_sha256=f"{seed}" * 64,
        width=claimed or width,
        opset=17,
        short_side=SHORT,
        crop=SIDE,
        flow=Flow(algorithm) if stream == "flow" else None,
        **changed,
    )
    matrix = np.random.default_rng(seed).standard_normal((4 * channels, width))
    half = SIDE // 2
    nodes = [
        helper.make_node(
            "AveragePool", ["clips"], ["means"],
            kernel_shape=[contract.snippet_frames, half, half], strides=[1, half, half],
        ),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "matrix"], ["raw"]),
        helper.make_node("Relu", ["raw"], ["features"]),
    ]  # fmt: skip
    shape = ["batch", channels, contract.snippet_frames, SIDE, SIDE]
    graph = helper.make_graph(
        nodes,
        "backbone",
        [helper.make_tensor_value_info("clips", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["batch", width])],
        [onnx.numpy_helper.from_array(matrix.astype(np.float32), "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    onnx.save(model, path)
