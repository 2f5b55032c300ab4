"""co2net-data from the command line: what it prints, writes and refuses."""

import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from co2net.backbone.weights import read_weights
from co2net.cli.data import main
from co2net.data.dataset import open_dataset


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, golden_inputs):
    folder = tmp_path_factory.mktemp("bundle")
    golden_inputs.write_toy_bundle(str(folder))
    return folder


@pytest.fixture
def folder(tmp_path):
    """Four videos of 10 snippets, 6 channels."""
    place = tmp_path / "data"
    (place / "features").mkdir(parents=True)
    database = {}
    for index in range(4):
        database[f"v{index}"] = {
            "subset": "train" if index < 2 else "test",
            "duration": 6.4,
            "annotations": [{"label": "run", "segment": [1, 2]}],
        }
        np.save(place / "features" / f"v{index}.npy", np.full((10, 6), index, dtype=np.float32))
    (place / "annotations.json").write_text(json.dumps({"database": database}))
    return place


def run(*arguments, code=0):
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def refused(*arguments):
    """Run what must end in one line on stderr and exit code 2; return the line."""
    result = run(*arguments, code=2)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert re.match(r"co2net-data( \w+)?: error: ", line)
    return line


def test_a_bundle_becomes_a_folder_and_stays_the_same(bundle, tmp_path):
    out = tmp_path / "folder"
    result = run("convert", bundle, out)
    assert "wrote 72 of 72 videos" in result.stderr
    before, after = open_dataset(bundle), open_dataset(out)
    assert after.classes == before.classes
    assert (after.rgb_dim, after.flow_dim, after.timing) == (1024, 1024, before.timing)
    assert (after.train_subset, after.test_subset) == ("validation", "test")
    for a, b in zip(after.annotations.videos, before.annotations.videos, strict=True):
        assert (a.name, a.subset, a.duration_s, a.labels) == (
            b.name, b.subset, b.duration_s, b.labels,
        )  # fmt: skip
        np.testing.assert_array_equal(a.segments, b.segments)
        np.testing.assert_array_equal(a.segment_labels, b.segment_labels)
        assert isinstance(after.features(a.name), np.memmap)
        np.testing.assert_array_equal(after.features(a.name), before.features(b.name))


def test_float16_halves_the_files(folder, tmp_path):
    run("convert", folder, tmp_path / "half", "--dtype", "float16")
    dataset = open_dataset(tmp_path / "half")
    assert dataset.features("v3").dtype == np.float16
    np.testing.assert_array_equal(dataset.load_features("v3"), np.full((10, 6), 3.0))


def test_a_value_beyond_float16_is_reported(folder, tmp_path):
    np.save(folder / "features" / "v1.npy", np.full((10, 6), 1e5, dtype=np.float32))
    result = run("convert", folder, tmp_path / "half", "--dtype", "float16", code=1)
    assert (
        f"error: {folder}/features/v1.npy as float16: 60 values are NaN or infinite"
        in result.stderr
    )
    assert not (tmp_path / "half" / "features" / "v1.npy").exists()
    assert open_dataset(tmp_path / "half").load_features("v0").shape == (10, 6)


def test_bad_videos_are_reported_and_the_others_converted(folder, tmp_path):
    features = np.ones((10, 6), dtype=np.float32)
    features[4, 1] = np.nan
    np.save(folder / "features" / "v1.npy", features)
    (folder / "features" / "v2.npy").write_bytes(b"")
    result = run("convert", folder, tmp_path / "out", "--quiet", code=1)
    first, second = result.stderr.splitlines()
    assert first.startswith(f"error: {folder}/features/v1.npy: 1 value is NaN or infinite")
    assert second.endswith("v2.npy: the file is empty")
    written = sorted(path.name for path in (tmp_path / "out" / "features").iterdir())
    assert written == ["v0.npy", "v3.npy"]
    for index in range(4):
        np.save(folder / "features" / f"v{index}.npy", np.full((10, 6), np.nan))
    assert "no video's features can be used" in run(
        "convert", folder, tmp_path / "none", code=2
    ).stderr  # fmt: skip
    assert not (tmp_path / "none" / "annotations.json").exists()


