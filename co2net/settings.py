"""TrainConfig <-> YAML files and key=value settings; keys of groups are written group.key."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from co2net.config import TrainConfig
from co2net_runtime.errors import InputError, MissingDependencyError
from co2net_runtime.files.records import from_mapping, nearest, to_mapping


def read_config(path: str | os.PathLike[str], base: TrainConfig) -> TrainConfig:
    """Return `base` with the keys that the YAML file sets.

    Raises InputError if the file is missing or no YAML mapping, or for an unknown key or a value
    that does not fit; MissingDependencyError without PyYAML.
    """
    try:
        content = _load_yaml(Path(path).read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot read the config: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a YAML file in UTF-8") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a YAML mapping of keys to values")
    return _override(base, _flatten(content), str(path))


def apply_settings(settings: Sequence[str], base: TrainConfig) -> TrainConfig:
    """Return `base` with settings of the form "key=value", the value as in YAML.

    Raises InputError for a setting of another form, an unknown key or a value that does not fit.
    """
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: expected key=value")
        values[key.strip()] = _load_yaml(value, f"--set {key}")
    return _override(base, values, "--set")


def dump_config(config: TrainConfig) -> str:
    """Return the config as a YAML document that `read_config` reads."""
    yaml = _yaml()
    text: str = yaml.safe_dump(to_mapping(config), sort_keys=False)
    return text


def differences(first: TrainConfig, second: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two configs differ, with both values."""
    ours, theirs = _flatten(to_mapping(first)), _flatten(to_mapping(second))
    return {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}


def _override(base: TrainConfig, values: Mapping[str, Any], where: str) -> TrainConfig:
    known = _flatten(asdict(base))
    groups = {field.name for field in fields(base) if is_dataclass(getattr(base, field.name))}
    merged = to_mapping(base)
    for key, value in values.items():
        if key in groups:
            raise InputError(f"{where}: {key} is a group: set one of its keys, {key}.name")
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{nearest(key, known)}")
        *group, name = key.split(".")
        (merged[group[0]] if group else merged)[name] = value
    return from_mapping(TrainConfig, merged, where)


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat.update(_flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _load_yaml(text: str, where: str) -> Any:
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]  # a module in a variable
        pass

    # YAML 1.1 takes 5e-5 for text, because it has no dot
    number = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not YAML: {error}") from error


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError("PyYAML", "train", "reading and writing configs") from error
    return yaml
