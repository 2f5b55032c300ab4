"""Text and JSON files as users have them: UTF-8, with or without a byte order mark."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from co2net_runtime.errors import InputError

# zero width space, word joiner, byte order mark; not the joiners that some scripts spell with
_WITHOUT_WIDTH = dict.fromkeys((0x200B, 0x2060, 0xFEFF))
_DIGITS = 300  # of an integer in JSON: all that is shorter fits a float


def read_text(path: str | os.PathLike[str], content: str) -> str:
    """Return a text file's content; a byte order mark is skipped.

    Args:
        path: The file.
        content: What is in it, for errors: "annotations".

    Raises:
        InputError: The file cannot be read or is not UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        article = "" if content.startswith(("a ", "an ", "the ")) else "the "
        raise InputError(f"{path}: cannot read {article}{content}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8; a null character in the path
        raise InputError(f"{path}: expected {content} as text in UTF-8: {error}") from error


def read_json(
    path: str | os.PathLike[str],
    content: str,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Return the content of a JSON file.

    Args:
        path: The file.
        content: What is in it, for errors: "annotations".
        object_pairs_hook: As `json.loads` takes it.

    Raises:
        InputError: The file cannot be read, is not JSON, is nested too deeply, or holds text that
            is not Unicode.
    """
    return parse_json(read_text(path, content), str(path), content, object_pairs_hook)


def parse_json(
    text: str,
    where: str,
    content: str,
    object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None,
) -> Any:
    """Return the content of JSON text; arguments and errors as in `read_json`."""
    try:
        document = json.loads(text, object_pairs_hook=object_pairs_hook, parse_int=_integer)
        if "\\u" in text:
            # half of a surrogate pair, which JSON can spell, could be written nowhere
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as error:
        raise InputError(f"{where}: expected {content} as JSON: nested too deeply") from error
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: expected {content} as JSON: it spells a character that does not exist, "
            f"{error.object[error.start : error.end]!a}"
        ) from error
    except ValueError as error:
        raise InputError(f"{where}: expected {content} as JSON: {error}") from error
    return document


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def normalized(name: str) -> str:
    """Return a label or a video's name in the form that is compared.

    White space at the ends goes, inside it becomes one space, and composed and decomposed accents
    become the same (NFC), and characters without a width go: people do not see these differences,
    and file systems and text editors change them.
    """
    return " ".join(unicodedata.normalize("NFC", name).translate(_WITHOUT_WIDTH).split())


def number_of(count: int, noun: str) -> str:
    """Return a count with its noun: "1 class", "3 classes"."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y"):
        return f"{count} {noun[:-1]}ies"
    return f"{count} {noun}{'es' if noun.endswith('s') else 's'}"


def label_name(value: Any) -> str:
    """Return a label of a JSON file as the class's name, normalized; a number is its digits.

    Raises ValueError for anything that names nothing, such as null.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = f"{value:g}" if isinstance(value, float) else str(value)
    if not isinstance(value, str) or not normalized(value):
        raise ValueError(f"a label is {json.dumps(value)[:40]}: expected the class's name")
    return normalized(value)
