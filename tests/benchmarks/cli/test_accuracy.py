import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from co2net.data.annotations import read_annotations
from co2net.evaluation.mean_ap import classification_scores
from co2net.evaluation.protocol import evaluate
from co2net_benchmarks.accuracy.results import AccuracyResults
from co2net_benchmarks.accuracy.tables import accuracy_tables
from co2net_benchmarks.cli.group import COMMANDS, main
from co2net_benchmarks.run_file import read_runs
from co2net_runtime.cli.infer import main as infer
from co2net_runtime.detections import read_results
from co2net_runtime.files.records import from_mapping
from co2net_runtime.localizer import Localizer

TINY = Path(__file__).parents[2] / "runtime" / "data"
MODEL = TINY / "tiny.onnx"
VIDEOS = ("video_17", "video_40")


def document(**videos):
    """video=[subset, [start, end, label], ...] -> annotations."""
    return {
        "database": {
            name: {
                "subset": subset,
                "duration": 100,
                "annotations": [
                    {"segment": [start, end], "label": label} for start, end, label in rows
                ],
            }
            for name, (subset, *rows) in videos.items()
        }
    }


def predictions(**videos):
    """video=[[start, end, label, score], ...] -> ActivityNet results."""
    return {
        "version": "test",
        "results": {
            name: [
                {"segment": [start, end], "label": label, "score": score}
                for start, end, label, score in rows
            ]
            for name, rows in videos.items()
        },
        "external_data": {},
    }


@pytest.fixture
def annotations(tmp_path):
    path = tmp_path / "annotations.json"
    content = document(
        a=["test", [0, 10, "Run"], [20, 30, "Jump"]],
        b=["test", [5, 15, "Run"]],
        c=["validation", [0, 10, "Run"], [20, 30, "Jump"]],
    )
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def write(tmp_path):
    def to_file(name, content):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return to_file


GOOD = predictions(
    a=[[0, 10, "Run", 0.9], [0, 9, "Run", 0.5], [20, 24, "Jump", 0.8]], b=[[50, 60, "Run", 0.7]]
)


def run(*arguments):
    return CliRunner().invoke(main, ["accuracy", *map(str, arguments)])


def test_table_shows_map_and_averages(annotations, write):
    done = run(write("p.json", GOOD), annotations)
    assert (done.exit_code, done.stderr) == (0, "")
    header, _, row, counts = done.stdout.splitlines()[1:5]
    thresholds = [f"{tiou / 10}" for tiou in range(1, 10)]
    assert header.split() == ["tIoU", *thresholds, "0.1:0.5", "0.3:0.7", "0.1:0.7", "mean"]
    # of two Runs one is found; the Jump has a tIoU of 0.4
    assert row.split()[1:4] == ["75.00"] * 3
    assert row.split()[4:10] == ["25.00"] * 6
    assert counts == "4 predictions, 3 instances of 2 of 2 classes in 2 videos"


def test_json_is_a_run_file_that_holds_what_evaluate_says(annotations, write, tmp_path):
    path = write("p.json", GOOD)
    done = run(path, annotations, "--json", "--analyze", "--compare", path)
    assert done.exit_code == 0
    saved = read_runs(write("run.json", done.stdout))[0]
    assert saved.kind == "accuracy"
    results = from_mapping(AccuracyResults, saved.results, "run.json")

    known = read_annotations(annotations)
    expected = evaluate(read_results(path), known.subset("test"), known.classes)
    assert results.map == tuple(expected.result.map)
    assert results.averages == expected.result.averages
    assert {each.name: each.ap for each in results.classes} == {
        name: tuple(expected.result.ap[:, label]) for label, name in enumerate(known.classes)
    }
    assert len(results.analysis) == 1
    assert results.comparison is not None
    assert set(results.comparison.map) == {0.0}
    # what a run file holds suffices for the tables
    assert len(accuracy_tables(results, per_class=True)) >= 6


def test_protocol_activitynet_has_its_own_thresholds(annotations, write):
    done = run(write("p.json", GOOD), annotations, "--protocol", "activitynet", "--json")
    results = json.loads(done.stdout)["results"]
    assert results["tious"][0] == 0.5
    assert results["tious"][-1] == 0.95
    assert list(results["averages"]) == ["all"]


