"""Pictures and pages of one video; the page is opened in a real browser where there is one."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.detections import Detections
from co2net_runtime.errors import InputError
from co2net_runtime.localizer import Activations
from co2net_runtime.output.pictures import Pictures, read_ground_truth
from co2net_runtime.output.timeline import Bar, make_timeline
from co2net_runtime.output.timeline_page import to_html

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
CLASSES = ("Run", "Jump $x$", "</script><b>Throw")


def timeline(length=200, truth=None, name="video <1> & more"):
    rng = np.random.default_rng(1)
    attention = rng.uniform(0.01, 0.99, length).astype(np.float32)
    cas = rng.normal(0, 2, (length, 4)).astype(np.float32)
    rows = [(6.4, 12.8, 0.5, 0), (7.04, 9.6, 0.9, 0), (64.0, 70.4, 0.2, 1), (20.0, 30.0, 1.5, 2)]
    table = np.array(rows if length > 100 else []).reshape(-1, 4)
    found = Detections(table[:, :2], table[:, 2], table[:, 3].astype(np.int64), CLASSES)
    contract = Contract(
        classes=CLASSES, rgb_dim=1, flow_dim=1, opset=20, checkpoint_sha256="0" * 64
    )
    return make_timeline(name, Activations(cas, attention), found, contract, truth)


def test_what_it_shows():
    shown = timeline(truth=[Bar("Swim", 1.0, 2.0), Bar("Run", 6.0, 12.0)])
    assert shown.labels == (CLASSES[2], "Run", CLASSES[1], "Swim")  # the best first, then the truth
    assert set(shown.curves) == set(CLASSES)  # the model does not know Swim
    assert [bar.score for bar in shown.segments] == [1.5, 0.9, 0.5, 0.2]
    assert shown.duration_s == pytest.approx(128)
    assert len(shown.edges_s) == 201


def data_of(page):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def test_the_page_holds_everything_and_loads_nothing():
    page = to_html(timeline())
    data = data_of(page)
    assert data["labels"][0] == "</script><b>Throw"
    assert len(data["attention"]) == 200
    assert html.escape("video <1> & more") in page
    addresses = set(re.findall(r"https?://[^\s\"']+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, no address
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=", page)
    assert "__" not in re.sub(r'"application/json">.*?</script>', "", page, flags=re.DOTALL)


def test_pages_of_long_videos_stay_small():
    assert len(to_html(timeline(length=5000))) < 250_000


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium runs this test"
)


def open_in_browser(page, tmp_path, script=""):
    """Return the document after the page, and then the script, have run."""
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [BROWSER, *options, profile, "--dump-dom", file.as_uri()],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


SCRIPT = """
const log = {};
const chart = document.getElementById("chart"), box = chart.getBoundingClientRect();
const send = (kind, Event, more) => chart.dispatchEvent(new Event(kind, {bubbles: true,
  cancelable: true, clientX: box.left + 150 + (box.width - 162) * 10 / 128, clientY: box.top + 50,
  pointerId: 1, ...more}));
