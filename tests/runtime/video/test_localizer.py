import dataclasses
import logging

import numpy as np
import onnx
import pytest

from co2net_runtime import EngineOptions, InputError, Localizer, VideoLocalizer
from co2net_runtime.artefact.contract import METADATA_KEY
from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.network.pipeline import run_files
from co2net_runtime.video.extract import Extractor
from co2net_runtime.video.localizer import VideoFile

ENGINE = EngineOptions(backend="onnxruntime", device="cpu", threads=1)


@pytest.fixture
def trained_on(tiny_path, tmp_path):
    """Write the tiny model as one that knows what its features were made with."""

    def write(extraction):
        model = onnx.load(tiny_path)
        contract = dataclasses.replace(read_contract(tiny_path), extraction=extraction.to_mapping())
        onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
        path = tmp_path / "known.onnx"
        onnx.save(model, path)
        return path

    return write


@pytest.fixture
def extraction(rgb_path, flow_path):
    with Extractor.open(rgb_path, flow_path, ENGINE) as extractor:
        return extractor.extraction


def test_segments_are_those_of_the_features(tiny_path, rgb_path, flow_path, render):
    path = render(frames=200)
    with (
        VideoLocalizer.load(tiny_path, rgb_path, flow_path, ENGINE) as videos,
        Localizer.load(tiny_path, ENGINE) as features,
    ):
        expected = features(videos.extractor(path))
        assert videos(path).to_records() == expected.to_records()


def test_unknown_origin_is_warned_about(tiny_path, rgb_path, flow_path, caplog):
    with caplog.at_level(logging.WARNING):
        VideoLocalizer.load(tiny_path, rgb_path, flow_path, ENGINE).close()
    assert len(caplog.records) == 1
    assert "does not say what its features were extracted with" in caplog.text


def test_the_same_features_are_taken_without_a_word(
    trained_on, extraction, rgb_path, flow_path, caplog
):
    with caplog.at_level(logging.WARNING):
        VideoLocalizer.load(trained_on(extraction), rgb_path, flow_path, ENGINE).close()
    assert not caplog.records


def test_other_features_are_refused_unless_accepted(
    trained_on, extraction, rgb_path, make_backbone, caplog
):
    model = trained_on(extraction)
    other = make_backbone("flow", 10, algorithm="farneback")
    with pytest.raises(InputError, match=r"farneback.*there:.*dis-fast.*--accept-mismatch"):
        VideoLocalizer.load(model, rgb_path, other, ENGINE)
    with caplog.at_level(logging.WARNING):
        VideoLocalizer.load(model, rgb_path, other, ENGINE, accept_mismatch=True).close()
    assert "trained on other features" in caplog.text


def test_another_timing_is_refused(tiny_path, make_backbone):
    rgb = make_backbone("rgb", 6, name="r30.onnx", fps=30.0)
    flow = make_backbone("flow", 10, name="f30.onnx", fps=30.0)
    with pytest.raises(InputError, match=r"16 frames at 30 fps; there: 16 frames at 25 fps"):
        VideoLocalizer.load(tiny_path, rgb, flow, ENGINE)


def test_another_width_is_refused(tiny_path, rgb_path, flow_path, make_backbone):
    with pytest.raises(InputError, match="width 16, the backbones give 6: give its flow backbone"):
        VideoLocalizer.load(tiny_path, rgb_path, None, ENGINE)
    swapped = make_backbone("rgb", 10), make_backbone("flow", 6)
    with pytest.raises(InputError, match="takes 6 channels of RGB, the backbone gives 10"):
        VideoLocalizer.load(tiny_path, *swapped, ENGINE)


def test_rgb_alone(tiny_path, make_backbone, render):
    alone = make_backbone("rgb", 16)
    with VideoLocalizer.load(tiny_path, alone, None, ENGINE) as localizer:
        assert np.all([segment.score > 0 for segment in localizer(render(frames=64))])


def test_who_stops_early_does_not_wait_for_the_next_video(
    tiny_path, rgb_path, flow_path, render, tmp_path
):
    """run_files extracts ahead: its end must end that, too."""
    paths = [render("a.mp4", 40), render("b.mkv", 4000, codec="mpeg4")]
    with VideoLocalizer.load(tiny_path, rgb_path, flow_path, ENGINE) as videos:
        files = [
            VideoFile(path.stem, path, extractor=videos.extractor, folder=tmp_path)
            for path in paths
        ]
        outcomes = run_files(videos.localizer.network, files)
        assert next(outcomes).error is None
        outcomes.close()
    assert not (tmp_path / "b.npy").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_each_video_is_extracted_once(tiny_path, rgb_path, flow_path, render, tmp_path):
    path = render()
    with VideoLocalizer.load(tiny_path, rgb_path, flow_path, ENGINE) as videos:
        for discard in (True, False):
            calls = []
            rows = videos.extractor.rows
            videos.extractor.rows = lambda video, rows=rows, calls=calls: (
                calls.append(video) or rows(video)
            )
            file = VideoFile(
                "a", path, extractor=videos.extractor, folder=tmp_path, discard=discard
            )
            (outcome,) = run_files(videos.localizer.network, [file])
            assert outcome.error is None
            assert calls == [path]
            videos.extractor.rows = rows
