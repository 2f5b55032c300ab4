"""The comments beside a dataclass's fields, read from its source."""

import inspect
import io
import textwrap
import tokenize
from dataclasses import fields
from typing import Any


def field_comments(cls: type[Any]) -> dict[str, str]:
    """Return each field's comment: the one on its line, else the lines of comment above it.

    Fields without a comment are left out, and all of them where the source is not installed.
    Fields that a base class defines are described by its comments.

    Example:
        >>> field_comments(TrainConfig)["iterations"]
        'batches to train on'
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if base is not object:
            found.update(_own_comments(base))
    return {each.name: found[each.name] for each in fields(cls) if each.name in found}


def _own_comments(cls: type[Any]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):
        return {}
    comments = {
        token.start[0]: (token.string.lstrip("#: "), token.start[1])
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    lines = source.splitlines()
    result = {}
    for number, line in enumerate(lines, 1):
        name, colon, _ = line.strip().partition(":")
        if not (colon and name in cls.__annotations__):
            continue
        if number in comments:
            result[name] = comments[number][0]
            continue
        above: list[str] = []
        while (row := number - 1 - len(above)) in comments and lines[row - 1].lstrip()[0] == "#":
            above.insert(0, comments[row][0])
        if above:
            result[name] = " ".join(above)
    return result
