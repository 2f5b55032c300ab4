"""Planning a large archive: what the driver holds, without Ray."""

import subprocess
import sys

COUNT = 50_000
# a million measured the same way: 374 MB and 24 CPU seconds, first run or resumed at 90 %
PROGRAM = """
import sys
from importlib.util import find_spec
import co2net_runtime.cli.archive_run as run
from co2net_runtime.cli.archive import main

run.find_spec = lambda name: object()  # Ray itself is not needed here
def planned(cluster, told, work):
    print(len(work), sum(map(len, work.values())), flush=True)
    # not ru_maxrss, which survives exec: it would be that of the process that runs the tests
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(int(status["VmHWM"].split()[0]) // 1024, flush=True)
    return iter(())

run.run_shards = planned
main()
"""


def plan(model, names, out):
    words = [model, f"@{names}", "--out", out, "--backend", "onnxruntime", "--shard-videos", "50"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, words)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return list(map(int, done.stdout.split())), done.stderr


def test_memory_grows_little_with_names_and_what_is_done_is_left_out(tiny_path, tmp_path):
    names, out = tmp_path / "names.txt", tmp_path / "out"
    names.write_text("".join(f"/archive/{i % 100}/video_{i:07d}.npy\n" for i in range(COUNT)))
    (shards, videos, megabytes), err = plan(tiny_path, names, out)
    assert (shards, videos) == (COUNT // 50, COUNT), err
    assert megabytes < 200  # of which Python and the engine take 120
    for index in range(shards - 200):
        (out / f"shard-{index:06d}.jsonl").touch()
    (left, videos, megabytes), err = plan(tiny_path, names, out)
    assert (left, videos) == (200, 200 * 50), err
    assert megabytes < 200
