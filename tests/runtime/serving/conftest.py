"""A real Triton server: the one that nvidia-pytriton bundles, in an environment of its own."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from co2net_runtime.cli.triton import main as triton_command
from tests.runtime.serving.server import NoServerError, Server, make_home


@pytest.fixture(scope="session")
def triton_home():
    """The server's environment; pip fills it once."""
    try:
        return make_home()
    except NoServerError as error:
        pytest.skip(str(error))


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
