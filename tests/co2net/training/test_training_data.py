import json
import shutil

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from co2net.config import TrainConfig
from co2net.data.dataset import open_dataset
from co2net.training.training_data import KEPT_PER_CLASS, TrainingData, split_holdout
from co2net_runtime.errors import InputError

label_matrices = st.integers(1, 40).flatmap(
    lambda n: st.integers(1, 5).flatmap(
        lambda c: st.lists(
            st.lists(st.booleans(), min_size=c, max_size=c), min_size=n, max_size=n
        ).map(np.array)
    )
)


@given(label_matrices, st.floats(0.05, 0.9))
def test_every_class_keeps_a_pair_or_what_it_had(labels, fraction):
    try:
        kept, held = split_holdout(labels, fraction)
    except InputError:
        assume(False)
    assert sorted([*kept, *held]) == list(range(len(labels)))
    assert (labels[kept].sum(axis=0) >= np.minimum(labels.sum(axis=0), KEPT_PER_CLASS)).all()


def test_every_class_that_can_holds_out_its_share():
    labels = np.eye(4)[np.repeat(np.arange(4), [30, 10, 3, 2])]
    _, held = split_holdout(labels, 0.1)
    assert labels[held].sum(axis=0).tolist() == [3, 1, 1, 0]


def test_nothing_to_hold_out_is_an_error():
    with pytest.raises(InputError, match="--select last"):
        split_holdout(np.eye(3)[[0, 0, 1, 1, 2]], 0.1)


def test_a_class_that_loses_its_training_videos_is_named_with_its_cost(tiny, tmp_path):
    """open_dataset names those that have none."""
    shutil.copytree(tiny.folder, tmp_path / "data")
    database = json.loads((tiny.folder / "annotations.json").read_text())["database"]
    for name, entry in database.items():
        if entry["annotations"][0]["label"] == "jump" and entry["subset"] == "train":
            file = tmp_path / "data" / "features" / f"{name}.npy"
            np.save(file, np.load(file)[:10])
    config = TrainConfig(select="last", min_snippets=11)
    data = TrainingData.of(open_dataset(tmp_path / "data"), config)
    assert data.notes[1:] == (
        "min_snippets=11 leaves 1 of 3 classes 0 training videos: cannot be learned, counts as "
        "AP 0: jump",
    )
    # said once: not again as a class without a pair
    assert data.unpaired_note(data.sampler(config)) is None


def test_a_hold_out_that_cannot_choose_is_said(tiny):
    dataset = open_dataset(tiny.folder)
    notes = TrainingData.of(dataset, TrainConfig()).notes
    assert any("hold-out of 3 videos has fewer than 2 videos of 3 of 3 classes" in n for n in notes)
    for config in (TrainConfig(holdout_fraction=0.5), TrainConfig(select="last")):
        assert TrainingData.of(dataset, config).notes == ()
