"""co2net-archive on videos: the features are those of co2net-infer on the same files."""

import json
from dataclasses import replace
from importlib.util import find_spec

import pytest
from click.testing import CliRunner
from small_video import write_backbone, write_video

from co2net_runtime.archive.cluster import Cluster, shared_out
from co2net_runtime.archive.videos import Backbones
from co2net_runtime.archive.worker import WorkerOptions
from co2net_runtime.backends import EngineOptions
from co2net_runtime.cli import infer as infer_cli
from co2net_runtime.cli.archive import main
from co2net_runtime.errors import InputError

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


def test_what_does_not_go_together(backbones, tiny_path, feature_folder, tmp_path):
    pytest.importorskip("ray")
    words = [tiny_path, feature_folder(5), *backbones[2:], "--out", tmp_path / "out"]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 2
    assert "need --rgb" in done.stderr


def test_cpus_are_shared_out_between_backbones_and_decoders():
    told = WorkerOptions(
        "m", EngineOptions(), "f", "run", "p", None, Backbones("r", None, None, False), None, None
    )
    for cpus, gpus, threads, actors, expected in (
        (1, 0, 1, None, (1, 0, 1)),  # a single CPU is shared
        (2, 0, 1, None, (1, 1, 1)),
        (8, 0, 1, None, (4, 1, 1)),
        (16, 0, 2, 2, (2, 2, 6)),  # actors, CPUs of each, tasks for each
        (64, 4, 1, None, (4, 0, 16)),  # an actor for each GPU, all CPUs decode
    ):
        found = shared_out(Cluster(None, actors, threads, gpus > 0), told, cpus, gpus)
        assert found[:2] == expected[:2]
        assert found[2].backbones.tasks == expected[2]
    features = replace(told, backbones=None)
    assert shared_out(Cluster(None, None, 2, False), features, 9, 0)[:2] == (4, 2)
    assert shared_out(Cluster(None, None, 1, True), features, 64, 4)[:2] == (4, 1)
    with pytest.raises(InputError, match="leave none of the 8 CPUs to decode videos"):
        shared_out(Cluster(None, 8, 1, False), told, 8, 0)
