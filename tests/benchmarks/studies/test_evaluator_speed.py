import json

import numpy as np
from click.testing import CliRunner

from co2net.evaluation.mean_ap import THUMOS14_TIOUS
from co2net.evaluation.protocol import evaluate
from studies.evaluator_speed import CLASSES, main, plain_average_precision, synthetic_thumos14


def test_synthetic_set_has_the_size_it_promises():
    videos, results = synthetic_thumos14()
    assert len(videos) == 212
    assert sum(len(video.segments) for video in videos) == 3358
    assert sum(len(found) for found in results.values()) == 13_000
    again, _ = synthetic_thumos14()
    assert all(np.array_equal(a.segments, b.segments) for a, b in zip(videos, again, strict=True))


def test_evaluator_equals_the_plain_loop_on_it():
    videos, results = synthetic_thumos14(seed=3, videos=20, instances=200, predictions=900)
    judged = evaluate(results, videos, CLASSES)
    plain = plain_average_precision(
        judged.ground_truth, judged.predictions, len(CLASSES), THUMOS14_TIOUS
    )
    np.testing.assert_allclose(judged.result.ap, plain, rtol=0, atol=1e-12)
    assert 0.1 < judged.result.averages["all"] < 0.9


def test_program_prints_both():
    done = CliRunner().invoke(main, ["--rounds", "1", "--json"])
    assert done.exit_code == 0
    medians = json.loads(done.stdout)["median_s"]
    assert medians["co2net.evaluation.mean_ap"] < medians["plain transcription"]
