"""Writes tensorrt_api.json: what NVIDIA's Python bindings say of the classes used here.

    pip download --no-deps tensorrt-cu12-bindings==10.3.0      (and the other versions)
    python tests/runtime/data/make_tensorrt_api.py *.whl

Nothing of TensorRT runs: the bindings load against empty libraries, made here with a C compiler,
and tell their names and signatures. It needs the Python that the wheels are for, on Linux.
"""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

OUT = Path(__file__).with_name("tensorrt_api.json")

LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)

# runs in a process of its own: one process loads one version
ASK = """
import importlib.util, json, re, sys

spec = importlib.util.spec_from_file_location("tensorrt", sys.argv[1])
trt = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trt)
found = {}
for path, methods in json.loads(sys.argv[2]).items():
    owner = trt
    for part in path.split("."):
        owner = getattr(owner, part)
    found[path] = {name: [] for name in dir(owner) if not name.startswith("_")}
    for name in methods:
        text = getattr(owner, name).__doc__ or ""
        lines = [re.sub(r"^[0-9]+[.] ", "", line.strip()) for line in text.splitlines()]
        signatures = [line.removeprefix(name) for line in lines if line.startswith(f"{name}(self")]
        if signatures:
            found[path][name] = signatures
print(json.dumps(found))
"""


def ask(wheel: Path, folder: Path, methods: dict[str, list[str]]) -> dict[str, object]:
    """Return {class: {name: signatures}} of one wheel of bindings."""
    source, library = folder / "empty.c", folder / "tensorrt.so"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    for name in LIBRARIES:
        for major in (10, 11):
            file = f"lib{name}.so.{major}"
            command = ["cc", "-shared", "-fPIC", "-o", folder / file, source, f"-Wl,-soname,{file}"]
            subprocess.run(command, check=True)
    with zipfile.ZipFile(wheel) as archive:
        library.write_bytes(archive.read("tensorrt_bindings/tensorrt.so"))
    done = subprocess.run(
        [sys.executable, "-c", ASK, library, json.dumps(methods)],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        stdout=subprocess.PIPE,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def main() -> None:
    """Ask every wheel for the classes of the stub, and write the file."""
    sys.path.insert(0, str(Path(__file__).parents[3]))
    from tests.runtime.backends.trt.test_api import TENSORRT, stub_functions, stub_names

    functions = stub_functions(TENSORRT)
    methods = {owner: sorted(functions.get(owner, ())) for owner in stub_names(TENSORRT)}
    parts = []
    for wheel in sorted(map(Path, sys.argv[1:])):
        version = ".".join(wheel.name.split("-")[1].split(".")[:3])
        with TemporaryDirectory() as folder:
            answer = ask(wheel, Path(folder), methods)
        lines = [f"  {json.dumps(name)}: {json.dumps(answer[name])}" for name in sorted(answer)]
        parts.append(f" {json.dumps(version)}: {{\n" + ",\n".join(lines) + "\n }")
    OUT.write_text("{\n" + ",\n".join(parts) + "\n}\n")


if __name__ == "__main__":
    main()
