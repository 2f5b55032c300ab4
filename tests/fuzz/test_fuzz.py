"""A few mutated inputs for each reader; `make fuzz` gives them thousands."""

import random

import pytest

from co2net_runtime.errors import Co2netError, InputError
from tests.fuzz import campaign, mutators
from tests.fuzz.readers import READERS, Reader


@pytest.mark.parametrize("name", READERS)
def test_readers_raise_nothing_but_our_errors(name):
    if name == "video":
        pytest.importorskip("av")
    outcome = campaign.run_reader(name, range(12))
    assert outcome.findings == ()
    assert outcome.accepted + outcome.refused == 12


# a checkpoint's own warnings are for its user
@pytest.mark.filterwarnings("ignore")
def test_an_untouched_file_is_read(tmp_path):
    for name, reader in READERS.items():
        if name in ("nested-weights", "video"):  # part of a network; needs av
            continue
        folder = tmp_path / name
        folder.mkdir()
        path = folder / reader.file
        path.write_bytes(reader.original(folder))
        reader.read(path)


def broken(path):
    data = path.read_bytes()
    if data.startswith(b"x"):
        raise ZeroDivisionError("not ours")
    if data.startswith(b"y"):
        raise InputError("two\nlines")
    if data.startswith(b"z"):
        raise MemoryError
    raise Co2netError("ours")


def test_what_is_not_ours_is_a_finding(monkeypatch, tmp_path):
    first = iter(b"wxyz")

    def mutate(data, rng):
        assert isinstance(rng, random.Random)
        return bytes([next(first)]) + data

    reader = Reader("broken", "file.bin", lambda _: b"untouched", mutate, broken)
    monkeypatch.setattr(campaign, "READERS", {"broken": reader})
    outcome = campaign.run_reader("broken", range(4), tmp_path)
    assert (outcome.accepted, outcome.refused) == (0, 1)
    assert [(f.seed, f.kind) for f in outcome.findings] == [
        (1, "exception"),
        (2, "exception"),
        (3, "memory"),
    ]
    assert (tmp_path / "broken-1.bin").read_bytes() == b"xuntouched"
    assert "| broken | 4 | 0 | 1 | 2 | 0 | 1 | 0 |" in campaign.table([outcome])


def test_the_same_seed_gives_the_same_input():
    reader = READERS["annotations"]
    original = reader.original(campaign.Path())
    first = [campaign.mutated(reader, original, seed) for seed in range(20)]
    assert first == [campaign.mutated(reader, original, seed) for seed in range(20)]
    assert len(set(first)) > 15


def test_mutators_change_the_file():
    rng = random.Random(0)
    data = b'{"a": [1, 2, {"b": "c"}]}'
    for mutator in (mutators.damage, mutators.swap_tokens, mutators.json_tree):
        assert sum(mutator(data, rng) != data for _ in range(50)) > 40
