import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.artefact.onnx_file import read_contract
from co2net_runtime.backends.trt.profiles import (
    DEFAULT_PROFILES,
    Profile,
    choose,
    covering,
    max_batch,
)
from co2net_runtime.errors import BackendError, InputError

triples = st.lists(st.integers(1, 5000), min_size=3, max_size=3).map(lambda t: tuple(sorted(t)))
profiles = st.builds(Profile, triples, triples)


@given(profiles)
def test_text_and_back(profile):
    assert Profile.parse(str(profile)) == profile


@pytest.mark.parametrize(
    "text", ["", "1x1", "1x1:2x2", "0x1:1x1:1x1", "2x1:1x1:1x1", "axb:1x1:1x1"]
)
def test_refuses_what_is_no_profile(text):
    with pytest.raises(InputError, match=f"profile '{text}'"):
        Profile.parse(text)


@given(st.lists(profiles, min_size=1, max_size=4), st.integers(1, 9), st.integers(1, 6000))
def test_choice_takes_the_shape_and_is_the_tightest(many, batch, length):
    fitting = [profile for profile in many if profile.holds(batch, length)]
    if not fitting:
        with pytest.raises(BackendError, match=rf"{batch} videos? of T = {length} at once"):
            choose(many, batch, length)
        return
    chosen = many[choose(many, batch, length)]
    assert chosen in fitting
    sizes = [profile.batch[2] * profile.length[2] for profile in fitting]
    assert chosen.batch[2] * chosen.length[2] == min(sizes)


@given(st.lists(profiles, min_size=1, max_size=4), st.integers(1, 6000))
def test_max_batch_is_taken_by_some_profile(many, length):
    try:
        most = max_batch(many, length)
    except BackendError:
        assert not any(p.length[0] <= length <= p.length[2] for p in many)
        return
    assert any(profile.holds(most, length) for profile in many)
    assert not any(profile.holds(most + 1, length) for profile in many)


@given(st.lists(profiles, min_size=1, max_size=4), st.integers(1, 6000))
def test_covering_takes_every_length_within_the_memory_of_the_largest(many, length):
    one = covering(many)
    if any(profile.length[0] <= length <= profile.length[2] for profile in many):
        assert one.holds(one.batch[0], length)
    largest = max(profile.batch[2] * profile.length[2] for profile in many)
    least = one.batch[0] * one.length[2]  # an engine for batches of 8 takes no fewer
    assert one.batch[2] * one.length[2] <= max(largest, least)


def test_the_default_fits_a_small_board():
    """8 videos of 4160 snippets at once: a gigabyte and more of activations."""
    assert str(covering(DEFAULT_PROFILES)) == "1x1:1x256:1x4160"


def test_defaults_take_all_lengths_of_thumos14_and_activitynet():
    for length in (1, 60, 500, 512, 513, 2000, 4096):
        assert DEFAULT_PROFILES[choose(DEFAULT_PROFILES, 1, length)].holds(1, length)
    assert max_batch(DEFAULT_PROFILES, 200) == 8
    assert max_batch(DEFAULT_PROFILES, 1000) == 1


def test_shapes_of_the_inputs(tiny_path):
    shapes = Profile((1, 2, 4), (1, 50, 90)).shapes(read_contract(tiny_path))
    assert shapes == {
        "features": [(1, 1, 16), (2, 50, 16), (4, 90, 16)],
        "lengths": [(1,), (2,), (4,)],
    }
