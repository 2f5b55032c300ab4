"""After an error that CUDA keeps, the program ends by itself, and another one goes on."""

import json

import pytest
from click.testing import CliRunner

from co2net_runtime.backends import run_failed
from co2net_runtime.cli import infer
from co2net_runtime.errors import BackendError, DeviceLostError


def test_the_videos_left_are_not_marked_as_failed(box, tiny_path, feature_folder, tmp_path):
    folder, out = feature_folder(*[20] * 5), tmp_path / "found.jsonl"
    arguments = [str(tiny_path), str(folder), "--backend", "tensorrt", "--batch", "1"]
    arguments += ["--out", str(out), "-q"]
    box.lose_after = 2  # executions
    lost = CliRunner().invoke(infer.main, arguments)
    assert lost.exit_code == 4, lost.stderr
    (line,) = lost.stderr.splitlines()
    assert line.startswith("co2net-infer: error: CUDA: an illegal memory access")
    assert line.endswith("start the program again")
    done = out.read_text().splitlines()[1:]
    assert len(done) < 5
    box.revive()  # another process
    again = CliRunner().invoke(infer.main, [*arguments, "--skip-existing"])
    assert again.exit_code == 0, again.stderr
    records = [json.loads(one) for one in out.read_text().splitlines()]
    assert len({one["video"] for one in records if "video" in one}) == 5
    assert not [one for one in records if "error" in one]


def test_onnx_runtime_says_it_in_its_own_words():
    text = "CUDA failure 700: an illegal memory access was encountered ; GPU=0 ; hostname=box"
    assert isinstance(run_failed("ONNX Runtime", text, {}), DeviceLostError)
    assert type(run_failed("ONNX Runtime", "CUDA failure 1: invalid argument", {})) is BackendError


@pytest.mark.parametrize("code", [700, 719, 999])
def test_each_such_code(box, tiny_path, videos, code):
    from co2net_runtime.backends import EngineOptions
    from co2net_runtime.localizer import Localizer

    with Localizer.load(tiny_path, EngineOptions(backend="tensorrt")) as trt:
        box.cuda.sticky = code
        with pytest.raises(DeviceLostError):
            trt(videos(5)[0])
