import pytest
from click.testing import CliRunner

from co2net_runtime.cli import archive, archive_run, extract, infer


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (infer, ["model.onnx", "clip.mp4"]),
        (infer, ["model.onnx", "--live", "door=play:clip.mp4"]),
        (extract, ["clip.mp4", "--out", "features"]),
        (archive, ["model.onnx", "clip.mp4", "--out", "shards"]),
    ],
    ids=["infer", "live", "extract", "archive"],
)
def test_a_flow_algorithm_without_a_flow_backbone_is_refused(
    command, arguments, tiny_path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(archive_run, "find_spec", lambda _name: object())  # Ray is not needed
    (tmp_path / "model.onnx").write_bytes(tiny_path.read_bytes())
    (tmp_path / "clip.mp4").write_bytes(b"")
    (tmp_path / "rgb.onnx").write_bytes(b"")
    options = ["--rgb", "rgb.onnx", "--flow-algorithm", "dis-fast"]
    done = CliRunner().invoke(command.main, [*arguments, *options])
    assert done.exit_code == 2
    assert "--flow-algorithm needs --flow" in done.stderr