def test_thresholds_can_be_chosen_and_say_who_uses_them(annotations, write):
    path = write("p.json", GOOD)
    done = run(path, annotations, "--protocol", "activitynet", "--tious", ".3:.1:.7")
    assert done.exit_code == 0, done.stderr
    header = done.stdout.splitlines()[1]
    assert header.split() == ["tIoU", "0.3", "0.4", "0.5", "0.6", "0.7", "0.3:0.7", "mean"]
    assert "same setting as: ActionFormer, TriDet, AFSD and OpenTAD on THUMOS14" in done.stdout
    assert "same setting as: CO2-Net" in run(path, annotations).stdout
    bad = run(path, annotations, "--tious", "0.5:0.1")
    assert bad.exit_code == 2
    assert "expected a number or START:STEP:STOP" in bad.stderr


def test_recall_is_printed_on_request(annotations, write):
    path = write("p.json", GOOD)
    done = run(path, annotations, "--recall", "5,1", "--tious", "0.3,0.5")
    rows = [line.split() for line in done.stdout.partition("recall@k")[2].splitlines()]
    # of three instances Run in a and, below 0.5, Jump
    assert ["1", "66.67", "33.33", "50.00"] in rows
    assert ["5", "66.67", "33.33", "50.00"] in rows
    assert "recall@k" not in run(path, annotations).stdout
    assert "as in 1,5,10" in run(path, annotations, "--recall", "0").stderr


def test_results_of_opentad_are_read(annotations, write):
    """Its result_detection.json holds "results" alone; scores and times are plain floats."""
    path = write("result_detection.json", {"results": GOOD["results"]})
    done = run(path, annotations, "--json")
    expected = run(write("p.json", GOOD), annotations, "--json")
    assert done.exit_code == 0, done.stderr
    maps = [json.loads(each.stdout)["results"]["map"] for each in (done, expected)]
    assert maps[0] == maps[1]


def test_columns_are_explained_on_request(annotations, write):
    path = write("p.json", GOOD)
    assert "top G: the G best" not in run(path, annotations, "--analyze").stdout
    assert "top G: the G best" in run(path, annotations, "--analyze", "--explain").stdout


def test_classes_without_training_videos_are_named(annotations, write):
    """They count as AP 0, which is no fault of the model."""
    content = document(a=["test", [0, 10, "Run"], [20, 30, "Jump"]], c=["training", [0, 10, "Run"]])
    done = run(write("p.json", GOOD), write("more.json", content), "--subset", "test")
    assert "0 training videos: cannot be learned, counts as AP 0 (Jump)" in done.stderr


def test_per_class_lists_classes_without_instances_too(annotations, write):
    # Climb occurs in no test video
    content = json.loads(annotations.read_text())
    content["database"]["c"]["annotations"][0]["label"] = "Climb"
    done = run(write("p.json", GOOD), write("more.json", content), "--per-class")
    rows = {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines() if line}
    assert rows["Climb"] == ["0", "0", *["-"] * 10]
    assert rows["Run"][:3] == ["2", "3", "50.00"]
    assert "of 2 of 3 classes" in done.stdout


def test_analyze_prints_types_and_lengths_at_each_threshold(annotations, write):
    done = run(write("p.json", GOOD), annotations, "--analyze", "--tiou", 0.3, "--tiou", 0.5)
    assert done.exit_code == 0
    assert "errors at tIoU 0.3" in done.stdout
    at_half = done.stdout[done.stdout.index("errors at tIoU 0.5") :]
    rows = [line.split() for line in at_half.splitlines()]
    assert ["true", "positive", "1", "1"] in rows
    assert ["double", "detection", "1", "0"] in [row[:4] for row in rows]
    assert ["M", "(6", "to", "12", "s)", "3", "2", "66.67"] in rows


