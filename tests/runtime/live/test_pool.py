import io
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from co2net_runtime.backends import EngineOptions
from co2net_runtime.decoding.proposals import class_probabilities, decode, score_runs
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.live.components import Components
from co2net_runtime.live.pool import LiveLocalizer, LiveOptions, LivePool
from co2net_runtime.live.temporal_mean import TemporalMean
from co2net_runtime.localizer import Localizer
from co2net_runtime.options import DecodeOptions

UNBOUNDED = LiveOptions(longest_s=None)
ENGINE = EngineOptions(backend="onnxruntime", device="cpu", threads=1)


def blocks_of(rows, sizes):
    """Cut rows into blocks of the given sizes, over and over."""
    start = 0
    while start < len(rows):
        for size in sizes:
            yield rows[start : start + size]
            start += size
    yield rows[:0]


def first_of_each(segments):
    first = {}
    for one in segments:
        first.setdefault(one.label, one)
    return first.values()


def near_a_threshold(attention, options):
    return np.abs(attention[:, None] - options.thresholds).min() < 1e-5


def same_segments(events, found):
    """Compare events with Detections as multisets, scores too."""
    ours = sorted((e.start_s, e.end_s, e.label, e.score) for e in events)
    theirs = sorted(
        (start, end, found.classes[label], score)
        for (start, end), label, score in zip(
            found.segments.tolist(), found.labels.tolist(), found.scores.tolist(), strict=True
        )
    )
    assert [one[:3] for one in ours] == [one[:3] for one in theirs]
    np.testing.assert_allclose([o[3] for o in ours], [t[3] for t in theirs], rtol=0, atol=1e-4)


@pytest.fixture(scope="module", params=["tiny", "tiny_pool"])
def model(request, tiny_path):
    path = tiny_path.with_name(f"{request.param}.onnx")
    with Localizer.load(path, EngineOptions(device="cpu", threads=1)) as offline:
        yield path, offline