const shot = () => ({
  segments: chart.querySelectorAll("rect.segment").length,
  truth: chart.querySelectorAll("rect.truth").length,
  curves: chart.querySelectorAll("path.curve").length,
  marks: [...chart.querySelectorAll("text")].map(one => one.textContent),
  range: document.getElementById("range").textContent,
  resetHidden: document.getElementById("reset").hidden,
});
chart.setPointerCapture = () => {};
log.start = shot();
send("pointermove", PointerEvent);
log.tip = document.getElementById("tip").innerText;
log.tipHidden = document.getElementById("tip").hidden;
for (let i = 0; i < 12; i++) send("wheel", WheelEvent, {deltaY: -100});
log.zoomed = shot();
send("pointerdown", PointerEvent);
send("pointermove", PointerEvent, {clientX: 0});
send("pointerup", PointerEvent);
log.moved = shot();
send("dblclick", MouseEvent);
log.whole = shot();
document.querySelector("#legend button").click();
log.filtered = shot();
document.querySelector("#legend button").click();
document.querySelector("#list tbody tr").click();
log.chosen = shot();
chart.dispatchEvent(new KeyboardEvent("keydown", {key: "0"}));
log.key = shot();
send("pointerleave", PointerEvent);
log.left = document.getElementById("tip").hidden;
document.body.replaceChildren(JSON.stringify(log));
"""


@needs_browser
def test_hover_zoom_move_and_filter(tmp_path):
    page = to_html(timeline(truth=[Bar("Run", 6.0, 12.0)]))
    dumped = open_in_browser(page, tmp_path, SCRIPT)
    log = json.loads(html.unescape(re.search(r"<body>(.*)</body>", dumped, re.DOTALL)[1]))
    assert (log["start"]["segments"], log["start"]["truth"], log["start"]["curves"]) == (4, 1, 3)
    assert log["start"]["range"] == "2:08"
    assert log["start"]["resetHidden"]
    assert "1:00" in log["start"]["marks"]
    assert not log["tipHidden"]
    assert "0:10.0, snippet 15" in log["tip"]
    assert "Run 0:06.4 to 0:12.8" in log["tip"]
    assert "truth" in log["tip"]
    start, end = re.match(r"0:(.*) to 0:(.*) of 2:08", log["zoomed"]["range"]).groups()
    assert float(start) < 10 < float(end)
    assert float(end) - float(start) < 10
    assert log["zoomed"]["segments"] == 2  # the two around it
    assert log["moved"]["range"] != log["zoomed"]["range"]
    assert log["whole"] == log["start"] == log["key"]
    assert log["filtered"]["segments"] == 3
    assert log["filtered"]["curves"] == 2
    assert log["chosen"]["range"] == "0:10.0 to 0:40.0 of 2:08"
    assert log["left"]


@needs_browser
@pytest.mark.parametrize("length", [1, 2, 100])
def test_short_videos_and_none_found(tmp_path, length):
    dumped = open_in_browser(to_html(timeline(length=length)), tmp_path)
    assert 'id="attention"' in dumped
    assert "no segments" in dumped


@pytest.mark.parametrize("name", ["png", "svg", "html"])
def test_pictures(tmp_path, name):
    if name != "html":
        pytest.importorskip("matplotlib", reason="pictures need the plot extra")
    contract = Contract(
        classes=CLASSES, rgb_dim=1, flow_dim=1, opset=20, checkpoint_sha256="0" * 64
    )
    rng = np.random.default_rng(0)
    activations = Activations(
        rng.normal(0, 1, (50, 4)).astype(np.float32), rng.uniform(0, 1, 50).astype(np.float32)
    )
    found = Detections(np.array([[1.0, 9.0]]), np.array([0.7]), np.array([1]), CLASSES)
    (path,) = Pictures(tmp_path, [name, name]).draw("v", activations, found, contract)
    content = path.read_bytes()
    assert content.startswith({"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype"}[name])
    if name == "svg":
        assert "Jump $x$" in content.decode()
        none = found.select(np.zeros(1, dtype=bool))
        (path,) = Pictures(tmp_path, [name]).draw("none", activations, none, contract)
        assert "no segments" in path.read_text()


SEGMENT = '{"database": {"v": {"annotations": [{"label": %s, "segment": [1, %s]}]}}}'


def test_ground_truth_is_read_as_windows_and_macs_write_it(tmp_path):
    path = tmp_path / "truth.json"
    text = SEGMENT.replace('"v"', '"cafe\u0301 "') % ('" a "', "2")
    path.write_text("\ufeff" + text, encoding="utf-8")
    assert read_ground_truth(path) == {"caf\u00e9": [Bar("a", 1.0, 2.0)]}


def test_ground_truth(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text('{"database": {"v": {"annotations": [{"label": "a", "segment": ["1", 2]}]}}}')
    assert read_ground_truth(path) == {"v": [Bar("a", 1.0, 2.0)]}
    for broken in ("[]", SEGMENT % ("null", "2"), SEGMENT % ('"a"', "NaN")):
        path.write_text(broken)
        with pytest.raises(InputError, match="expected annotations"):
            read_ground_truth(path)
    path.write_text(SEGMENT % ('"a"', "9" * 400))
    with pytest.raises(InputError, match="a number of 400 digits"):
        read_ground_truth(path)
    with pytest.raises(InputError, match="cannot read the annotations: No such file"):
        read_ground_truth(tmp_path / "missing.json")