def test_compare_says_what_changed(annotations, write):
    better = predictions(a=[[0, 10, "Run", 0.9], [20, 30, "Jump", 0.8]], b=[[5, 15, "Run", 0.7]])
    done = run(
        write("new.json", better), annotations, "--compare", write("old.json", GOOD), "--json"
    )
    change = json.loads(done.stdout)["results"]["comparison"]
    np.testing.assert_allclose(change["map"], [0.25] * 3 + [0.75] * 6)
    assert [each["video"] for each in change["instances_gained"]] == ["a", "b"]
    assert change["instances_lost"] == []
    # Jump [20, 24) and [20, 30) share 0.4, Run [0, 9) has lost its twin, b moved altogether
    segments = change["segments"]
    assert segments["kept"] == 1
    assert [(s["video"], s["start_s"]) for s in segments["gained"]] == [("a", 20), ("b", 5)]
    assert sorted((s["video"], s["end_s"]) for s in segments["lost"]) == [
        ("a", 9), ("a", 24), ("b", 60),
    ]  # fmt: skip
    table = run(
        write("new.json", better), annotations, "--compare", write("old.json", GOOD), "--per-class"
    ).stdout
    assert "+25.00" in table
    assert "change from" in table


def test_odd_videos_are_counted_on_stderr(annotations, write):
    odd = predictions(
        a=[[0, 10, "Run", 0.9]], c=[[0, 10, "Run", 0.9]], nowhere=[[0, 10, "Run", 0.9]]
    )
    path = write("p.json", odd)
    done = run(path, annotations)
    assert done.exit_code == 0
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert "1 video: not of the subset 'test', left out (c)" in lines[0]
    assert "1 video: annotated, but without predictions: all missed (b)" in lines[1]
    assert "1 video: predictions, but no annotations: all false positives (nowhere)" in lines[2]
    assert run(path, annotations, "--quiet").stderr == ""


def test_activitynet_file_prefix_is_no_part_of_a_name(annotations, write):
    rows = [[0, 10, "Run", 0.9], [20, 24, "Jump", 0.8]]
    done = run(write("p.json", predictions(v_a=rows)), annotations, "--json")
    assert json.loads(done.stdout)["results"]["unknown_videos"] == []
    assert json.loads(done.stdout)["results"]["predictions"] == 2


def test_a_video_under_both_its_names_is_refused(annotations, write):
    rows = [[0, 10, "Run", 0.9]]
    done = run(write("p.json", predictions(a=rows, v_a=rows)), annotations)
    assert done.exit_code == 2
    assert "'a' is there twice, with and without v_" in done.stderr


def test_subset_can_be_chosen_and_a_lone_one_needs_no_name(annotations, write):
    path = write("p.json", predictions(c=[[0, 10, "Run", 0.9]]))
    done = run(path, annotations, "--subset", "Validation")
    assert "1 prediction, 2 instances" in done.stdout
    lone = write("lone.json", document(c=["mine", [0, 10, "Run"]]))
    assert "100.00" in run(path, lone).stdout


