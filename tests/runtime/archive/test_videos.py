"""co2net-archive on videos: the features are those of co2net-infer on the same files."""

import json
from importlib.util import find_spec

import pytest
from click.testing import CliRunner
from small_video import write_backbone, write_video

from co2net_runtime.cli import infer as infer_cli

if not all(map(find_spec, ("av", "cv2", "onnx", "onnxruntime"))):
    pytest.skip("needs the video extra", allow_module_level=True)


@pytest.fixture
def backbones(tmp_path):
    """RGB of width 6 and flow of width 10, as the tiny model takes them."""
    words = []
    for stream, width in (("rgb", 6), ("flow", 10)):
        path = tmp_path / f"{stream}.onnx"
        write_backbone(path, stream, width)
        words += [f"--{stream}", path]
    return words


def test_videos_become_the_segments_of_infer(
    start, finish, read, cluster, backbones, tiny_path, tmp_path
):
    videos = tmp_path / "videos"
    for index in range(5):
        write_video(videos / f"clip{index}.mp4", 40 + 16 * index)
    write_video(videos / "short.mp4", 5)
    (videos / "broken.mp4").write_bytes(b"no video")
    arguments = [tiny_path, videos, *backbones, "--out", tmp_path / "infer.jsonl"]
    arguments += ["--threads", "1", "--backend", "onnxruntime"]
    done = CliRunner().invoke(infer_cli.main, list(map(str, arguments)))
    write_video(videos / "crash.mp4", 40)  # its decoder dies
    assert done.exit_code == 1, done.stderr
    lines = (tmp_path / "infer.jsonl").read_text().splitlines()
    expected = {one["video"]: one["results"] for one in map(json.loads, lines)}
    out = tmp_path / "out"
    options = ("--shard-videos", "4", "--address", cluster[1])
    code, err = finish(start(videos, *backbones, "--out", out, *options))
    found = read(out)
    assert code == 1, err
    assert "crash.mp4: the process that decodes it died 3 times" in found.pop("crash")
    for name in ("short", "broken"):
        assert found.pop(name) in done.stderr
    assert found == expected, err
    assert "5 videos now, 3 failed" in err


def test_what_does_not_go_together(start, finish, backbones, feature_folder, tmp_path):
    out = ("--out", tmp_path / "out")
    code, err = finish(start(feature_folder(5), "--flow", backbones[3], *out))
    assert code == 2
    assert "need --rgb" in err
    code, err = finish(start(tmp_path / "none", *backbones, *out))
    assert code == 2
    assert "none" in err