def test_convert_refuses_to_mix_datasets(folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "something").write_text("")
    assert "the folder is not empty" in refused("convert", folder, out)
    assert "the folder is not empty" in refused("synth", out)
    run("convert", folder, out, "--overwrite")
    assert open_dataset(out).length("v0") == 10


@pytest.mark.parametrize("name", ["../escape", "a/b", "a\0b", ""])
def test_a_video_called_like_a_path_is_not_written(folder, tmp_path, name):
    document = json.loads((folder / "annotations.json").read_text())
    document["database"] = {name: document["database"]["v0"]}
    (tmp_path / "notes.json").write_text(json.dumps(document))
    line = refused("synth", tmp_path / "a" / "out", "--annotations", tmp_path / "notes.json",
                   "--rgb-dim", 2, "--flow-dim", 2)  # fmt: skip
    assert "a video's name becomes a file name" in line
    assert not list(tmp_path.glob("**/*.npy")) or all(
        folder in path.parents for path in tmp_path.glob("**/*.npy")
    )


def test_inspect_reports_what_is_there(folder):
    text = run("inspect", folder, "--deep").stdout
    assert "4 videos, 1 class, a snippet every 16 frames at 25 fps" in text
    assert text.splitlines()[3].split() == [
        "subset", "use", "videos", "features", "instances", "snippets", "min", "median", "max",
        "hours",
    ]  # fmt: skip
    assert text.splitlines()[4].split() == [
        "train", "train", "2", "2", "2", "20", "10", "10", "10", "0.00",
    ]  # fmt: skip
    assert "warnings" not in text
    assert "problems" not in text


def test_inspect_as_json_is_complete(folder):
    np.save(folder / "features" / "v1.npy", np.full((10, 6), 1, dtype=np.float16))
    report = json.loads(run("inspect", folder, "--json", "--deep").stdout)
    assert report["subsets"][1] == {
        "name": "test", "role": "test", "videos": 2, "with_features": 2, "instances": 2,
        "snippets": 20, "snippets_min": 10, "snippets_median": 10.0, "snippets_max": 10,
        "hours": pytest.approx(20 * 0.64 / 3600),
    }  # fmt: skip
    assert report["classes"] == [
        {"name": "run", "train_videos": 2, "train_instances": 2, "test_videos": 2,
         "test_instances": 2}
    ]  # fmt: skip
    assert report["dtypes"] == {"float16": 1, "float32": 3}
    assert report["values_read"] == 4
    assert report["streams"][0] == {
        "name": "rgb", "channels": 3, "minimum": 0.0, "maximum": 3.0, "mean": 1.5,
        "zero_share": 0.25,
    }  # fmt: skip


def test_inspect_reports_every_problem(folder):
    features = np.ones((10, 6), dtype=np.float32)
    features[4, 1] = np.nan
    np.save(folder / "features" / "v0.npy", features)
    np.save(folder / "features" / "v1.npy", np.ones((10, 5), dtype=np.float32))
    np.save(folder / "features" / "v2.npy", np.ones((3, 6), dtype=np.float32))
    (folder / "features" / "v3.npy").unlink()
    report = json.loads(run("inspect", folder, "--json", code=1).stdout)
    assert [line.split(": ", 1)[1] for line in report["warnings"]] == [
        "annotated but without features, left out (v3)",
        "the features are far shorter than the annotated duration (v2)",
    ]
    first, second = report["problems"]
    assert "v0.npy: 1 value is NaN or infinite" in first
    assert "v1.npy: 5 channels a snippet, expected 3 + 3" in second
    assert "problems:" in run("inspect", folder, code=1).stdout


class Creates:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_malicious_bundle_is_refused(bundle, tmp_path):
    name = "Thumos14reduced"
    payload = np.empty(72, dtype=object)
    payload[0] = Creates(tmp_path / "created")
    np.save(tmp_path / f"{name}-I3D-JOINTFeatures.npy", payload, allow_pickle=True)
    (tmp_path / f"{name}-Annotations").symlink_to(bundle / f"{name}-Annotations")
    line = refused("inspect", tmp_path)
    assert "JOINTFeatures.npy: refused: its pickle asks for" in line
    assert not (tmp_path / "created").exists()