# what PREDICTIONS holds (None: no such file), what DATA holds (None: the annotations fixture),
# more arguments, what the one line must say
BAD = {
    "no file": (None, None, [], "p.json: cannot read the predictions"),
    "empty": ("", None, [], "p.json: expected predictions as JSON"),
    "not JSON": ("{", None, [], "p.json: expected predictions as JSON"),
    "other JSON": ("[1]", None, [], "p.json: expected ActivityNet results"),
    "damaged record": (
        {"results": {"a": [{"label": "Run"}]}}, None, [],
        "p.json: a: expected records",
    ),
    "segment that ends before it starts": (
        predictions(a=[[5, 1, "Run", 1]]), None, [],
        "p.json: a: a segment from 5.0 to 1.0",
    ),
    "unknown label": (
        predictions(a=[[0, 1, "Rum", 1]]), None, [],
        "p.json: predicted labels that the annotations do not know: 'Rum' (did you mean 'Run'?)",
    ),
    "no such subset": (
        GOOD, None, ["--subset", "testing"],
        "no video is in the subset 'testing' (did you mean 'test'?)",
    ),
    "no video of the subset": (
        predictions(z=[]), None, [],
        "p.json: none of its videos is in the subset 'test'",
    ),
    "which subset": (
        GOOD, document(a=["x", [0, 1, "Run"]], b=["y"]), [],
        "which subset to judge on (found: x, y): name it with --subset",
    ),
    "nothing annotated": (
        GOOD, document(a=["test"], c=["train", [0, 1, "Run"]]), [],
        "no segment is annotated in the subset 'test'",
    ),
    "damaged annotations": (GOOD, "{", [], "data.json: "),
    "threshold without analysis": (GOOD, None, ["--tiou", 0.5], "is a threshold of --analyze"),
    "threshold too low": (GOOD, None, ["--analyze", "--tiou", 0.05], "--tiou"),
    "no baseline": (GOOD, None, ["--compare", "missing.json"], "missing.json: cannot read"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_exit_code_2(case, annotations, write, tmp_path):
    content, known, more, expected = BAD[case]
    path = tmp_path / "p.json" if content is None else write("p.json", content)
    done = run(path, annotations if known is None else write("data.json", known), *more)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert expected in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_missing_annotations_and_models_are_one_line_too(annotations, write, data, tmp_path):
    missing = tmp_path / "missing"
    for arguments in ((write("p.json", GOOD), missing), (missing.with_suffix(".onnx"), data)):
        done = run(*arguments)
        assert done.exit_code == 2
        assert "missing" in done.stderr
        assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def data(tmp_path):
    """A dataset for the tiny model: its videos, with what it finds in one of them annotated."""
    folder = tmp_path / "data"
    (folder / "features").mkdir(parents=True)
    videos = {}
    with np.load(TINY / "tiny.npz") as arrays, Localizer.load(MODEL) as localizer:
        for name in VIDEOS:
            features = arrays[f"{name}_features"]
            np.save(folder / "features" / f"{name}.npy", features)
            best = localizer(features).by_score().to_records()[0]
            videos[name] = ["test", [*best["segment"], best["label"]]]
        classes = localizer.contract.classes
    content = {
        **document(**videos),
        "classes": sorted(classes),  # in another order than the model's
        "streams": {"rgb_dim": 6, "flow_dim": 10},
    }
    content["database"]["video_17"]["duration"] = 17 * 0.64
    content["database"]["video_40"]["duration"] = 40 * 0.64
    (folder / "annotations.json").write_text(json.dumps(content))
    return folder


def test_model_is_run_and_judged(data):
    done = run(MODEL, data, "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    results = json.loads(done.stdout)["results"]
    # each video's best segment is its annotation
    assert results["map"] == [1.0] * 9
    assert results["videos"] == 2
    assert "video classification mAP" in run(MODEL, data).stdout


def test_classification_map_pairs_scores_and_labels_by_name(data):
    path = data / "annotations.json"
    content = json.loads(path.read_text())
    scores = {}
    with np.load(TINY / "tiny.npz") as arrays, Localizer.load(MODEL) as localizer:
        for name in VIDEOS:
            named = zip(
                localizer.contract.classes,
                classification_scores(arrays[f"tiny_{name}_cas"]),
                strict=True,
            )
            scores[name] = dict(named)
    # each class belongs to the video where the model sees less of it: AP is 1/2 throughout
    for name, other in (VIDEOS, VIDEOS[::-1]):
        content["database"][name]["labels"] = [
            label for label in scores[name] if scores[name][label] < scores[other][label]
        ]
        content["database"][name]["annotations"] = [
            {"segment": [0, 1], "label": label} for label in content["database"][name]["labels"]
        ]
    assert all(entry["labels"] for entry in content["database"].values())
    path.write_text(json.dumps(content))
    assert json.loads(run(MODEL, data, "--json").stdout)["results"]["classification_map"] == 0.5


def test_model_and_its_predictions_are_worth_the_same(data, tmp_path):
    out = tmp_path / "predictions.json"
    done = CliRunner().invoke(infer, [str(MODEL), str(data / "features"), "--out", str(out)])
    assert done.exit_code == 0
    change = json.loads(run(MODEL, data, "--compare", out, "--json").stdout)["results"]
    comparison = change["comparison"]
    assert set(comparison["map"]) == {0.0}
    assert comparison["segments"]["lost"] == comparison["segments"]["gained"] == []
    assert comparison["segments"]["kept"] > 0


@pytest.mark.parametrize(("missing", "map_"), [("missed", 0.5), ("left-out", 1.0)])
def test_videos_without_features_count_alike_for_a_model_and_its_predictions(
    data, tmp_path, missing, map_
):
    """As in ActivityNet's official evaluation they are missed, unless asked otherwise."""
    (data / "features/video_17.npy").unlink()
    out = tmp_path / "predictions.json"
    done = CliRunner().invoke(infer, [str(MODEL), str(data / "features"), "--out", str(out)])
    assert done.exit_code == 0
    for source in (MODEL, out):
        done = run(source, data, "--missing", missing, "--json")
        assert done.exit_code == 0, done.stderr
        results = json.loads(done.stdout)["results"]
        # one of the two classes lost its only instance
        assert results["map"] == [map_] * 9, source
        assert results["without_predictions"] == ["video_17"]
        assert results["missing"] == missing
    words = {"missed": "1 video without predictions: all missed", "left-out": ": left out"}
    assert words[missing] in run(out, data, "--missing", missing).stdout


def test_a_comparison_needs_the_same_videos(annotations, write):
    path = write("p.json", GOOD)
    done = run(path, annotations, "--compare", path, "--missing", "left-out")
    assert done.exit_code == 2
    assert "judges both on all videos" in done.stderr


def test_damaged_features_are_reported_and_the_others_judged(data):
    np.save(data / "features/video_17.npy", np.full((17, 16), np.nan, dtype=np.float32))
    done = run(MODEL, data, "--json")
    assert done.exit_code == 1
    assert "video_17.npy" in done.stderr
    results = json.loads(done.stdout)["results"]
    assert results["without_predictions"] == ["video_17"]
    assert results["videos"] == 2
    np.save(data / "features/video_40.npy", np.full((40, 16), np.nan, dtype=np.float32))
    done = run(MODEL, data)
    assert done.exit_code == 2
    assert "no video could be used" in done.stderr


def test_a_file_of_another_shape_is_one_failure_and_of_another_subset_none(data):
    extra = json.loads((data / "annotations.json").read_text())
    extra["database"]["elsewhere"] = {**extra["database"]["video_17"], "subset": "other"}
    (data / "annotations.json").write_text(json.dumps(extra))
    (data / "features/elsewhere.npy").write_bytes(b"nothing")
    assert run(MODEL, data).exit_code == 0
    (data / "features/video_17.npy").write_bytes(b"nothing")
    done = run(MODEL, data, "--json")
    assert done.exit_code == 1
    assert "video_17.npy: damaged" in done.stderr
    assert json.loads(done.stdout)["results"]["without_predictions"] == ["video_17"]


def test_model_for_other_snippets_is_refused(data):
    done = run(MODEL, data, "--stride", 4, "--fps", 30, "--quiet")
    assert done.exit_code == 2
    assert "made for a snippet every 16 frames at 25 fps" in done.stderr


def test_model_of_other_widths_is_refused(data):
    done = run(MODEL, data, "--rgb-dim", 8, "--quiet")
    assert done.exit_code == 2
    assert "made for 6 RGB + 10 flow channels" in done.stderr


def test_engine_options_reach_the_engine(data, annotations, write):
    done = run(MODEL, data, "--device", "tpu")
    assert done.exit_code == 2
    assert "device 'tpu'" in done.stderr
    done = run(MODEL, data, "--backend", "onnxruntime", "--json")
    assert "onnxruntime" in json.loads(done.stdout)["results"]["engine"]
    done = run(write("p.json", GOOD), annotations, "--device", "cpu")
    assert done.exit_code == 2
    assert "are for models" in done.stderr


def test_run_file_is_written_beside_the_tables(annotations, write, tmp_path):
    path, out = write("p.json", GOOD), tmp_path / "new" / "run.json"
    done = run(path, annotations, "--out", out)
    assert "mAP" in done.stdout
    assert read_runs(out)[0].results["predictions"] == 4
    # the folder is tried before long work
    blocked = write("file", "")
    done = run(path, annotations, "--out", blocked / "run.json")
    assert (done.exit_code, done.stdout) == (2, "")


def test_every_listed_command_loads_and_has_help():
    for name in COMMANDS:
        done = CliRunner().invoke(main, [name, "--help"])
        assert done.exit_code == 0, name
        assert "Example" in done.stdout, name


def test_help_imports_no_command():
    program = (
        "import sys; from co2net_benchmarks.cli.group import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted({'numpy', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "accuracy" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"
