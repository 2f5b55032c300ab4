import importlib.util
import json

import numpy as np
import pytest
from click.testing import CliRunner

if not all(map(importlib.util.find_spec, ("av", "cv2", "onnx"))):
    pytest.skip("needs PyAV, OpenCV and onnx", allow_module_level=True)

from co2net_runtime.cli import extract as extract_cli
from co2net_runtime.cli import infer as infer_cli
from co2net_runtime.detections import read_results
from tests.runtime.video.conftest import (  # noqa: F401  # fixtures
    flow_path,
    make_backbone,
    render,
    rgb_path,
)


@pytest.fixture
def backbones(rgb_path, flow_path):  # noqa: F811
    return ["--rgb", rgb_path, "--flow", flow_path]


def run(command, *arguments):
    return CliRunner().invoke(command.main, [*map(str, arguments), "--threads", "1"])


@pytest.fixture
def videos(render, tmp_path):  # noqa: F811
    """Two videos, and one that is too short."""
    render("videos/a.mp4", 40)
    render("videos/b.mkv", 70, codec="mpeg4")
    render("videos/short.mp4", 10)
    return tmp_path / "videos"


def test_extract_a_folder_with_a_short_video(videos, backbones, tmp_path):
    out = tmp_path / "features"
    done = run(extract_cli, videos, *backbones, "--out", out, "--json")
    assert done.exit_code == 1
    assert "short.mp4: 10 frames, shorter than one snippet" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["a.npy", "b.npy", "extraction.json"]
    assert np.load(out / "b.npy").shape == (4, 16)
    summary = json.loads(done.stdout)
    assert summary["videos"] == {"a": 2, "b": 4}
    assert len(summary["failures"]) == 1
    assert json.loads((out / "extraction.json").read_text()) == summary["extraction"]


def test_existing_features_stay(videos, backbones, tmp_path):
    out = tmp_path / "features"
    run(extract_cli, videos / "a.mp4", *backbones, "--out", out)
    before = (out / "a.npy").stat().st_mtime_ns
    done = run(extract_cli, videos / "*.m*", *backbones, "--out", out, "--skip-existing")
    assert "1 already there" in done.stderr
    assert (out / "a.npy").stat().st_mtime_ns == before
    assert (out / "b.npy").exists()


def test_features_are_not_replaced_unasked(videos, backbones, tiny_path, tmp_path):
    arguments = [videos / "a.mp4", *backbones, "--out", tmp_path / "f"]
    assert run(extract_cli, *arguments).exit_code == 0
    again = run(extract_cli, *arguments)
    assert again.exit_code == 2
    assert "a.npy: exists already: pass --skip-existing" in again.stderr
    assert run(extract_cli, *arguments, "--overwrite").exit_code == 0
    saved = [tiny_path, videos / "a.mp4", *backbones, "--save-features", tmp_path / "f"]
    assert "exists already" in run(infer_cli, *saved).stderr
    assert run(infer_cli, *saved, "--overwrite").exit_code == 0


def test_a_folder_of_other_features_is_refused(
    videos, backbones, rgb_path, tmp_path  # noqa: F811
):  # fmt: skip
    out = tmp_path / "features"
    run(extract_cli, videos / "a.mp4", *backbones, "--out", out)
    done = run(extract_cli, videos / "b.mkv", "--rgb", rgb_path, "--out", out)
    assert done.exit_code == 2
    assert "the features in this folder were made otherwise" in done.stderr
    assert not (out / "b.npy").exists()


def test_a_flow_algorithm_of_ones_own_must_be_accepted(videos, backbones, tmp_path):
    arguments = [videos / "a.mp4", *backbones, "--out", tmp_path / "f"]
    refused = run(extract_cli, *arguments, "--flow-algorithm", "farneback")
    assert refused.exit_code == 2
    assert "--accept-mismatch" in refused.stderr
    assert not (tmp_path / "f").exists()
    done = run(extract_cli, *arguments, "--flow-algorithm", "farneback", "--accept-mismatch")
    assert done.exit_code == 0
    made = json.loads((tmp_path / "f" / "extraction.json").read_text())
    assert made["flow"]["flow"]["algorithm"] == "farneback"


def test_infer_from_videos_to_every_format(tiny_path, videos, backbones, tmp_path):
    outs = [tmp_path / f"results.{suffix}" for suffix in ("json", "jsonl", "csv")]
    done = run(
        infer_cli, tiny_path, videos, *backbones, "--save-features", tmp_path / "saved",
        *(word for out in outs for word in ("--out", out)),
    )  # fmt: skip
    assert done.exit_code == 1, done.stderr
    assert "short.mp4: 10 frames, shorter than one snippet" in done.stderr
    assert "does not say what its features were extracted with" in done.stderr
    assert list(read_results(outs[0])) == ["a", "b"]
    made_by = json.loads(outs[0].read_text())["external_data"]
    assert made_by["extraction"]["timing"]["snippet_frames"] == 16
    features = run(infer_cli, tiny_path, tmp_path / "saved", "--out", tmp_path / "again.csv")
    assert features.exit_code == 0
    assert (tmp_path / "again.csv").read_text() == outs[2].read_text()


def test_infer_one_video_to_subtitles(tiny_path, videos, backbones, tmp_path):
    out = tmp_path / "a.srt"
    done = run(infer_cli, tiny_path, videos / "a.mp4", *backbones, "--out", out, "--quiet")
    assert done.exit_code == 0
    assert "-->" in out.read_text()


def test_a_video_without_backbones_says_what_to_give(tiny_path, videos):
    done = run(infer_cli, tiny_path, videos / "a.mp4")
    assert done.exit_code == 2
    assert "a.mp4: a video: give the backbones" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = run(infer_cli, tiny_path, videos)
    assert done.exit_code == 2
    assert f"{videos.name}: a folder of videos: give the backbones" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_package_is_named(monkeypatch, tiny_path, videos, backbones, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    done = run(extract_cli, videos, *backbones, "--out", tmp_path / "f")
    assert done.exit_code == 2
    assert "reading video needs PyAV, which is not installed: pip install 'co2net[video]'" in (
        done.stderr
    )
