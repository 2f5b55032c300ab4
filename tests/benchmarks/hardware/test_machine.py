"""What a run says of its machine; tables."""

import sys
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2net_benchmarks.hardware.gemm import gemm_peaks
from co2net_benchmarks.hardware.machine import Machine, describe_machine
from co2net_benchmarks.tables import Table, significant
from co2net_runtime.files.records import from_mapping, to_mapping


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def board(monkeypatch):
    """A stand-in of jetson-stats' jtop with the attributes and units of its documentation."""

    class Jtop:
        def __init__(self):
            self.power = {"tot": {"power": 5000}, "rail": {}}
            self.temperature = {"cpu": {"temp": 51.5, "online": True}, "off": {"temp": -256,
                                "online": False}}  # fmt: skip
            self.jetson_clocks = True
            self.running = False
            Jtop.last = self

        def start(self):
            self.running = True

        def close(self):
            self.running = False

    module = ModuleType("jtop")
    module.jtop = Jtop
    monkeypatch.setitem(sys.modules, "jtop", module)
    return Jtop


def test_facts_of_this_machine_round_trip():
    machine = describe_machine()
    assert machine.cpus >= 1
    assert machine.versions["numpy"]
    assert from_mapping(Machine, to_mapping(machine), "machine") == machine


def test_facts_are_read_from_proc_and_sys(tmp_path):
    write(tmp_path / "proc/cpuinfo", "processor\t: 0\nmodel name\t: Fast\nflags\t: fpu avx\n")
    write(tmp_path / "proc/meminfo", "MemTotal:       2048 kB\nMemFree: 1 kB\n")
    write(tmp_path / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    machine = describe_machine(tmp_path)
    assert (machine.cpu, machine.memory_bytes, machine.governor) == ("Fast", 2**21, "powersave")
    assert machine.hypervisor is False
    assert machine.jetson is None
    other = describe_machine(tmp_path / "nothing")
    assert other.memory_bytes is None
    assert any(
        line.startswith("governor: powersave against") for line in machine.differences(other)
    )


def test_jetson_facts(tmp_path, board):
    write(tmp_path / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.0\nmore\n")
    jetson = describe_machine(tmp_path).jetson
    assert jetson.release == "R36 (release), REVISION: 4.0"
    assert jetson.clocks_locked is True
    assert jetson.temperatures_c == {"cpu": 51.5}
    assert jetson.power_w == 5.0
    assert not board.last.running


@pytest.mark.parametrize("power", [{"tot": {}}, {}])
def test_what_a_board_does_not_tell_is_left_open(tmp_path, board, monkeypatch, power):
    """Carriers without a meter, and a service that knows no clocks."""
    start = board.start

    def begin(self):
        start(self)
        self.power, self.jetson_clocks = power, None

    monkeypatch.setattr(board, "start", begin)
    write(tmp_path / "etc/nv_tegra_release", "# R36 (release), REVISION: 4.0\n")
    jetson = describe_machine(tmp_path).jetson
    assert (jetson.clocks_locked, jetson.power_w) == (None, None)


def test_gemm_is_measured_by_each_library(monkeypatch):
    monkeypatch.setattr("co2net_benchmarks.hardware.gemm._SIZE", 64)
    monkeypatch.setattr("co2net_benchmarks.hardware.gemm._SECONDS", 0.01)
    peaks = gemm_peaks(threads=1)
    assert set(peaks) == {"numpy", "onnxruntime", "torch"}
    assert all(0 < flops < 1e14 for flops in peaks.values())


TABLE = Table("Title", ("name", "n"), (("a", "1"), ("long|er", "1000")), ("A note.",))


def test_text_table_is_aligned():
    lines = TABLE.to_text().splitlines()
    assert lines == ["Title", "name        n", "-------------", "a           1",
                     "long|er  1000", "A note."]  # fmt: skip


def test_markdown_escapes_and_html_escapes():
    assert "| long\\|er | 1000 |" in TABLE.to_markdown()
    assert "<td class=left>&lt;b&gt;</td>" in Table("t", ("a",), (("<b>",),)).to_html()


@given(st.floats(1e-6, 1e9))
def test_three_significant_digits(value):
    text = significant(value)
    assert "e" not in text
    assert float(text) == pytest.approx(value, rel=0.5e-2)