def test_bad_input_is_one_line(folder, tmp_path):
    assert "nowhere: no such file or folder" in refused("inspect", tmp_path / "nowhere")
    assert "Invalid value for '--fps'" in refused("inspect", folder, "--fps", "0")
    assert "no video is in the subset 'x'" in refused("inspect", folder, "--train-subset", "x")
    assert "nowhere.txt: cannot read the class list" in refused(
        "inspect", folder, "--classes", tmp_path / "nowhere.txt"
    )
    (tmp_path / "classes.txt").write_text("jump\n")
    assert "unknown label 'run'" in refused(
        "inspect", folder, "--classes", tmp_path / "classes.txt"
    )
    assert "--classes and --videos are for random" in refused(
        "synth", tmp_path / "out", "--annotations", folder, "--classes", 3
    )
    (tmp_path / "file").write_text("")
    assert "file" in refused("synth", tmp_path / "file" / "out")
    (folder / "annotations.json").write_text('{"database": {"v0": {"subset": "test", "ann')
    assert "annotations.json: expected annotations as JSON" in refused("inspect", folder)
    (folder / "annotations.json").write_text(
        '{"database": {"v0": {"subset": "test", "annotations":'
        ' [{"label": null, "segment": [1, 2]}]}}}'
    )
    assert "a label is null: expected the class's name" in refused("inspect", folder)


def test_help_has_an_example_for_every_command():
    for command in ("inspect", "convert", "synth"):
        assert f"co2net-data {command}" in run(command, "--help").stdout
    assert run("--version").stdout.startswith("co2net")


def test_what_made_the_features_goes_along(folder, tmp_path):
    extraction = {"backbone": {"name": "i3d"}, "flow": "tvl1"}
    (folder / "features" / "extraction.json").write_text(json.dumps(extraction))
    run("convert", folder, tmp_path / "out")
    kept = json.loads((tmp_path / "out" / "features" / "extraction.json").read_text())
    assert kept == extraction
    assert 'extracted by:\n  {"backbone": {"name": "i3d"}, "flow": "tvl1"}' in (
        run("inspect", tmp_path / "out").stdout
    )
    assert json.loads(run("inspect", folder, "--json").stdout)["extraction"] == extraction
    # features of another source replace them, and what is said of them
    (folder / "features" / "extraction.json").unlink()
    run("convert", folder, tmp_path / "out", "--overwrite")
    assert not (tmp_path / "out" / "features" / "extraction.json").exists()


def test_leftovers_of_a_killed_run_do_not_block_and_are_swept(folder, tmp_path):
    (tmp_path / "out" / "features").mkdir(parents=True)
    (tmp_path / "out" / "features" / ".v0.npy.k3j2h1g0").write_bytes(b"half")
    (tmp_path / "out" / ".annotations.json.k3j2h1g0").write_bytes(b"half")
    run("convert", folder, tmp_path / "out", "--average-crops", "--offset-frames", 8)
    assert not list((tmp_path / "out").rglob(".*"))
    assert open_dataset(tmp_path / "out").timing.offset_frames == 8
    assert "the first at frame 8" in run("inspect", tmp_path / "out").stdout


def test_rendered_videos_are_a_dataset_once_there_are_features(tmp_path):
    pytest.importorskip("av")
    out = tmp_path / "demo"
    arguments = ["synth-videos", str(out), "--videos", "3", "--classes", "2", "--quiet"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    videos = {file.stem for file in (out / "videos").iterdir()}
    assert videos == {"train_000", "train_001", "test_002"}
    for name in videos:
        np.save(out / "features" / f"{name}.npy", np.ones((30, 8), np.float32))
    dataset = open_dataset(out)
    assert {video.name for video in dataset.annotations.videos} == videos
    assert dataset.annotations.classes == ("Shake", "Bounce")
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "not empty" in again.output


def test_untrained_backbones_load_as_weights(tmp_path):
    path = tmp_path / "flow.pt"
    result = CliRunner().invoke(main, ["synth-backbone", str(path), "--stream", "flow"])
    assert result.exit_code == 0, result.output
    weights = read_weights(path, "flow")
    assert (weights.channels, weights.build().width) == (2, 64)
