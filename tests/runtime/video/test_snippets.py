import numpy as np
import pytest
from small_video import picture

from co2net_runtime.artefact.backbone import Flow
from co2net_runtime.video.decode import Frame
from co2net_runtime.video.flow import FlowEstimator, flow_levels, gray
from co2net_runtime.video.resize import center_crop, resize
from co2net_runtime.video.snippets import ClipBuilder, FlowPool, Recipe

RECIPE = Recipe(fps=25.0, snippet_frames=4, short_side=40, crop=32, flow=Flow("dis-fast"))


def frames(count, start=0):
    return [
        Frame(index / 25, lambda index=index: picture(index))
        for index in range(start, start + count)
    ]


@pytest.fixture
def builder():
    pool = FlowPool(RECIPE.flow, RECIPE.crop, 2)
    yield ClipBuilder(RECIPE, pool)
    pool.close()


def small(index):
    return resize(picture(index), (40, 53))


def expected_flow(first, second):
    displacements = FlowEstimator("dis-fast")(gray(small(first)), gray(small(second)))
    return flow_levels(center_crop(displacements, 32), 20.0)


def clips_of(builder, given):
    clips = [clip for frame in given if (clip := builder.push(frame))]
    return clips + [clip for clip in [builder.finish()] if clip]


def test_flow_is_forward_and_crosses_into_the_next_clip(builder):
    first, second = clips_of(builder, frames(8))
    np.testing.assert_array_equal(first.rgb[3], center_crop(small(3), 32))
    np.testing.assert_array_equal(first.flow()[0], expected_flow(0, 1))
    np.testing.assert_array_equal(first.flow()[3], expected_flow(3, 4))
    np.testing.assert_array_equal(second.flow()[2], expected_flow(6, 7))
    # no ninth frame: the last flow once more
    np.testing.assert_array_equal(second.flow()[3], second.flow()[2])
    assert second.flow().shape == (4, 32, 32, 2)


@pytest.mark.parametrize(("ticks", "clips"), [(0, 0), (3, 0), (4, 1), (5, 1), (7, 1), (12, 3)])
@pytest.mark.parametrize("has_flow", [True, False])
def test_both_streams_have_ticks_over_n_clips(builder, ticks, clips, has_flow):
    alone = ClipBuilder(Recipe(25.0, 4, 40, 32, None), None)
    assert len(clips_of(builder if has_flow else alone, frames(ticks))) == clips


def test_no_flow_crosses_a_break(builder):
    assert not [clip for frame in frames(3) if (clip := builder.push(frame))]
    builder.restart()
    (clip,) = clips_of(builder, frames(4, start=100))
    np.testing.assert_array_equal(clip.rgb[0], center_crop(small(100), 32))
    np.testing.assert_array_equal(clip.flow()[0], expected_flow(100, 101))


def test_a_source_that_changes_its_size_keeps_the_first(builder):
    images = [picture(0), picture(1), picture(2, 64, 48), picture(3, 96, 128), picture(4)]
    given = [Frame(i / 25, lambda image=image: image) for i, image in enumerate(images)]
    (clip,) = clips_of(builder, given)
    assert clip.rgb.shape == (4, 32, 32, 3)
    assert clip.flow().shape == (4, 32, 32, 2)
