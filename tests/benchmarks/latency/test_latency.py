"""co2net-bench latency: real child processes, tiny models."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from co2net.config import ModelConfig
from co2net.model import CO2Net
from co2net_benchmarks.cli.group import main
from co2net_benchmarks.inputs import FeatureSource, planted_features
from co2net_benchmarks.latency.run import LatencyResults, Plan
from co2net_benchmarks.latency.single_stream import LatencyOptions, measure_lengths
from co2net_benchmarks.run_file import read_runs
from co2net_benchmarks.runners.pool import RunnerPool
from co2net_benchmarks.runners.process import Child, RunnerProcess, TargetError
from co2net_benchmarks.runners.runners import RUNNERS, macs_per_snippet
from co2net_benchmarks.runners.targets import parse_targets
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping


def bench(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def measured(tiny):
    """The command's result and its run file: a checkpoint, its artefact, and a broken file."""
    broken = tiny.folder / "broken.onnx"
    broken.write_bytes(tiny.artefact.read_bytes()[:2000])
    out = tiny.folder / "run.json"
    ballast = np.ones(60_000_000)  # 480 MB: the children must not report their parent's memory
    result = bench(
        "latency", tiny.checkpoint, tiny.artefact, broken, "--lengths", "5,30", "--samples", 16,
        "--cold-starts", 1, "--no-gemm", "--threads", 1, "--out", out,
    )  # fmt: skip
    assert ballast.all()
    (run,) = read_runs(out)
    return result, run, from_mapping(LatencyResults, run.results, "run")


def test_all_targets_are_in_the_results(measured):
    result, run, results = measured
    assert result.exit_code == 1  # one of them failed
    status = {info.name: info.status for info in results.targets}
    assert status == {
        "tiny.ckpt": "measured",
        "tiny.onnx": "measured",
        "broken.onnx": "failed",
    }
    failed = results.targets[2]
    assert "damaged" in failed.reason
    assert failed.reason in result.stdout
    assert run.kind == "latency"
    assert run.settings["latency"]["lengths"] == [5, 30]


def test_every_target_has_the_same_turns(measured):
    _, _, results = measured
    assert len(results.lengths) == 2 * 2
    for length in (5, 30):
        rows = [row for row in results.lengths if row.length == length]
        assert len({tuple(map(len, row.turns_s)) for row in rows}) == 1
        assert {sum(map(len, row.turns_s)) for row in rows} == {16}
        assert len(rows[0].turns_s) >= 8
        # equal features, equal model: equal decisions
        assert len({row.segments for row in rows}) == 1
        assert rows[0].segments > 0


def test_stages_add_up(measured):
    _, _, results = measured
    for row in results.lengths:
        parts = [row.stages[stage] for stage in ("read", "network", "decode")]
        assert sum(part.mean_s for part in parts) == pytest.approx(row.stages["total"].mean_s)
        assert row.stages["total"].count == 16
        assert row.stages["total"].p90_s is None
        assert "device" not in row.stages


