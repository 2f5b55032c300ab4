"""The command line's way to name lengths of videos."""

import click


class Lengths(click.ParamType[tuple[int, ...]]):
    """Comma-separated lengths in snippets: '50,250' -> (50, 250), ascending, each once."""

    name = "lengths"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Read the text; fail with a usage error."""
        if isinstance(value, tuple):
            return value
        try:
            lengths = tuple(sorted({int(part) for part in str(value).split(",")}))
        except ValueError:
            self.fail(f"{value!r}: expected lengths in snippets, as in 50,250", param, ctx)
        if lengths[0] < 1:
            self.fail(f"{lengths[0]}: a length is at least 1 snippet", param, ctx)
        return lengths
