from dataclasses import dataclass, fields

import pytest

from co2net.config import LossOptions, ModelConfig, NetworkOptions, TrainConfig
from co2net.field_comments import field_comments


@dataclass
class Base:
    shape: int  # of the base
    plain: int = 0


@dataclass
class Example(Base):
    """A docstring with shape: and plain: in it."""

    # two lines
    # above
    above: str = "a # no comment"

    beside: tuple[int, ...] = (1, 2)  # beside, with: a colon
    #: as sphinx has it
    sphinx: int = 0


def test_comments_beside_and_above_fields():
    assert field_comments(Example) == {
        "shape": "of the base",
        "above": "two lines above",
        "beside": "beside, with: a colon",
        "sphinx": "as sphinx has it",
    }


@pytest.mark.parametrize("cls", [TrainConfig, NetworkOptions, ModelConfig, LossOptions])
def test_every_setting_has_a_comment(cls):
    assert list(field_comments(cls)) == [field.name for field in fields(cls)]


def test_without_the_source_there_are_no_comments():
    made: dict[str, type] = {}
    exec("class Made:\n    x: int = 1", made)
    assert field_comments(dataclass(made["Made"])) == {}