def test_ratios_are_to_the_first_target(measured):
    _, _, results = measured
    by_name = {(row.target, row.length): row for row in results.lengths}
    reference, ours = by_name["tiny.ckpt", 30], by_name["tiny.onnx", 30]
    assert (reference.ratio.low, reference.ratio.high) == (1, 1)
    medians = [sorted(turn)[(len(turn) - 1) // 2] for turn in ours.turns_s]
    assert ours.p50_s.median == sorted(medians)[(len(medians) - 1) // 2]
    turn = [sorted(a)[(len(a) - 1) // 2] / sorted(b)[(len(b) - 1) // 2]
            for a, b in zip(ours.turns_s, reference.turns_s, strict=True)]  # fmt: skip
    assert min(turn) <= ours.ratio.low <= ours.ratio.median <= ours.ratio.high <= max(turn)


def test_arithmetic_is_known_through_the_checkpoint(measured):
    _, _, results = measured
    macs = {info.name: info.macs_per_snippet for info in results.targets}
    assert macs["tiny.onnx"] == macs["tiny.ckpt"] > 0
    row = results.lengths[0]
    assert row.flops(1000) == 2 * 1000 * row.length / row.stages["network"].p50_s
    assert row.flops(None) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak")
def test_memory_is_the_childs_own(measured):
    """ru_maxrss survives exec: a child would report the 480 MB of the process that started it."""
    _, _, results = measured
    peaks = [row.peak_rss_bytes for row in results.lengths if row.target == "tiny.onnx"]
    assert all(20e6 < peak < 200e6 for peak in peaks)
    assert {start.target for start in results.cold_starts} >= {"tiny.ckpt", "tiny.onnx"}


def test_cold_start_is_more_than_its_parts(measured):
    _, _, results = measured
    for start in results.cold_starts:
        parts = (start.process_s, start.import_s, start.load_s, start.first_s)
        assert all(part > 0 for part in parts)
        assert sum(parts) <= start.total_s.max_s


def test_macs_are_those_of_the_method():
    def macs(config):
        return macs_per_snippet(CO2Net(config).state_dict())

    assert macs(ModelConfig(classes=20)) == pytest.approx(27.8e6, rel=2e-3)
    config = ModelConfig(classes=2, rgb_dim=2, flow_dim=3, attention_dim=5, embed_dim=7)
    rgb = 3 * 3 * 2 + 3 * 2 * 5 + 3 * 5 * 5 + 5
    flow = 3 * 2 * 3 + 3 * 3 * 5 + 3 * 5 * 5 + 5
    assert macs(config) == rgb + flow + 5 * 7 + 3 * 7 * 7 + 7 * 3


def test_targets_take_turns(tiny, tmp_path, monkeypatch):
    """A B A B ...: no target runs twice in a row once the warm-up is over."""
    order, untimed = [], []
    ask = Child.ask

    def recording(child, do, **arguments):
        if do == "run":
            order.append(child)
            untimed.append((arguments["count"], arguments["discard"]))
        return ask(child, do, **arguments)

    monkeypatch.setattr(Child, "ask", recording)
    targets = parse_targets([str(tiny.artefact), f"b={tiny.artefact}"])
    options = LatencyOptions(lengths=(5,), samples=16, warmup=1, turn_s=1000)
    steps = []
    with RunnerPool(targets, EngineOptions(threads=1), tmp_path) as pool:
        paths = FeatureSource(pool.feature_dim).write(tmp_path, options.lengths)
        rows = measure_lengths(pool, paths, options, steps.append)
    first, second = order[:2]
    assert first is not second
    assert order == [first, second] * (len(order) // 2)
    assert sum(steps) == 5 * 16
    assert untimed[:2] == [(1, 1), (1, 1)]  # the warm-up
    # a turn of several runs begins with one that is not counted
    assert set(untimed[2:]) == {(2, 1)}
    assert [row.target for row in rows] == ["tiny.onnx", "b"]


def test_the_turns_of_all_lengths_are_spread_over_the_measurement(tiny, tmp_path, monkeypatch):
    order = []
    ask = Child.ask

    def recording(child, do, **arguments):
        if do == "run":
            order.append(int(Path(arguments["path"]).stem.partition("_")[2]))
        return ask(child, do, **arguments)

    monkeypatch.setattr(Child, "ask", recording)
    options = LatencyOptions(lengths=(5, 9), samples=16, warmup=1, turn_s=1000, length_limit_s=1e6)
    steps = []
    with RunnerPool(
        parse_targets([str(tiny.artefact)]), EngineOptions(threads=1), tmp_path
    ) as pool:
        paths = FeatureSource(pool.feature_dim).write(tmp_path, options.lengths)
        rows = measure_lengths(pool, paths, options, steps.append)
    assert order == [5, 9] * (1 + 8)  # a warm-up, and 8 turns of 2 runs
    assert sum(steps) == (5 + 9) * 16
    assert [row.stages["total"].count for row in rows] == [16, 16]


def test_the_next_turn_waits_until_the_processor_is_quiet(tiny, tmp_path, monkeypatch):
    """An engine whose threads spin after its query must not cost the next target time."""
    events = []
    ask, settle = Child.ask, Child.settle

    def recording_ask(child, do, **arguments):
        if do == "run":
            events.append(("run", child))
        return ask(child, do, **arguments)

    def recording_settle(child):
        events.append(("quiet", child))
        settle(child)
        return 0.125

    monkeypatch.setattr(Child, "ask", recording_ask)
    monkeypatch.setattr(Child, "settle", recording_settle)
    np.save(tmp_path / "video.npy", planted_features(9, 16))
    targets = parse_targets([str(tiny.artefact), f"b={tiny.artefact}"])
    with RunnerPool(targets, EngineOptions(threads=1), tmp_path) as pool:
        first, second = pool.processes
        turns = pool.take_turns(
            lambda process: process.ask("run", path=str(tmp_path / "video.npy"), count=1)
        )
        busy = [busy_s for _, _, busy_s in turns]
    assert events == [("run", first), ("quiet", first), ("run", second), ("quiet", second)]
    assert busy == [0.125, 0.125]


def test_a_length_ends_when_its_time_is_spent(tiny, tmp_path):
    options = LatencyOptions(lengths=(5,), samples=1000, warmup=1, length_limit_s=0)
    steps = []
    with RunnerPool(
        parse_targets([str(tiny.artefact)]), EngineOptions(threads=1), tmp_path
    ) as pool:
        paths = FeatureSource(pool.feature_dim).write(tmp_path, options.lengths)
        (row,) = measure_lengths(pool, paths, options, steps.append)
    assert len(row.turns_s) == 1
    assert sum(steps) == 5 * 1000


def test_a_target_that_dies_is_reported_and_the_others_go_on(tiny, tmp_path):
    targets = parse_targets([str(tiny.artefact), f"b={tiny.artefact}"])
    with RunnerPool(targets, EngineOptions(threads=1), tmp_path) as pool:
        paths = FeatureSource(pool.feature_dim).write(tmp_path, (5,))
        os.kill(pool.processes[0]._process.pid, signal.SIGKILL)
        options = LatencyOptions(lengths=(5,), samples=8, warmup=1)
        rows = measure_lengths(pool, paths, options, lambda _: None)
        first, second = pool.infos()
    assert [row.target for row in rows] == ["b"]
    assert (first.status, second.status) == ("failed", "measured")
    assert "signal 9" in first.reason


def test_a_childs_error_is_its_own_words(tiny):
    (target,) = parse_targets([str(tiny.artefact)])
    np.save(tiny.folder / "video.npy", planted_features(9, 16))
    with RunnerProcess(target, target.path, EngineOptions()) as process:
        assert process.info.feature_dim == 16
        with pytest.raises(TargetError, match=r"missing\.npy: no such file"):
            process.ask("run", path="missing.npy", count=1)
        # and it goes on answering
        answer = process.ask("run", path=str(tiny.folder / "video.npy"), count=2)
        assert len(answer["samples"]["total"]) == 2


def test_a_plain_export_is_measured_with_the_engines_defaults(tiny, tmp_path):
    targets = parse_targets([str(tiny.artefact), f"plain:{tiny.checkpoint}"])
    options = LatencyOptions(lengths=(30,), samples=8, warmup=1)
    with RunnerPool(targets, EngineOptions(threads=1), tmp_path) as pool:
        paths = FeatureSource(pool.feature_dim).write(tmp_path, options.lengths)
        ours, plain = measure_lengths(pool, paths, options, lambda _: None)
        info = pool.infos()[1]
    assert ours.segments == plain.segments
    assert info.status == "measured", info.reason
    assert info.checkpoint_sha256 == pool.infos()[0].checkpoint_sha256
    assert info.model_bytes > 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.onnx"], "none.onnx: no such file"),
        (["{onnx}", "--lengths", "5,x"], "expected lengths in snippets"),
        (["{onnx}", "--lengths", "0"], "each at least 1"),
        (["{onnx}", "--features", "nowhere"], "nowhere: no such file"),
        (["{onnx}", "--published-decoding"], "needs a checkpoint"),
        (["{onnx}", "--scenario", "offline", "--mix", "else"], "else"),
    ],
)
def test_usage_errors_are_one_line(tiny, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    arguments = [text.format(onnx=tiny.artefact) for text in arguments]
    result = bench("latency", *arguments, "--no-gemm", "--quiet", "--out", tmp_path / "run.json")
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_terminated_run_leaves_nothing(tiny, tmp_path):
    arguments = ["latency", tiny.artefact, "--lengths", "5", "--samples", "1000000", "--no-gemm"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from co2net_benchmarks.cli.group import main; main()",
         *map(str, arguments)],
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not list(tmp_path.glob("co2net-bench-*/features0/*.npy")):
        assert process.poll() is None
        time.sleep(0.02)
    process.terminate()
    _, text = process.communicate(timeout=240)
    assert process.returncode == 130
    assert "interrupted" in text
    assert not list(tmp_path.glob("co2net-bench-*"))


def test_targets_of_different_widths_are_refused(tiny, tmp_path):
    targets = parse_targets([str(tiny.artefact), f"wide={tiny.artefact}"])
    with RunnerPool(targets, EngineOptions(threads=1), tmp_path) as pool:
        assert pool.feature_dim == 16
        wide = pool.processes[1]
        wide.info = dataclasses.replace(wide.info, feature_dim=17)
        with pytest.raises(InputError, match=r"different widths: tiny\.onnx 16, wide 17"):
            assert pool.feature_dim


def test_published_decoding_finds_the_same_segments(tiny, tmp_path):
    own, published = parse_targets([str(tiny.checkpoint)], published_decoding=True)
    path = tmp_path / "video.npy"
    np.save(path, planted_features(40, 16))
    found = []
    for target in (own, published):
        runner = RUNNERS[target.kind](target.path, EngineOptions())
        stages, segments = runner.run(path)
        assert set(stages) == {"read", "network", "decode", "total"}
        found.append(segments)
    assert found[0] == found[1] > 0
    assert "published post-processing" in runner.engine


def test_planted_features_are_deterministic_and_like_i3ds():
    features = planted_features(200, 16, seed=3)
    np.testing.assert_array_equal(features, planted_features(200, 16, seed=3))
    assert features.dtype == np.float32
    assert (features >= 0).all()
    assert (features != planted_features(200, 16, seed=4)).any()
    # stretches stand out from the noise
    level = features.mean(axis=1)
    assert level.max() > 1.5 * np.median(level)


def test_users_features_are_cut_and_repeated(tmp_path):
    rows = np.arange(12, dtype=np.float32)[:, None].repeat(3, axis=1)
    np.save(tmp_path / "a.npy", rows[:5])
    np.save(tmp_path / "b.npy", rows[5:])
    source = FeatureSource(3, tmp_path)
    np.testing.assert_array_equal(source.features(7), rows[:7])
    np.testing.assert_array_equal(source.features(30)[:, 0], np.arange(30) % 12)
    assert (source.features(4, index=1) != source.features(4)).any()


def test_plan_spreads_the_mix():
    assert len(Plan().mix_lengths) == 212
    assert sum(Plan().mix_lengths) == 71804
    few = Plan(mix_videos=4).mix_lengths
    assert len(few) == 4
    assert set(few) <= set(Plan().mix_lengths)
