"""Charts of a report: SVG text to stand inside an HTML page, or a PNG."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from co2net_benchmarks.latency.single_stream import ColdStart, LengthResult
from co2net_benchmarks.parity.margins import Margins
from co2net_runtime.errors import MissingDependencyError
from co2net_runtime.output.colors import BLUE, GREEN, OKABE_ITO, ORANGE, PURPLE, SKY

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRAY = "#999999"
COLORS = (*OKABE_ITO, "#000000", GRAY)
STAGE_COLORS = {"read": ORANGE, "network": BLUE, "decode": GREEN}
PART_COLORS = {"process": GRAY, "import": SKY, "load": PURPLE, "first": BLUE}
MARKERS = "osD^vPX*"


class Palette:
    """One color, marker and line per target, the same in all charts."""

    def __init__(self, names: Sequence[str]) -> None:
        self._index = {name: index for index, name in enumerate(dict.fromkeys(names))}

    def color(self, name: str) -> str:
        """Return the target's color."""
        return COLORS[self._index[name] % len(COLORS)]

    def marker(self, name: str) -> str:
        """Return the target's marker; the second target of a color gets another one."""
        index = self._index[name]
        return MARKERS[(index + 3 * (index // len(COLORS))) % len(MARKERS)]

    def line(self, name: str) -> str:
        """Return the target's line: dashed for the second target of a color."""
        return "-" if self._index[name] < len(COLORS) else "--"


def latency_by_length(rows: Sequence[LengthResult], palette: Palette) -> "Figure":
    """Draw the median latency over the length, and beside it the ratio to the reference."""
    figure = _figure(12.5, 4.2)
    absolute, relative = figure.subplots(1, 2)
    names = list(dict.fromkeys(row.target for row in rows))
    for name in names:
        own = sorted((row for row in rows if row.target == name), key=lambda row: row.length)
        style = {"color": palette.color(name), "marker": palette.marker(name), "markersize": 5}
        style["linestyle"] = palette.line(name)
        for axes, factor, intervals in (
            (absolute, 1e3, [row.p50_s for row in own]),
            (relative, 1, [row.ratio for row in own]),
        ):
            x = [row.length for row in own]
            low, y, high = (
                [factor * getattr(interval, part) for interval in intervals]
                for part in ("low", "median", "high")
            )
            axes.plot(x, y, label=name, **style)
            axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
    lengths = sorted({row.length for row in rows})
    for axes in (absolute, relative):
        axes.set_xscale("log")
        axes.set_xticks(lengths, [str(length) for length in lengths])
        axes.minorticks_off()
        axes.set_xlabel("snippets in the video")
        axes.grid(alpha=0.3)
    absolute.set_yscale("log")
    absolute.set_ylabel("milliseconds for one video (median)")
    _legend(figure, absolute)
    # an interval may leave the chart, so that one restless target does not flatten all others
    relative.set_ylim(0, 1.25 * max(row.ratio.median for row in rows))
    relative.set_ylabel(f"time over that of {names[0]}")
    return figure


def time_split(rows: Sequence[LengthResult]) -> "Figure":
    """Draw where the time goes: read, network, decode, stacked, at each length."""
    lengths = sorted({row.length for row in rows})
    names = list(dict.fromkeys(row.target for row in rows))
    figure = _figure(12.5, (0.9 + 0.26 * len(names)) * ((len(lengths) + 1) // 2))
    grid = figure.subplots((len(lengths) + 1) // 2, 2, squeeze=False, sharey=True)
    for axes in grid.flat[len(lengths) :]:
        axes.set_visible(False)
    for axes, length in zip(grid.flat, lengths, strict=False):
        own = {row.target: row for row in rows if row.length == length}
        shown = [name for name in reversed(names) if name in own]
        parts = {
            stage: [own[name].stages[stage].p50_s * 1e3 for name in shown] for stage in STAGE_COLORS
        }
        _stacked(axes, shown, parts, STAGE_COLORS)
        axes.set_title(f"{length} snippets", fontsize="medium")
        axes.set_xlabel("milliseconds (medians of the stages)")
    _legend(figure, grid.flat[0])
    return figure


def cold_starts(starts: Sequence[ColdStart]) -> "Figure":
    """Draw where the time of a fresh process goes until its first result."""
    figure = _figure(12.5, 1.0 + 0.28 * len(starts))
    axes = figure.subplots()
    shown = starts[::-1]
    parts = {part: [getattr(start, f"{part}_s") for start in shown] for part in PART_COLORS}
    totals = _stacked(axes, [start.target for start in shown], parts, PART_COLORS)
    # a compiler takes so long that nothing could be seen of the others: its bar leaves the chart
    end = min(max(totals), 5 * sorted(totals)[len(totals) // 2])
    axes.set_xlim(0, 1.08 * end)
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
    for row, total in enumerate(totals):
        at = min(total, end) + 0.01 * end
        axes.text(at, row, f"{total:.2g}", va="center", fontsize="small", bbox=paper)
    axes.set_xlabel("seconds from the start of the process; beside each bar its length")
    _legend(figure, axes)
    return figure


def speed_and_accuracy(
    points: Sequence[tuple[str, float, float]], speed: str, palette: Palette
) -> "Figure":
    """Draw targets as (name, speed, mAP in percent)."""
    figure = _figure(12.5, 3.4)
    axes = figure.subplots()
    for name, x, y in points:
        axes.plot(x, y, palette.marker(name), label=name, color=palette.color(name), markersize=9)
    axes.set_xlim(left=0, right=1.1 * max(x for _, x, _ in points))
    values = [y for _, _, y in points]
    # never zoomed in so far that tenths of a point look like a cliff
    middle, half = (max(values) + min(values)) / 2, max(2.5, 0.65 * (max(values) - min(values)))
    axes.set_ylim(middle - half, middle + half)
    axes.set_xlabel(speed)
    axes.set_ylabel("mAP, mean over tIoU .1:.1:.7, percent")
    axes.grid(alpha=0.3)
    _legend(figure, axes)
    return figure


def margins(named: Sequence[tuple[str, Margins, float]], palette: Palette) -> "Figure":
    """Draw the share of attention decisions within a distance of their threshold.

    named: (artefact, margins, its largest difference of attention), drawn as vertical lines.
    """
    figure = _figure(12.5, 3.4)
    axes = figure.subplots()
    first = named[0][1]
    shares = [max(share, 1e-9) * 100 for share in first.within]
    axes.plot(first.edges, shares, "o-", color="black", label="distances of PyTorch")
    for name, _, largest in named:
        if largest > 0:
            label = f"{name}: largest difference"
            axes.axvline(largest, color=palette.color(name), linestyle="--", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-4)
    axes.set_xlabel("distance of attention to a threshold")
    axes.set_ylabel("percent of decisions nearer than that")
    axes.grid(alpha=0.3)
    _legend(figure, axes)
    return figure


def _stacked(
    axes: "Axes",
    names: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    colors: Mapping[str, str],
) -> list[float]:
    """Draw a bar per name, its parts side by side; return the lengths of the bars."""
    ends = [0.0] * len(names)
    for part, widths in parts.items():
        axes.barh(names, widths, left=ends, color=colors[part], label=part, height=0.65)
        ends = [end + width for end, width in zip(ends, widths, strict=True)]
    axes.tick_params(axis="y", labelsize="small")
    axes.grid(axis="x", alpha=0.3)
    return ends


def _legend(figure: "Figure", axes: "Axes") -> None:
    figure.legend(*axes.get_legend_handles_labels(), fontsize="small", loc="outside right upper")


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "a report's charts") from error
    return Figure(figsize=(width, height), layout="constrained")


def to_svg(figure: "Figure", name: str) -> str:
    """Return the SVG element; `name` keeps the ids of several charts on a page apart."""
    import matplotlib

    text = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    # text stays text: searchable, and in the page's own font
    return re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1sans-serif", svg)


def to_png(figure: "Figure") -> bytes:
    """Return the chart as a PNG, for places that show no HTML (a README)."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()
