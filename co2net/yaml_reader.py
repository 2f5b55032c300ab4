"""YAML from a user, read within bounds: damaged or hostile text is an InputError, never a hang."""

import re
from pathlib import Path
from typing import Any

from co2net_runtime.errors import InputError, MissingDependencyError

MAX_BYTES = 100_000
MAX_DEPTH = 20

# YAML 1.1 reads 5e-5 as text, because it has no dot
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)[eE][-+]?[0-9]+")


def read_yaml(path: str | Path) -> Any:
    """Return the plain values in a YAML file.

    Raises:
        InputError: The file cannot be read, is larger than MAX_BYTES, or is not valid YAML.
        MissingDependencyError: PyYAML is not installed.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot read the config: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: more than {MAX_BYTES} bytes: not a config file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected a YAML file in UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return the plain values in YAML text; `where` names its source in errors.

    Aliases are refused: settings need none, and a few of them can stand for billions of values.
    """
    yaml = import_yaml()
    try:
        return yaml.load(text, _loader())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise InputError(f"{where}: not valid YAML: {error.problem}{place}") from error
    except yaml.YAMLError as error:
        raise InputError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        # PyYAML's constructors pass on what int(), datetime() and their kind raise
        raise InputError(f"{where}: not valid YAML: a value does not fit its type") from error


def import_yaml() -> Any:
    """Return the module yaml. Raises MissingDependencyError if it is not installed."""
    try:
        import yaml
    except ImportError as error:
        raise MissingDependencyError("PyYAML", "train", "reading and writing configs") from error
    return yaml


def _loader() -> Any:
    yaml = import_yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]  # a module in a variable
        depth = 0

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.events.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.YAMLError(f"aliases are not supported (line {mark.line + 1})")
            if self.depth >= MAX_DEPTH:
                raise yaml.YAMLError(f"nested more than {MAX_DEPTH} levels deep")
            self.depth += 1
            node = super().compose_node(parent, index)
            self.depth -= 1
            return node

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            names = [str(key.value) for key, _ in node.value]
            for number, (key, _) in enumerate(node.value):
                if names[number] in names[:number]:
                    line = key.start_mark.line + 1
                    raise yaml.YAMLError(f"the key {names[number]!r} occurs twice (line {line})")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    return Loader