def exact(path, offline, features):
    """Open the model for live operation with what a first pass over the video says."""
    found = offline.network.run([features])[0]
    return found, LiveLocalizer.load(
        path,
        UNBOUNDED,
        context=features.mean(axis=0, dtype=np.float64).astype(np.float32),
        probabilities=class_probabilities(found.cas, found.attention, offline.contract.decode),
        engine=ENGINE,
    )


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 150), st.lists(st.integers(1, 80), min_size=1, max_size=5), st.integers(0, 99)
)
def test_exact_live_operation_gives_the_offline_segments(model, length, sizes, seed):
    path, offline = model
    rng = np.random.default_rng(seed)
    features = np.abs(rng.standard_normal((length, 16))).astype(np.float32)
    activations, live = exact(path, offline, features)
    assume(not near_a_threshold(activations.attention, offline.contract.decode))
    with live:
        events = [event for block in blocks_of(features, sizes) for event in live.push(block)]
        events += live.flush()
    same_segments(events, offline.detect(activations))
    assert all(event.at_s <= length * 0.64 + 1e-9 for event in events)


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 60),
    st.lists(st.integers(1, 20), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.1, 0.25, 0.7]),
    st.integers(0, 10**6),
)
def test_components_give_the_decoded_segments(length, sizes, margin, seed):
    """Random curves with long and short components, any at snippet 0, some with peaks alone."""
    rng = np.random.default_rng(seed)
    options = DecodeOptions(outer_margin=margin)
    attention = rng.random(length) * (rng.random(length) < rng.choice([0.3, 0.7, 0.95]))
    attention = attention.astype(np.float32)
    cas = rng.standard_normal((length, 4)).astype(np.float32)
    expected = decode(cas, attention, options)
    components = Components(
        3,
        options,
        window=1,
        longest=None,
        probabilities=class_probabilities(cas, attention, options),
    )
    rows = np.concatenate([cas, attention[:, None]], axis=1)
    found = [one for block in blocks_of(rows, sizes) for one in components.push(block)]
    found += components.finish()
    parts = [segments for _, segments in found]
    if not parts:
        assert len(expected) == 0
        return
    together = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("start", "end", "label", "score")
    }
    order, theirs = (
        np.lexsort((s["score"], s["label"], s["end"], s["start"]))
        for s in (together, vars(expected))
    )
    for name in ("start", "end", "label"):
        np.testing.assert_array_equal(together[name][order], getattr(expected, name)[theirs])
    np.testing.assert_allclose(together["score"][order], expected.score[theirs], atol=1e-9)

    def seconds(one):
        segments = np.stack([one.start, one.end], axis=1).astype(float)
        return Detections(segments, one.score, one.label, ("a", "b", "c"))

    # rank 0 live: the first of its component and class
    live = {(s.label, s.start_s, s.end_s) for part in parts for s in first_of_each(seconds(part))}
    best = seconds(expected).best_per_component()
    assert live == {(s.label, s.start_s, s.end_s) for s in best}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=4),
    st.sampled_from([1, 50]),
    st.integers(0, 10**6),
)
def test_events_do_not_depend_on_blocks_and_are_final(sizes, window, seed):
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.standard_normal((200, 4)), rng.random((200, 1))], axis=1)
    rows[:, -1] *= np.repeat(rng.random(20) < 0.6, 10)
    rows = rows.astype(np.float32)
    results = []
    for cut in (sizes, [1]):
        components = Components(3, DecodeOptions(), window=window, longest=25)
        found = [one for block in blocks_of(rows, cut) for one in components.push(block)]
        results.append(found + components.finish())
    assert [c for c, _ in results[0]] == [c for c, _ in results[1]]
    for (_, ours), (_, theirs) in zip(*results, strict=True):
        for name in ("start", "end", "label"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        np.testing.assert_allclose(ours.score, theirs.score, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.sampled_from(["running", "exponential"]),
)
def test_live_events_do_not_depend_on_blocks(tiny_path, sizes, context):
    features = np.abs(np.random.default_rng(len(sizes)).standard_normal((90, 16)))
    options = LiveOptions(context=context, half_life_s=10, class_window_s=30, longest_s=12)
    results = []
    for cut in (sizes, [1]):
        with LiveLocalizer.load(tiny_path, options, engine=ENGINE) as live:
            events = [e for block in blocks_of(features, cut) for e in live.push(block)]
            results.append(events + live.flush())
    assert [(e.start_s, e.end_s, e.label) for e in results[0]] == [
        (e.start_s, e.end_s, e.label) for e in results[1]
    ]


def test_a_component_that_never_closes_is_cut_and_memory_stays_bounded():
    components = Components(3, DecodeOptions(), window=40, longest=20)
    rng = np.random.default_rng(0)
    sizes = []
    covered = []
    for _ in range(3000):
        row = np.append(rng.standard_normal(4), 0.2 + 0.7 * rng.random())[None].astype(np.float32)
        covered += [component for component, _ in components.push(row)]
        sizes.append(len(components.state()["rows"]))
    assert max(sizes) <= max(sizes[:300])
    assert all(one.cut and 10 <= one.end - one.start < 20 for one in covered)
    assert [one.end for one in covered[:-1]] == [one.start for one in covered[1:]]


def test_decoding_looks_at_the_component_and_its_margins_only(monkeypatch):
    """So a stream whose whole history is kept costs no more per component at its end."""
    looked_at = []
    monkeypatch.setattr(
        "co2net_runtime.live.components.score_runs",
        lambda rows, *args, **given: (
            looked_at.append(len(rows)) or score_runs(rows, *args, **given)
        ),
    )
    components = Components(
        3, DecodeOptions(), window=1, longest=None, probabilities=np.full(3, 0.3)
    )
    rows = np.ones((4000, 5), np.float32)
    rows[:, -1] = np.arange(4000) % 20 < 12
    for start in range(0, 4000, 50):
        components.push(rows[start : start + 50])
    assert len(looked_at) == 200
    assert max(looked_at) <= 12 + 2 * 3


def test_segment_comes_when_its_margin_is_known(tiny_path):
    """A component of 8 needs 2 snippets behind its last one."""
    rows = np.zeros((30, 5), np.float32)
    rows[:, 1] = 1
    rows[5:13, -1] = 0.95
    components = Components(3, DecodeOptions(), window=10, longest=None)
    came = [i for i in range(30) if components.push(rows[i : i + 1])]
    assert came == [14]


def test_ongoing_events_come_at_their_cadence(model, videos):
    path, _ = model
    options = LiveOptions(provisional_s=3 * 0.64, longest_s=None)
    (features,) = videos(120)
    with LiveLocalizer.load(path, options, engine=ENGINE) as live:
        events = [event for row in features for event in live.push(row)]
    ongoing = [event for event in events if event.kind == "ongoing"]
    assert ongoing
    times = sorted({event.end_s for event in ongoing})
    assert np.diff(times).min() >= 3 * 0.64 - 1e-9
    assert all(event.end_s - event.start_s >= 3 * 0.64 - 1e-9 for event in ongoing)


def test_streams_of_a_pool_do_not_touch_each_other(model, videos):
    path, _ = model
    streams = dict(zip("abc", videos(90, 70, 110), strict=True))
    together = {name: [] for name in streams}
    with closing(LivePool.load(path, engine=ENGINE)) as pool:
        for start in range(0, 110, 10):
            for event in pool.push({n: f[start : start + 10] for n, f in streams.items()}):
                together[event.stream].append(event)
        for name in streams:
            together[name] += pool.flush(name)
    for name, features in streams.items():
        with closing(LivePool.load(path, engine=ENGINE)) as pool:
            alone = [e for s in range(0, 110, 10) for e in pool.push({name: features[s : s + 10]})]
            alone += pool.flush(name)
        assert [e.label for e in alone] == [e.label for e in together[name]]
        np.testing.assert_allclose(
            [(e.start_s, e.end_s, e.score) for e in alone],
            [(e.start_s, e.end_s, e.score) for e in together[name]],
            atol=1e-4,
        )


@pytest.mark.parametrize("at", [1, 2, 3, 17, 50, 99])
def test_a_restored_state_goes_on_without_losing_anything(model, videos, at):
    path, _ = model
    (features,) = videos(100)
    options = LiveOptions(context="exponential", half_life_s=20, provisional_s=2)
    with LiveLocalizer.load(path, options, engine=ENGINE) as live:
        expected = [event for row in features for event in live.push(row)] + live.flush()
    with LiveLocalizer.load(path, options, engine=ENGINE) as live:
        events = [event for row in features[:at] for event in live.push(row)]
        file = io.BytesIO()
        np.savez(file, **live.state())
    file.seek(0)
    with np.load(file) as archive:
        saved = dict(archive)
    with LiveLocalizer.load(path, options, engine=ENGINE) as live:
        live.restore(saved)
        events += [event for row in features[at:] for event in live.push(row)] + live.flush()
    assert events == expected
    with (
        LiveLocalizer.load(path, engine=ENGINE) as live,
        pytest.raises(InputError, match="another model or other options"),
    ):
        live.restore(saved)


def test_a_gap_ends_what_is_open_and_keeps_the_time(model, videos):
    path, _ = model
    before, after = videos(40, 50)
    with closing(LivePool.load(path, LiveOptions(longest_s=None), engine=ENGINE)) as pool:
        pool.push({"a": before})
        events = pool.skip("a", 100)
        assert all(event.end_s <= 40 * 0.64 + 1e-9 for event in events)
        later = pool.push({"a": after}) + pool.flush("a")
        assert later
        assert min(event.start_s for event in later) >= 140 * 0.64 - 1e-9
        assert pool.received("a") == 0


def test_bad_features_leave_the_stream_as_it_was(model, videos):
    path, _ = model
    (features,) = videos(60)
    bad = features[:3].copy()
    bad[1, 2] = np.nan
    with LiveLocalizer.load(path, engine=ENGINE) as live:
        events = live.push(features[:30])
        for wrong, text in ((bad, "NaN"), (features[:2, :9], "16 channels"), (bad > 0, "float")):
            with pytest.raises(InputError, match=text):
                live.push(wrong)
        events += live.push(features[30:]) + live.flush()
    with LiveLocalizer.load(path, engine=ENGINE) as live:
        assert events == live.push(features[:30]) + live.push(features[30:]) + live.flush()


def test_contexts():
    rows = np.random.default_rng(0).random((50, 4)).astype(np.float32)
    running = TemporalMean(np.zeros(4), 0, 1.0)
    running.update(rows)
    np.testing.assert_allclose(running.mean(), rows.mean(axis=0), rtol=1e-6)
    begun = TemporalMean(np.ones(4), 25, 1.0)
    begun.update(rows)
    np.testing.assert_allclose(begun.mean(), (rows.sum(axis=0) + 25) / 75, rtol=1e-6)
    fading = TemporalMean(np.zeros(4), 0, 0.5)
    fading.update(rows)
    weights = 0.5 ** np.arange(49, -1, -1)
    np.testing.assert_allclose(fading.mean(), weights @ rows / weights.sum(), rtol=1e-6)
    fixed = TemporalMean(np.ones(4), 0, 0.0)
    fixed.update(rows)
    np.testing.assert_array_equal(fixed.mean(), np.ones(4))


def test_warmup_is_marked(model, videos):
    path, _ = model
    (features,) = videos(100)
    with LiveLocalizer.load(path, LiveOptions(warmup_s=32, longest_s=6.4), engine=ENGINE) as live:
        events = live.push(features) + live.flush()
    assert {event.warmup for event in events} == {True, False}
    assert max(e.start_s for e in events if e.warmup) < 32 + 6.4


def test_refuses_what_does_not_fit(tiny_path, tmp_path):
    (tmp_path / "m.onnx").write_bytes(tiny_path.read_bytes())
    with pytest.raises(InputError, match=r"m.live.onnx: no such file.*--live"):
        LivePool.load(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="holds no mean"):
        LivePool.load(tiny_path, LiveOptions(context="prior"))
    with pytest.raises(InputError, match=r"context: expected \(16,\)"):
        LivePool.load(tiny_path, context=np.ones(3, np.float32))
    with pytest.raises(ValueError, match="half_life_s must be positive"):
        LiveOptions(half_life_s=0)
    with pytest.raises(InputError, match="the graph for live streams"):
        Localizer.load(tiny_path.with_name("tiny.live.onnx"))


@pytest.mark.parametrize("provisional_s", [None, 1.0])
def test_events_do_not_depend_on_the_blocks(tiny_path, videos, provisional_s):
    (features,) = videos(120)

    def events(size):
        with LiveLocalizer.load(
            tiny_path, LiveOptions(provisional_s=provisional_s), engine=ENGINE
        ) as live:
            found = [e for b in range(0, 120, size) for e in live.push(features[b : b + size])]
            return [
                (e.kind, e.label, e.rank, e.start_s, e.end_s, round(e.at_s, 6))
                for e in found + live.flush()
            ]

    assert events(1) == events(50) == events(7)


def test_an_output_that_is_not_finite_costs_its_snippets_alone(tiny_path, videos, caplog):
    """Features near float32's limit: the stream goes on behind them, the others notice nothing."""
    features, other = videos(60, 60)
    with LivePool.load(tiny_path, engine=ENGINE) as pool:
        expected = pool.push({"a": features}) + pool.skip("a", 2)
        expected += pool.push({"a": features, "b": other}) + pool.flush("a") + pool.flush("b")
        found = pool.push({"a": features})
        found += pool.push({"a": np.full((2, 16), 3e38, np.float32), "b": other[:2]})
        assert pool.restarted == {"a"}
        assert pool.received("a") == 62
        found += pool.push({"a": features, "b": other[2:]}) + pool.flush("a") + pool.flush("b")
        assert pool.restarted == set()
    key = lambda e: (e.stream, e.label, e.start_s, e.end_s, round(e.score, 4))  # noqa: E731  # once
    assert sorted(map(key, found)) == sorted(map(key, expected))
    assert "a: the network's output is not finite near snippet 60" in caplog.text


@pytest.mark.parametrize("backend", ["auto", "openvino"])
def test_another_engine_gives_the_same_segments(backend, tiny_path, videos, tmp_path, monkeypatch):
    if backend == "openvino":
        pytest.importorskip("openvino")
    monkeypatch.setenv("CO2NET_CACHE", str(tmp_path / "cache"))
    (features,) = videos(60)
    found = []
    for engine in (ENGINE, replace(ENGINE, backend=backend, device="auto")):
        with LiveLocalizer.load(tiny_path, engine=engine) as live:
            found.append([*live.push(features), *live.flush()])
            assert live.engine.device == "cpu"
            assert backend != "openvino" or engine is ENGINE or live.engine.engine == "openvino"
    assert len(found[0]) > 0
    for one, expected in zip(*found, strict=True):
        assert replace(one, score=0) == replace(expected, score=0)
        assert one.score == pytest.approx(expected.score, abs=1e-4)


@pytest.mark.parametrize(
    "given", [{"device": "cuda:0"}, {"device": "gpu"}, {"backend": "tensorrt"}]
)
def test_gpus_are_refused_in_words(given, tiny_path):
    with pytest.raises(InputError, match="live streams run on the CPU"):
        LiveLocalizer.load(tiny_path, engine=EngineOptions(**given))
