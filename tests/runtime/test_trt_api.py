"""The calls into TensorRT and CUDA exist, in every version that is supported.

data/tensorrt_api.json holds the public names of the classes used here, as NVIDIA's own Python
bindings 10.3.0 (JetPack 6), 10.16.1 and 11.4.0 have them: what 11 removed is not among 11's.
"""

import ast
import importlib
import json
from pathlib import Path

import pytest

import co2net_runtime

PACKAGE = Path(co2net_runtime.__file__).parent
TYPINGS = PACKAGE.parent / "typings"
API = json.loads((Path(__file__).parent / "data" / "tensorrt_api.json").read_text())
MODULES = ("trt_api", "trt_build", "trt_engine", "trt_execution", "trt_cache")
# of the module itself
FUNCTIONS = {"nptype", "__version__"}


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


@pytest.mark.parametrize("version", API)
def test_the_stub_promises_only_what_each_version_has(version):
    """mypy --strict checks every call against the stub, so the calls exist, too."""
    special = {"__init__", "__len__", "__getitem__", "log"}  # log is what a subclass defines
    for name, members in stub_names(TYPINGS / "tensorrt" / "__init__.pyi").items():
        if name == "INetworkDefinition":  # only handed on
            assert not members
            continue
        assert name in API[version]
        assert members - special <= set(API[version][name]), name


@pytest.mark.parametrize("module", MODULES)
def test_removed_names_are_not_used(module):
    """Seen from the other side: no name that 11 removed stands anywhere in the backend."""
    removed = {
        name
        for owner, names in API["10.16.1"].items()
        for name in set(names) - set(API["11.4.0"].get(owner, []))
    }
    assert {"FP16", "INT8", "EXPLICIT_BATCH", "platform_has_fast_fp16"} <= removed
    tree = ast.parse((PACKAGE / "backends" / f"{module}.py").read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used & removed


def test_the_stand_in_has_the_names_of_the_stub():
    """What the tests of the backend run against is no wider than what is promised."""
    from tests.runtime import standin_tensorrt as standin

    classes = {"Engine": "ICudaEngine", "Context": "IExecutionContext", "HostMemory": "IHostMemory"}
    classes |= {"BuilderConfig": "IBuilderConfig"}
    stub = stub_names(TYPINGS / "tensorrt" / "__init__.pyi")
    for own, real in classes.items():
        methods = {
            name
            for name, value in vars(getattr(standin, own)).items()
            if not name.startswith("_") and (callable(value) or isinstance(value, property))
        }
        assert methods <= stub[real], own


def test_cuda_python_has_what_the_stub_promises():
    """The functions take as many arguments, and the constants have the same values."""
    runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-python is not installed")
    tree = ast.parse((TYPINGS / "cuda" / "bindings" / "runtime.pyi").read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(functions) >= 12
    for function in functions:
        signature = getattr(runtime, function.name).__doc__.splitlines()[0]
        assert signature.count(",") == len(function.args.args) - 1, signature
    for name, members in stub_names(TYPINGS / "cuda" / "bindings" / "runtime.pyi").items():
        for member in members - {"__int__"}:
            assert hasattr(getattr(runtime, name), member), f"{name}.{member}"
    assert isinstance(runtime.cudaStreamNonBlocking, int)


def test_the_modules_import_without_the_packages():
    for module in MODULES:
        importlib.import_module(f"co2net_runtime.backends.{module}")
