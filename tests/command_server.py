"""Runs co2net's commands in forks of one process that has imported PyTorch already.

A page of documentation runs a dozen commands; importing PyTorch for each would take longer than
the commands themselves. Exports of the same weights share the graph that PyTorch's exporter makes
of them, which takes it seconds and is the same bytes every time. `command_server(folder)` puts an
executable into `folder` for each command. Each passes its arguments, streams and working directory
to the server, so that lines of a page run in a real shell, pipes included.
"""

import contextlib
import gc
import hashlib
import importlib
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

# onnxruntime is not among them: its import starts a thread, which a fork does not have
IMPORTS = ("torch.onnx", "onnxscript", "co2net.cli.train", "co2net_export.cli")
CLIENT = """#!{python} -IS
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    environment = {{key: value for key, value in os.environ.items() if "CO2NET" in key}}
    request = json.dumps([{command!r}, sys.argv[1:], os.getcwd(), environment]).encode()
    socket.send_fds(server, [request], [0, 1, 2])
    sys.exit(int(server.recv(16) or b"1"))
"""


def console_scripts():
    """Return the names of co2net's commands."""
    scripts = importlib.metadata.entry_points(group="console_scripts")
    return sorted(script.name for script in scripts if script.name.startswith("co2net-"))


@contextlib.contextmanager
def command_server(folder):
    """Serve the commands by executables in `folder`, a new folder with a short path."""
    address = str(folder / "server")
    for command in console_scripts():
        script = folder / command
        script.write_text(CLIENT.format(python=sys.executable, address=address, command=command))
        script.chmod(0o755)
    arguments = [sys.executable, __file__, address]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # else it has a thread, too
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env=environment) as server:
        assert server.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            server.kill()


def serve(address):
    """Answer requests until killed."""
    for name in IMPORTS:
        importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork would lack threads"
    gc.freeze()  # else the first collection of a fork copies every page
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            with client:
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    client.send(str(_answer(client)).encode())
                    os._exit(0)


def _answer(client):
    received, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    command, arguments, folder, environment = json.loads(received)
    child = os.fork()
    if child:
        for stream in streams:
            os.close(stream)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    client.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.update(environment)
    if command == "co2net-export":
        _share_graphs()
    sys.argv = [command, *arguments]
    scripts = importlib.metadata.entry_points(group="console_scripts", name=command)
    next(iter(scripts)).load()()
    sys.exit(0)


def _share_graphs():
    """Let exports of the same weights share what PyTorch's exporter makes of them, in seconds."""
    import onnx

    import co2net_export.export as module

    convert = module.convert
    folder = Path(sys.argv[1]).parent  # the server's

    def shared(model, *, kind, opset):
        state = ((name, value.numpy().tobytes()) for name, value in model.state_dict().items())
        key = hashlib.sha256(repr((model.config, kind, opset, *state)).encode()).hexdigest()
        file = folder / f"{key}.graph"
        if file.exists():
            return onnx.load(file)
        graph = convert(model, kind=kind, opset=opset)
        temporary = file.with_suffix(f".{os.getpid()}")
        onnx.save(graph, temporary)
        temporary.rename(file)
        return graph

    module.convert = shared


if __name__ == "__main__":
    sys.path.pop(0)  # the tests' folder
    sys.path[:0] = [
        str(Path(__file__).parents[1] / each) for each in ("", "runtime", "export", "benchmarks")
    ]
    serve(sys.argv[1])
