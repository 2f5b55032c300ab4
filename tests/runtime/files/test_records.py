from dataclasses import dataclass
from typing import Literal

import pytest

from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping, to_mapping


@dataclass(frozen=True)
class Inner:
    size: int = 1

    def __post_init__(self):
        if self.size < 0:
            raise ValueError("size must not be negative")


@dataclass(frozen=True)
class Outer:
    name: str
    share: float = 0.5
    kind: Literal["a", "b"] = "a"
    inner: Inner = Inner()
    names: tuple[str, ...] = ()
    pair: tuple[int, float] = (1, 2.0)
    maybe: int | None = None
    flag: bool = False


def test_round_trip():
    record = Outer("x", 0.25, "b", Inner(3), ("p", "q"), (4, 5.5), 6, True)
    assert from_mapping(Outer, to_mapping(record), "here") == record


def test_an_int_serves_as_a_float_and_becomes_one():
    assert isinstance(from_mapping(Outer, {"name": "x", "share": 1}, "here").share, float)


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"nam": "x"}, r"here: unknown key 'nam' \(did you mean 'name'\?\)"),
        ({}, "here: the key 'name' is missing"),
        ({"name": 3}, "here: name: expected str, found 3"),
        ({"name": "x", "share": "half"}, "here: share: expected float, found 'half'"),
        ({"name": "x", "kind": "c"}, "here: kind: expected one of a, b, got 'c'"),
        ({"name": "x", "inner": {"size": -1}}, "here: inner: size must not be negative"),
        ({"name": "x", "inner": {"siz": 1}}, "here: inner: unknown key 'siz'"),
        ({"name": "x", "inner": 4}, "here: inner: expected a mapping, found int"),
        ({"name": "x", "names": "abc"}, "here: names: expected a list"),
        ({"name": "x", "pair": [1]}, "here: pair: expected 2 values, found 1"),
        ({"name": "x", "flag": 1}, "here: flag: expected bool, found 1"),
        ({"name": "x", "maybe": True}, "here: maybe: expected int, found True"),
        ({"name": "x", "maybe": 1.5}, "here: maybe: expected int, found 1.5"),
        ([1], "here: expected a mapping, found list"),
    ],
)
def test_refuses(mapping, text):
    with pytest.raises(InputError, match=text):
        from_mapping(Outer, mapping, "here")
