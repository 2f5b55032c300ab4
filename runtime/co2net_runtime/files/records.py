"""Frozen dataclasses <-> plain mappings: unknown and missing keys are errors."""

import contextlib
import dataclasses
import difflib
import types
import typing
from collections.abc import Collection, Iterable, Mapping
from typing import Any, TypeVar

from co2net_runtime.errors import InputError
from co2net_runtime.files.text import number_of

Record = TypeVar("Record")


def to_mapping(record: Any) -> dict[str, Any]:
    """Return a dataclass instance as a mapping of plain values (tuples become lists)."""
    mapping = _plain(dataclasses.asdict(record))
    assert isinstance(mapping, dict)
    return mapping


def from_mapping(cls: type[Record], mapping: Any, where: str) -> Record:
    """Build the dataclass `cls` from `mapping`, whose keys are its field names.

    Values are checked against the annotated types; nested dataclasses are built recursively,
    lists become tuples, an int is accepted where a float is meant. `where` names the source in
    error texts ("model.onnx: contract").

    Raises InputError for an unknown or missing key, a value of another type, or a value that the
    dataclass's own checks refuse.
    """
    if not isinstance(mapping, Mapping):
        raise InputError(f"{where}: expected a mapping, found {type(mapping).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]  # any dataclass
    for key in mapping:
        if key not in fields:
            raise InputError(f"{where}: unknown key {key!r}{nearest(str(key), fields)}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in mapping:
            values[name] = _convert(hints[name], mapping[name], f"{where}: {name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise InputError(f"{where}: the key {name!r} is missing")
    try:
        return cls(**values)
    except ValueError as error:
        raise InputError(f"{where}: {error}") from error


def take_schema_version(
    mapping: dict[str, Any], where: str, readable: Collection[int], remedy: str
) -> int:
    """Remove the key "schema_version" from a file's mapping and return its value.

    Args:
        mapping: The file's content.
        where: Name of the file, for error texts.
        readable: The versions that this program reads.
        remedy: Advice for a file of another version, to follow a colon.

    Raises:
        InputError: There is no version, or another one.
    """
    version = mapping.pop("schema_version", None)
    if isinstance(version, bool) or version not in readable:
        raise InputError(
            f"{where}: schema version {version!r:.40}, this program reads "
            f"{' and '.join(map(str, readable))}: {remedy}"
        )
    return int(version)


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean ...?)' for the known name closest to `name`, or all known names."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {close[0]!r}?)" if close else f" (known: {', '.join(names)})"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:
            return _convert(rest[0], value, where)
        raise TypeError(f"{where}: unions of several types are not supported")
    if origin is typing.Literal:
        if value in arguments:
            return value
        raise InputError(
            f"{where}: expected one of {', '.join(map(str, arguments))}, got {value!r}"
        )
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise InputError(f"{where}: expected a list, found {value!r}")
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(_convert(arguments[0], item, where) for item in value)
        if len(value) != len(arguments):
            raise InputError(
                f"{where}: expected {number_of(len(arguments), 'value')}, found {len(value)}"
            )
        return tuple(
            _convert(item_hint, item, where)
            for item_hint, item in zip(arguments, value, strict=True)
        )
    if origin in (dict, Mapping) or origin is typing.get_origin(Mapping[str, Any]):
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: expected a mapping, found {value!r}")
        return {str(key): _convert(arguments[1], item, where) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_mapping(hint, value, where)
    return _convert_scalar(hint, value, where)


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # an integer beyond a float's range, and infinity and NaN as an integer
    with contextlib.suppress(OverflowError, ValueError):
        if hint is float and is_number:
            return float(value)
        if hint is int and is_number and value == int(value):
            return int(value)
    if hint in (bool, str) and isinstance(value, hint):
        return value
    raise InputError(f"{where}: expected {hint.__name__}, found {value!r}")
