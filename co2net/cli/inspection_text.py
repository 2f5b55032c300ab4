"""A dataset's report as text."""

import json
from collections.abc import Sequence

from co2net.aligned import aligned
from co2net.data.inspection import Report
from co2net_runtime.files.text import number_of


def to_text(report: Report) -> str:
    """Return the report for a person to read, without a final newline."""
    offset = f", the first at frame {report.offset_frames}" if report.offset_frames else ""
    lines = [
        report.path,
        f"  {number_of(sum(subset.videos for subset in report.subsets), 'video')}, "
        f"{number_of(len(report.classes), 'class')}, a snippet every {report.snippet_frames} "
        f"frames at {report.fps:g} fps{offset}",
        "",
        *_table(
            ["subset", "use", "videos", "features", "instances", "snippets", "min", "median",
             "max", "hours"],
            [
                [s.name, s.role or "-", s.videos, s.with_features, s.instances, s.snippets,
                 s.snippets_min, f"{s.snippets_median:g}", s.snippets_max, f"{s.hours:.2f}"]
                for s in report.subsets
            ],
            text_columns=2,
        ),
        "",
        *_table(
            ["class", "train videos", "train instances", "test videos", "test instances"],
            [
                [c.name, c.train_videos, c.train_instances, c.test_videos, c.test_instances]
                for c in report.classes
            ],
            text_columns=1,
        ),
    ]  # fmt: skip
    if report.streams:
        dtypes = ", ".join(f"{count} {dtype}" for dtype, count in report.dtypes.items())
        lines += [
            "",
            f"features: {dtypes}; values of {report.values_read} videos:",
            *_table(
                ["stream", "channels", "min", "mean", "max", "zero"],
                [
                    [s.name, s.channels, f"{s.minimum:.3g}", f"{s.mean:.3g}", f"{s.maximum:.3g}",
                     f"{s.zero_share:.1%}"]
                    for s in report.streams
                ],
                text_columns=1,
            ),
        ]  # fmt: skip
    if report.extraction is not None:
        lines += ["", "extracted by:", f"  {json.dumps(report.extraction)}"]
    for title, found in (("warnings", report.warnings), ("problems", report.problems)):
        if found:
            lines += ["", f"{title}:", *(f"  {line}" for line in found)]
    return "\n".join(lines)


def _table(
    header: Sequence[str], rows: Sequence[Sequence[object]], *, text_columns: int
) -> list[str]:
    cells = [list(header), *([str(value) for value in row] for row in rows)]
    return [f"  {line}" for line in aligned(cells, left=text_columns)]
