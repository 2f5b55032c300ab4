"""The calls into TensorRT and CUDA exist, as they are made, in every version that is supported.

mypy checks each call against the stubs in runtime/typings; the tests here check the stubs.
data/tensorrt_api.json holds the names and signatures of the classes used here, as NVIDIA's own
Python bindings 10.3.0 (JetPack 6), 10.13.0, 10.16.1 and 11.4.0 tell them (data/make_tensorrt_api.py
wrote it): what 11 removed is not among 11's.
"""

import ast
import importlib
import json
import re
from pathlib import Path

import pytest

import co2net_runtime

PACKAGE = Path(co2net_runtime.__file__).parent
TYPINGS = PACKAGE.parent / "typings"
TENSORRT = TYPINGS / "tensorrt" / "__init__.pyi"
API = json.loads((Path(__file__).parents[2] / "data" / "tensorrt_api.json").read_text())
MODULES = ("api", "build", "backend", "execution", "cache", "layers", "memory")


def stub_names(path):
    """Return {class: names}, nested classes as Outer.Inner, of a stub file."""
    found = {}

    def walk(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef):
                name = f"{prefix}{node.name}"
                found[name] = set()
                walk(node.body, f"{name}.")
            elif prefix:
                owner = found[prefix[:-1]]
                if isinstance(node, ast.FunctionDef):
                    owner.add(node.name)
                elif isinstance(node, ast.AnnAssign):
                    owner.add(node.target.id)
                elif isinstance(node, ast.Assign):
                    owner.update(target.id for target in node.targets)

    walk(ast.parse(path.read_text()).body, "")
    return found


def stub_functions(path):
    """Return {class: {name: node}} of a stub file's methods; properties are none."""
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    return {
        owner.name: {
            node.name: node
            for node in owner.body
            if isinstance(node, ast.FunctionDef) and not node.decorator_list
        }
        for owner in classes
    }


@pytest.mark.parametrize("version", API)
def test_the_stub_promises_only_what_each_version_has(version):
    special = {"__init__", "__len__", "__getitem__"}
    for name, members in stub_names(TENSORRT).items():
        assert name in API[version]
        assert members - special <= set(API[version][name]), name


def parameters(function):
    """Return [(name or None, type, has a default)] and the type returned, as the bindings write."""
    positional = [(None, one) for one in function.args.posonlyargs]
    named = [(one.arg, one) for one in function.args.args]
    given = [(name, ast.unparse(one.annotation)) for name, one in positional + named
             if one.annotation is not None]  # fmt: skip
    required = len(given) - len(function.args.defaults)
    taken = [(name, plain(kind), index >= required) for index, (name, kind) in enumerate(given)]
    return taken, plain(ast.unparse(function.returns))


def plain(kind):
    """Return a type under one name, however a version of the bindings spells it."""
    for own, other in (
        (r"tensorrt\.|typing_extensions\.|typing\.|collections\.abc\.| \| None$", ""),
        (r"\bSupportsInt\b", "int"),
        (r"\bbuffer\b", "Buffer"),
        (r"\bList\b|\bSequence\b", "list"),
        (r"tuple\[int, \.\.\.\]", "tuple"),
        (r"nvonnxparser::IParserError", "ParserError"),
    ):
        kind = re.sub(own, other, kind)
    return kind


def takes(signature, function):
    """Return whether a call that fits the stub's function fits the binding's signature."""
    inside, returned = re.fullmatch(r"\(self: \S+?(?:, (.*))?\) -> (.+)", signature).groups()
    own, own_returned = parameters(function)
    # a default such as <Strategy.STATIC: 0> holds no ", "
    theirs = [re.fullmatch(r"(\w+): ([^=]+?)( = .+)?", one).groups()
              for one in (inside or "").split(", ") if one]  # fmt: skip
    return (
        plain(returned) == own_returned
        and len(own) <= len(theirs)
        and all(default for *_, default in theirs[len(own) :])
        and all(
            own_name in (None, name) and own_kind == plain(kind) and bool(default) >= own_default
            for (own_name, own_kind, own_default), (name, kind, default) in zip(
                own, theirs, strict=False
            )
        )
    )


