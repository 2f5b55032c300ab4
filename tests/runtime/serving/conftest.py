"""A real Triton server: the one that nvidia-pytriton bundles, in an environment of its own."""

import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

import co2net_runtime
from co2net_runtime.cli.triton import main as triton_command
from tests.runtime.serving.server import Home, Server

ROOT = Path(__file__).parents[3]
# nvidia-pytriton's own needs are left out: only its server is used
PACKAGES = ("nvidia-pytriton==0.7.0", "numpy<2", "click", f"onnxruntime=={version('onnxruntime')}")
CLIENT = ("tritonclient[http]==2.69.0", "numpy<2")


@pytest.fixture(scope="session")
def triton_home():
    """The server's environment, in .venv-triton; pip fills it once."""
    library = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")
    if sys.platform != "linux" or not library.is_file():
        pytest.skip("Triton's Python backend needs Linux and libpython as a shared library")
    folder = ROOT / ".venv-triton"
    wanted = "\n".join((*PACKAGES, *CLIENT, sys.version))
    ready = folder / ".ready"
    if not ready.is_file() or ready.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        python = folder / "bin" / "python"
        pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet",
               "--disable-pip-version-check"]  # fmt: skip
        for words in (["--no-deps", *PACKAGES], CLIENT):
            done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"pip cannot install the server: {done.stderr.strip()[-300:]}")
        ready.write_text(wanted)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "co2net.pth").write_text(str(Path(co2net_runtime.__file__).parents[1]))
    return Home(folder, site, library)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return tmp_path_factory.mktemp("triton") / "repository"


@pytest.fixture(scope="module")
def write(repository):
    """Run co2net-triton, into `repository`; return the model's folder."""

    def run(model, *options):
        words = [str(model), str(repository), "--backend", "onnxruntime", "--overwrite", *options]
        done = CliRunner().invoke(triton_command, words)
        assert done.exit_code == 0, done.output
        return Path(done.stdout.strip())

    return run


@pytest.fixture(scope="module")
def module_server(triton_home, repository, tiny_path, write, tmp_path_factory):
    write(tiny_path)
    started = Server(triton_home, repository, tmp_path_factory.mktemp("server"))
    yield started
    started.kill()


@pytest.fixture
def server(module_server):
    """The module's server, started again where a test has killed it."""
    module_server.start()
    return module_server
