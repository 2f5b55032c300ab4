"""Starts and kills the bundled tritonserver."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import co2net_runtime

ROOT = Path(__file__).parents[3]
# nvidia-pytriton's own needs are left out: only its server is used
PACKAGES = ("nvidia-pytriton==0.7.0", "numpy<2", "click", f"onnxruntime=={version('onnxruntime')}")
CLIENT = ("tritonclient[http]==2.69.0", "numpy<2")
PATIENCE_S = 100


class NoServerError(Exception):
    """The server cannot be had here; the text says why."""


@dataclass(frozen=True)
class Home:
    """The environment that holds the server."""

    folder: Path
    site: Path  # its site-packages
    library: Path  # Python's shared library

    def run(self, program, *arguments):
        """Run a Python program in it; return what it prints."""
        done = subprocess.run(
            [self.folder / "bin" / "python", "-c", program, *map(str, arguments)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def server_help(self):
        """Return what tritonserver --help prints."""
        done = subprocess.run(
            [self.server, "--help"], env=self.environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        return done.stdout + done.stderr

    @property
    def server(self):
        """The program."""
        return self.site / "pytriton" / "tritonserver" / "bin" / "tritonserver"

    def environment(self):
        """Return the variables under which it runs."""
        return {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",  # where it looks for its Python
            "LD_LIBRARY_PATH": f"{self.library.parent}:{self.site / 'nvidia_pytriton.libs'}",
        }


def make_home():
    """Return the server's environment, .venv-triton, which pip fills once."""
    library = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("INSTSONAME")
    if sys.platform != "linux" or not library.is_file():
        raise NoServerError("Triton's Python backend needs Linux and libpython, a shared library")
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
                raise NoServerError(f"pip cannot install the server: {done.stderr.strip()[-300:]}")
        ready.write_text(wanted)
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "co2net.pth").write_text(str(Path(co2net_runtime.__file__).parents[1]))
    return Home(folder, site, library)


class Server:
    """One tritonserver at a time, on the same ports, with the model co2net loaded."""

    def __init__(self, home, repository, folder):
        self._home, self._repository, self._folder = home, repository, folder
        self._process = None
        self._regions = set()  # shared memory of stubs, which those that are killed leave behind
        bundled = home.site / "pytriton" / "tritonserver"
        shutil.copytree(bundled / "backends" / "python", folder / "backends" / "python")
        python = home.site.parent.name.removeprefix("python")
        stub = bundled / "python_backend_stubs" / python / "triton_python_backend_stub"
        shutil.copy(stub, folder / "backends" / "python")
        self._port, self._metrics = _free_ports(2)
        self.address = f"127.0.0.1:{self._port}"

    def start(self):
        """Start it unless it runs; wait until it is ready."""
        if self._process is not None and self._process.poll() is None:
            return
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    self._home.server,
                    f"--model-repository={self._repository}",
                    f"--backend-directory={self._folder / 'backends'}",
                    "--model-control-mode=explicit",
                    "--load-model=co2net",
                    "--http-address=127.0.0.1",
                    f"--http-port={self._port}",
                    "--metrics-address=127.0.0.1",
                    f"--metrics-port={self._metrics}",
                    "--allow-grpc=false",
                ],
                env=self._home.environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        begun = time.monotonic()
        while not self.is_ready():
            assert self._process.poll() is None, self.log()[-3000:]
            assert time.monotonic() - begun < PATIENCE_S, self.log()[-3000:]
            time.sleep(0.05)

    def log(self):
        """Return what it has said."""
        return (self._folder / "log").read_text(errors="replace")

    def is_ready(self):
        """Return what its own health check says."""
        try:
            self.get("/v2/health/ready")
        except OSError:
            return False
        return True

    def get(self, path):
        """Return the answer to a GET request."""
        with urllib.request.urlopen(f"http://{self.address}{path}", timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    def post(self, path, body):
        """Return the JSON answer to a POST request of JSON."""
        request = urllib.request.Request(
            f"http://{self.address}{path}", json.dumps(body).encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read() or b"{}")

    def load(self, model):
        """Have a model of the repository loaded."""
        self.post(f"/v2/repository/models/{model}/load", {})

    def counts(self, model="co2net"):
        """Return the figures on a model: {name or (name, reason or result): value}."""
        from prometheus_client.parser import text_string_to_metric_families

        with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/metrics") as answer:
            families = text_string_to_metric_families(answer.read().decode())
        found = {}
        for sample in (sample for family in families for sample in family.samples):
            if sample.labels.get("model") == model:
                name = sample.name.removesuffix("_total")  # which the parser appends
                reason = sample.labels.get("reason") or sample.labels.get("result")
                found[(name, reason) if reason else name] = sample.value
        return found

    def stubs(self, model="co2net"):
        """Return the process ids of a model's instances."""
        place = f"{self._repository}/{model}/1/model.py"
        return [pid for pid, arguments in self._children() if place in arguments]

    def terminate(self):
        """Send SIGTERM; return the exit code."""
        self._children()
        self._process.terminate()
        code = self._process.wait(PATIENCE_S)
        self._clean()
        return code

    def kill(self):
        """Kill -9 it, with the stubs, which would outlive it."""
        if self._process is None or self._process.poll() is not None:
            return
        children = self._children()
        self._process.kill()
        self._process.wait()
        for pid, _ in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        self._clean()

    def _children(self):
        """Return (process id, arguments) of all stubs."""
        found = [(pid, words) for pid, parent, words in _processes() if parent == self._process.pid]
        for _, arguments in found:
            self._regions |= {
                word for word in arguments if word.startswith("triton_python_backend")
            }
        return found

    def _clean(self):
        for region in self._regions:
            (Path("/dev/shm") / region).unlink(missing_ok=True)
        self._regions.clear()


def _processes():
    """Yield (process id, parent's, arguments) of all processes."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            yield int(folder.name), parent, arguments


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
