"""The table of precisions, of tiny artefacts timed in real child processes."""

import dataclasses
import shutil

import onnx
import pytest
from click.testing import CliRunner

from co2net_export.graph.write import set_contract
from co2net_runtime.artefact.onnx_file import read_contract
from studies.precision_table import main
from tests.benchmarks.conftest import DATA

FP32, INT8 = DATA / "tiny.onnx", DATA / "tiny.int8-cpu.onnx"


def table(*arguments):
    options = ("--lengths", "9,17", "--samples", "1", "--threads", "1", "--quiet")
    return CliRunner().invoke(main, [*map(str, arguments), *options])


def cells(row):
    return [cell.strip() for cell in row.strip("| ").split(" | ")]


def test_one_row_per_artefact_of_what_its_contract_proves(tmp_path):
    out = tmp_path / "table.md"
    result = table(f"fp32={FP32}", f"int8={INT8}", "--out", out)
    assert result.exit_code == 0, result.stderr
    lines = [line for line in out.read_text().splitlines() if line.startswith("|")]
    head, _, fp32, int8 = map(cells, lines)
    assert [row[:2] for row in (fp32, int8)] == [["fp32", "fp32"], ["int8", "int8-cpu"]]
    columns = dict(zip(head, int8, strict=True))
    parity = read_contract(INT8).parity
    decisions, cas = parity["decisions"], parity["tensors"]["cas"]
    assert columns["cas max / mean"] == f"{cas['max_abs']:.1e} / {cas['mean_abs']:.1e}"
    assert columns["lost / added / moved"] == " / ".join(
        str(decisions[name]) for name in ("lost", "added", "moved")
    )
    assert float(columns["mAP"]) == pytest.approx(parity["accuracy"]["artefact"], abs=0.01)
    assert float(columns["MB"]) == pytest.approx(INT8.stat().st_size / 1e6, rel=0.01)
    assert (columns["gate"], fp32[-1]) == ("met", "met")
    # the reference of the ratios; it was exported without data
    assert fp32[3:5] == ["1.00", "1.00"]
    assert fp32[7:11] == ["-"] * 4
    assert all(float(speed) > 0 for speed in int8[3:5])
    assert f"of {decisions['segments']} segments in {decisions['videos']} held-out" in " ".join(
        result.stdout.split()
    )


def changed(path, folder, **values):
    """Copy an artefact with other values in its contract."""
    model = onnx.load(path)
    set_contract(model, dataclasses.replace(read_contract(path), **values))
    onnx.save(model, folder / path.name)
    return folder / path.name


def test_an_artefact_without_a_gate_says_so(tmp_path):
    parity = {**read_contract(FP32).parity, "gate": None}
    result = table(changed(FP32, tmp_path, parity=parity))
    assert result.exit_code == 0, result.stderr
    assert "none" in result.stdout.splitlines()[3]
    assert "Decisions were not compared" in result.stdout


def test_what_cannot_be_compared_gets_one_line(tmp_path):
    shutil.copy(FP32, tmp_path / "tiny.engine")
    for files, words in (
        ((FP32, changed(INT8, tmp_path, checkpoint_sha256="1" * 64)), "one checkpoint file"),
        ((changed(FP32, tmp_path, parity={}),), "no parity figures"),
        ((DATA / "tiny.chunk.onnx",), "a chunk graph"),
        ((tmp_path / "tiny.engine",), "give ONNX files"),
        ((tmp_path / "none.onnx",), "no such file"),
    ):
        result = table(*files)
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert words in line
