import dataclasses

import pytest

from co2net_runtime.artefact.backbone import Flow, Scaling
from co2net_runtime.errors import InputError
from co2net_runtime.options import SnippetTiming
from co2net_runtime.video.files import check_folder
from co2net_runtime.video.identity import (
    EXTRACTION_NAME,
    Extraction,
    StreamIdentity,
    read_extraction,
)

RGB = StreamIdentity("i3d", "rgb_imagenet", "a" * 64, 1024, "float")
FLOW = StreamIdentity("i3d", "flow_imagenet", "b" * 64, 1024, "float", flow=Flow("tvl1"))
MADE = Extraction(RGB, FLOW, SnippetTiming(), 256, 224, {"av": "1"})


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rgb": dataclasses.replace(RGB, weights="rgb_scratch")}, "rgb_scratch"),
        ({"rgb": dataclasses.replace(RGB, weights_sha256="a" * 63 + "c")}, "aac"),
        ({"rgb": dataclasses.replace(RGB, precision="int8")}, "int8"),
        ({"rgb": dataclasses.replace(RGB, scaling=Scaling((0.0,), (255.0,)))}, "255.0"),
        ({"flow": dataclasses.replace(FLOW, flow=Flow("dis-fast"))}, "dis-fast flow"),
        ({"flow": dataclasses.replace(FLOW, flow=Flow("tvl1", 15.0))}, "within 15 pixels"),
        ({"flow": None}, "no flow"),
        ({"timing": SnippetTiming(8, 25.0)}, "8 frames"),
        ({"timing": SnippetTiming(16, 30.0)}, "30 fps"),
        ({"short_side": 255}, "short side 255"),
        ({"crop": 200}, "crop 200"),
    ],
)
def test_each_difference_is_named(changed, words):
    other = dataclasses.replace(MADE, **changed)
    difference = MADE.differs(other)
    assert difference is not None
    assert words in difference.partition("there:")[2]
    assert "\n" not in difference


def test_versions_do_not_matter():
    assert MADE.differs(dataclasses.replace(MADE, versions={})) is None


def test_a_folder_keeps_features_of_one_making(tmp_path):
    check_folder(tmp_path / "new", MADE)
    assert read_extraction(tmp_path / "new") == MADE
    check_folder(tmp_path / "new", MADE)
    other = dataclasses.replace(MADE, flow=dataclasses.replace(FLOW, flow=Flow("dis-fast")))
    with pytest.raises(InputError, match=r"made otherwise.*dis-fast.*there:.*tvl1"):
        check_folder(tmp_path / "new", other)
    assert read_extraction(tmp_path) is None
    (tmp_path / EXTRACTION_NAME).write_text("{")
    with pytest.raises(InputError, match="expected the origin of features as JSON"):
        read_extraction(tmp_path)
