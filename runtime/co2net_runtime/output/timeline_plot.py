"""The timeline as a picture, PNG or SVG, by matplotlib."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from co2net_runtime.errors import MissingDependencyError
from co2net_runtime.files.atomic import atomic_path
from co2net_runtime.output.colors import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from co2net_runtime.output.timeline import Timeline

# more rows than this are a list, not a picture
MAX_LABELS = 6

# inches
SEGMENT_ROW, TRUTH_ROW = 0.7, 0.3

COLORS = (*OKABE_ITO, "#8c6bb1", "#737373")


def require_matplotlib() -> None:
    """Raise MissingDependencyError if matplotlib is missing; called before long work."""
    try:
        import matplotlib.figure  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise MissingDependencyError("matplotlib", "plot", "drawing timelines") from error


def save_plot(timeline: "Timeline", path: Path) -> None:
    """Write the picture; the path's suffix is its format."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MultipleLocator

    labels = timeline.labels[:MAX_LABELS]
    colors = dict(zip(labels, COLORS, strict=False))
    row = SEGMENT_ROW + (0 if timeline.truth is None else TRUTH_ROW)
    rows = 0.1 + row * max(len(labels), 1)
    # fixed ids: the same video gives the same SVG
    style: dict[Any, Any] = {"svg.hashsalt": "co2net", "svg.fonttype": "none"}
    style["text.parse_math"] = False  # a name may hold a $
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(12, 3.5 + rows), layout="constrained")
        axes = figure.subplots(3, 1, sharex=True, height_ratios=[1.5, 1.5, rows])
        figure.suptitle(timeline.video, x=0.01, ha="left", fontweight="bold")
        _draw_attention(axes[0], timeline)
        _draw_curves(axes[1], timeline, colors)
        _draw_segments(axes[2], timeline, colors)
        for one in axes:
            one.spines[["top", "right"]].set_visible(False)
            one.grid(axis="x", color="0.9", linewidth=0.8)
            one.set_axisbelow(True)
        axes[2].set_xlim(0, timeline.duration_s)
        axes[2].xaxis.set_major_locator(MultipleLocator(_tick_step(timeline.duration_s)))
        axes[2].xaxis.set_major_formatter(_clock)
        with atomic_path(path) as temporary:
            metadata = {"Date": None} if path.suffix == ".svg" else {}
            figure.savefig(temporary, format=path.suffix[1:], dpi=110, metadata=metadata)


def _draw_attention(axes: "Axes", timeline: "Timeline") -> None:
    axes.stairs(timeline.attention, timeline.edges_s, fill=True, alpha=0.18, color="black")
    axes.stairs(timeline.attention, timeline.edges_s, color="0.2", linewidth=1)
    axes.axhline(timeline.threshold, color="0.5", linestyle=":", linewidth=1)
    axes.set_ylim(0, 1)
    axes.set_ylabel("attention")


def _draw_curves(axes: "Axes", timeline: "Timeline", colors: Mapping[str, str]) -> None:
    for label, color in colors.items():
        if label in timeline.curves:
            curve = timeline.curves[label]
            axes.stairs(curve, timeline.edges_s, baseline=None, color=color, linewidth=1.2)
    axes.axhline(0, color="0.7", linewidth=0.8)
    axes.set_ylabel("cas × attention")  # noqa: RUF001  # the sign for a product


def _draw_segments(axes: "Axes", timeline: "Timeline", colors: Mapping[str, str]) -> None:
    """Draw each segment as high as its score: nested segments stay visible."""
    from matplotlib.colors import to_rgba

    best = max((bar.score or 0.0 for bar in timeline.segments), default=1.0)
    ticks: list[tuple[float, str]] = []
    y = 0.0
    for label, color in colors.items():
        y -= SEGMENT_ROW
        for bar in timeline.segments:  # the best first, so that lower ones stand before it
            if bar.label == label:
                share = max(bar.score or 0.0, 0.0) / max(best, 1e-12)
                axes.bar(
                    bar.start_s, (0.06 + 0.94 * share) * 0.88 * SEGMENT_ROW,
                    bar.end_s - bar.start_s, y, align="edge", facecolor=to_rgba(color, 0.3),
                    edgecolor=color,
                    linewidth=0.8,  # in an hour of video, a short segment is thinner than a pixel
                )  # fmt: skip
        axes.axhline(y, color="0.85", linewidth=0.8, zorder=0)
        ticks.append((y + 0.44 * SEGMENT_ROW, label))
        if timeline.truth is not None:
            y -= TRUTH_ROW
            for bar in timeline.truth:
                if bar.label == label:
                    axes.barh(
                        y + 0.45 * TRUTH_ROW, bar.end_s - bar.start_s, 0.5 * TRUTH_ROW, bar.start_s,
                        facecolor="none", edgecolor=color, hatch="////", linewidth=1,
                    )  # fmt: skip
            ticks.append((y + 0.45 * TRUTH_ROW, "truth"))
    axes.set_yticks([at for at, _ in ticks], [text for _, text in ticks])
    for tick, (_, text) in zip(axes.get_yticklabels(), ticks, strict=True):
        tick.set_color("0.5" if text == "truth" else colors.get(text, "black"))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(min(y, -SEGMENT_ROW), 0)
    if timeline.segments:
        axes.text(
            1, 1, "height: score", transform=axes.transAxes, ha="right", va="bottom", color="0.5",
            fontsize="small",
        )  # fmt: skip
    if not ticks:
        axes.text(0.5, 0.5, "no segments", transform=axes.transAxes, ha="center", color="0.5")


def _tick_step(duration_s: float) -> float:
    """Return the distance between time marks, a round one, for at most 12 marks."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600)
    return next((step for step in steps if duration_s <= 12 * step), duration_s / 12)


def _clock(seconds: float, _: int) -> str:
    """Return 75 as 1:15, and 3675 as 1:01:15."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
