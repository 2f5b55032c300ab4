"""Timeline pages with the video beside them, in a real browser; the index of a folder."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from co2net_runtime.artefact.contract import Contract
from co2net_runtime.detections import Detections
from co2net_runtime.localizer import Activations
from co2net_runtime.output.index_page import write_index
from co2net_runtime.output.pictures import Pictures

BROWSER = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
CLASSES = ("Run", "<b>Jump")
CONTRACT = Contract(classes=CLASSES, rgb_dim=1, flow_dim=1, opset=20, checkpoint_sha256="0" * 64)
SNIPPETS = 10  # 6.4 s


def draw(folder, video, film=None, segments=((1.28, 3.2), (3.84, 5.12))):
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    activations = Activations(
        random.normal(0, 1, (SNIPPETS, 3)).astype(np.float32),
        random.uniform(0, 1, SNIPPETS).astype(np.float32),
    )
    count = len(segments)
    found = Detections(
        np.array(segments, np.float64).reshape(-1, 2),
        np.linspace(0.9, 0.5, count),
        np.arange(count) % 2,
        CLASSES,
    )
    (path,) = Pictures(folder, ["html"]).draw(video, activations, found, CONTRACT, film)
    return path


def film_at(path, codec="libvpx", size=(64, 48)):
    av = pytest.importorskip("av")
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(160):
            image = np.full((size[1], size[0], 3), index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


def data_of(page):
    return json.loads(re.search(r'type="application/json">(.*?)</script>', page, re.DOTALL)[1])


def test_the_film_is_named_as_seen_from_the_page(tmp_path):
    page = draw(tmp_path / "pages", "a", tmp_path / "videos" / "50% #1 <clip>.webm")
    assert data_of(page.read_text())["film"] == "../videos/50%25%20%231%20%3Cclip%3E.webm"
    page = draw(tmp_path / "pages", "b")
    assert data_of(page.read_text())["film"] is None


SCRIPT = """
const log = {}, chart = document.getElementById("chart"), box = chart.getBoundingClientRect();
chart.setPointerCapture = () => {};
const press = (target, more) => { for (const kind of ["pointerdown", "pointerup"])
  target.dispatchEvent(new PointerEvent(kind, {bubbles: true, pointerId: 1, clientY: box.top + 50,
    ...more})); };
const at = seconds => box.left + 150 + (box.width - 162) * seconds / 6.4;
const report = () => { log.done = true; document.body.replaceChildren(JSON.stringify(log)); };
const once = name => new Promise(done => film.addEventListener(name, done, {once: true}));
(async () => {
  if (film.readyState < 1) await Promise.race([once("loadedmetadata"), once("error")]);
  log.said = document.getElementById("filmless").textContent;
  if (film.error) return report();
  log.size = [film.videoWidth, film.videoHeight];
  press(chart, {clientX: at(2)});
  log.axis = film.currentTime;
  press(chart.querySelector("rect.segment"), {clientX: at(2.5)});
  log.segment = film.currentTime;
  log.playhead = Number(document.getElementById("playhead").getAttribute("x1")) + box.left;
  log.expected = at(1.28);
  document.querySelectorAll("#list tbody tr")[1].click();
  log.row = film.currentTime;
  report();
})();
"""


def in_browser(page, script, tmp_path):
    """Return what the script left in the body of the page."""
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900"]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    done = subprocess.run(
        [BROWSER, *options, profile, "--virtual-time-budget=60000", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(html.unescape(re.search(r"<body>(.*)</body>", done.stdout, re.DOTALL)[1]))


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no Chromium here: apt-get install chromium runs this test"
)


@needs_browser
def test_a_click_on_axis_segment_or_row_sends_the_video_there(tmp_path):
    page = draw(tmp_path / "pages", "a", film_at(tmp_path / "videos" / "a b.webm"))
    log = in_browser(page, SCRIPT, tmp_path)
    assert log["size"] == [64, 48]
    assert log["said"] == ""
    assert log["axis"] == pytest.approx(2, abs=0.02)
    assert log["segment"] == pytest.approx(1.28, abs=1e-3)
    assert log["playhead"] == pytest.approx(log["expected"], abs=1)
    assert log["row"] == pytest.approx(3.84, abs=1e-3)


@needs_browser
@pytest.mark.parametrize("name", ["gone.webm", "old.avi"])
def test_a_video_that_the_browser_cannot_play_is_said(tmp_path, name):
    film = tmp_path / "videos" / name
    if name == "old.avi":
        film_at(film, "mpeg4")
    log = in_browser(draw(tmp_path / "pages", "a", film), SCRIPT, tmp_path)
    assert f"cannot play ../videos/{name}" in log["said"]


def test_the_index_lists_every_page_of_the_folder(tmp_path):
    draw(tmp_path, "a & b", segments=())
    draw(tmp_path, "c#1")
    (tmp_path / "other.html").write_text("<p>not ours")
    page = write_index(tmp_path).read_text()
    assert "<h1>2 videos</h1>" in page
    assert '<a href="a%20%26%20b.html">a &amp; b</a><td>0:06<td>0<td><td>\n' in page
    assert '<a href="c%231.html">c#1</a><td>0:06<td>2<td>0.900<td>Run, &lt;b&gt;Jump\n' in page
    assert "other" not in page
    (tmp_path / "c#1.html").unlink()
    assert "<h1>1 video</h1>" in write_index(tmp_path).read_text()


def test_an_index_that_is_not_ours_stays(tmp_path, caplog):
    (tmp_path / "index.html").write_text("mine")
    draw(tmp_path, "a")
    assert write_index(tmp_path) is None
    assert "no index of ours" in caplog.text
    assert (tmp_path / "index.html").read_text() == "mine"


def test_a_page_of_somebody_else_is_left_out_of_the_index(tmp_path, caplog):
    data = '<script id="data" type="application/json">{"segments": []}</script>'
    (tmp_path / "theirs.html").write_text(data)
    assert "<h1>0 videos</h1>" in write_index(tmp_path).read_text()
    assert "theirs.html: no timeline page of ours" in caplog.text