@pytest.mark.parametrize("version", API)
def test_the_stub_has_the_signatures_of_each_version(version):
    """The names of arguments, their order, types and defaults, and what comes back."""
    compared = 0
    for owner, functions in stub_functions(TENSORRT).items():
        for name, function in functions.items():
            signatures = API[version][owner][name]
            assert any(takes(one, function) for one in signatures), (owner, name, signatures)
            compared += 1
    assert compared >= 35


def test_a_wrong_call_would_be_noticed():
    """The comparison itself: another name, another type, a missing and an added argument."""
    real = "(self: tensorrt.C, name: str, size: typing.SupportsInt = 0) -> bool"

    def fits(text):
        return takes(real, ast.parse(f"def f(self, {text}: ...").body[0])

    assert fits("name: str, size: int = ...) -> bool")
    assert fits("name: str) -> bool")
    assert fits("anything: str, /, size: int = ...) -> bool")
    assert not fits("label: str) -> bool")
    assert not fits("name: int) -> bool")
    assert not fits("name: str = ...) -> bool")
    assert not fits("name: str, size: int, more: int) -> bool")
    assert not fits("name: str) -> None")


@pytest.mark.parametrize("module", MODULES)
def test_removed_names_are_not_used(module):
    """Seen from the other side: no name that 11 removed stands anywhere in the backend."""
    removed = {
        name
        for owner, names in API["10.16.1"].items()
        for name in set(names) - set(API["11.4.0"].get(owner, []))
    }
    assert {"FP16", "INT8", "EXPLICIT_BATCH", "platform_has_fast_fp16"} <= removed
    tree = ast.parse((PACKAGE / "backends" / "trt" / f"{module}.py").read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & removed


def test_the_stand_in_has_the_names_of_the_stub():
    """The stand-in that the backend's tests run against offers no more than TensorRT does."""
    pytest.importorskip("onnx")
    from tests.runtime.standin import api, builder, engine

    classes = {
        "IHostMemory": api.HostMemory,
        "IBuilderConfig": builder.BuilderConfig,
        "ICudaEngine": engine.Engine,
        "EngineInspector": engine.EngineInspector,
        "IExecutionContext": engine.Context,
    }
    stub = stub_names(TENSORRT)
    for real, own in classes.items():
        methods = {
            name
            for name, value in vars(own).items()
            if not name.startswith("_") and (callable(value) or isinstance(value, property))
        }
        assert methods <= stub[real], real


def test_the_driver_has_the_calls_as_they_are_made():
    """NVIDIA's own list of the driver's functions, and how many arguments each takes.

    ctypes checks nothing: a call too short would read what lies on the stack.
    """
    driver = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    files = [PACKAGE / "backends" / "device.py", PACKAGE / "backends" / "trt" / "cuda.py"]
    calls = [call for file in files for call in driver_calls(file)]
    assert len({name for name, _ in calls}) >= 24
    for name, arguments in calls:
        # cuda.h renames them by macros; cuGraphInstantiate means the one with flags from 12 on
        function = getattr(driver, re.sub(r"_v[23]$|WithFlags$", "", name))
        signature = function.__doc__.splitlines()[0]
        taken = signature[signature.index("(") + 1 : signature.rindex(")")]
        given = [one for one in arguments if not is_output(one)]
        # cuda-python returns what the C function writes to
        assert len(given) == len([one for one in taken.split(",") if one.strip()]), signature


def driver_calls(path):
    """Yield (name, arguments) of the driver's functions as a file calls them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        first = node.args[0] if node.args else None
        if isinstance(node.func, ast.Attribute) and node.func.attr.startswith("cu"):
            yield node.func.attr, node.args
        elif isinstance(first, ast.Constant) and str(first.value).startswith("cu"):
            yield first.value, node.args[1:]


def is_output(argument):
    """Return whether it is what C writes to: byref(...), or the buffer of a name."""
    return "byref" in ast.unparse(argument) or ast.unparse(argument) == "name"


def test_the_modules_import_without_the_packages():
    for module in MODULES:
        importlib.import_module(f"co2net_runtime.backends.trt.{module}")
