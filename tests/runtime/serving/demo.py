"""The second half of `make demo-scale`: the model behind a real Triton server.

python -m tests.runtime.serving.demo REPOSITORY FEATURES SHARDS
"""

import os
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from click.testing import CliRunner

from co2net_runtime import TritonLocalizer
from co2net_runtime.cli.triton_probe import main as probe_command
from co2net_runtime.shards.results import joined
from tests.runtime.serving.server import NoServerError, Server, make_home

CLIENTS = 8


def main(repository, features, shards):
    """Start the server, compare its answers with the archive's, kill an instance, cure it."""
    wanted = dict(joined(Path(shards)))
    files = {path.stem: path for path in sorted(Path(features).glob("*.npy"))}
    print("making the server's environment, .venv-triton (once)", flush=True)
    try:
        home = make_home()
    except NoServerError as error:
        sys.exit(f"demo-scale: {error}")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(home, Path(repository).absolute(), Path(folder))
        try:
            server.start()
            print(f"tritonserver answers at {server.address}", flush=True)
            begun = time.monotonic()
            found = ask(server.address, [np.load(files[video]) for video in wanted])
            seconds = time.monotonic() - begun
            print(f"{len(found)} videos by {CLIENTS} clients in {seconds:.1f} s;")
            print(compare(found, wanted))
            probe(server)
            print("killing one of the two processes that hold the model")
            os.kill(server.stubs()[0], signal.SIGKILL)
            ready = "ready" if server.is_ready() else "not ready"
            print(f"Triton's own health check says {ready}")
            probe(server)
            probe(server, "--reload")
            print("SIGTERM: Triton waits for the dead process until its exit timeout", flush=True)
            server.terminate()
        finally:
            server.kill()


def ask(address, videos):
    """Return the records that the server finds in each video."""
    found = [None] * len(videos)

    def work(first):
        with TritonLocalizer.connect(address) as localizer:
            for index in range(first, len(videos), CLIENTS):
                found[index] = localizer(videos[index]).to_records()

    with ThreadPoolExecutor(CLIENTS) as threads:
        list(threads.map(work, range(CLIENTS)))
    return found


def compare(found, wanted):
    """Say how the server's segments differ from the archive's, whose numpy is another."""
    equal, largest = 0, 0.0
    for one, other in zip(found, wanted.values(), strict=True):
        places = [
            [(record["label"], record["segment"]) for record in side] for side in (one, other)
        ]
        equal += places[0] == places[1]
        scores = ([record["score"] for record in side] for side in (one, other))
        largest = max(largest, *(abs(a - b) for a, b in zip(*scores, strict=False)), 0.0)
    return f"{equal} have the archive's segments, scores differ by at most {largest:.0e}"


def probe(server, *options):
    """Run co2net-triton-probe as a user would, and show what it says."""
    done = CliRunner().invoke(probe_command, [server.address, *options])
    words = " ".join(["co2net-triton-probe", server.address, *options])
    print(f"{words}: exit code {done.exit_code}: {done.stderr.strip()}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
