import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_runtime.errors import InputError
from co2net_runtime.shards.plan import Shard, names_sha256, shard_all

NAMES = st.sets(st.text(min_size=1, max_size=8), max_size=40).map(list)


@given(NAMES, st.sampled_from([1, 2, 7]), st.randoms())
def test_shards_are_disjoint_complete_and_independent_of_the_order(names, count, rng):
    shuffled = rng.sample(names, len(names))
    shards = [Shard(index, count).of(names) for index in range(count)]
    assert sorted(name for shard in shards for name in shard) == sorted(names)
    assert shards == [Shard(index, count).of(shuffled) for index in range(count)]
    assert shards == shard_all(shuffled, count)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_the_digest_is_of_the_set_of_names():
    names = [f"v{index}" for index in range(50)]
    shuffled = random.Random(1).sample(names, 50)
    assert names_sha256(names) == names_sha256(shuffled)
    assert names_sha256(names) != names_sha256(names[1:])


@pytest.mark.parametrize("text", ["3", "2/2", "-1/2", "1/0", "a/b", "1/2/3"])
def test_what_is_no_shard_is_refused(text):
    with pytest.raises(InputError, match="expected I/N"):
        Shard.parse(text)
