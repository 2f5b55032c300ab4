"""Ragged videos joined end to end into one long video, inside the graph."""

from co2net_export.cpu.graph_writer import GraphWriter, Value, ints, scalar


class PackedRows:
    """The snippets of a padded batch as the rows of one matrix, without the padding.

    Each video is followed by one empty row (a gap), so that a k=3 layer sees zeros at both of its
    ends; the total is filled up with gaps to a multiple of `tile`. Snippet r of this sequence is
    row (r % tile) * tiles + r // tile: all first snippets of the tiles, then all second ones, and
    so on, so that a linear map over the snippets of all tiles is one matrix product.

    count: scalar name, number of rows. tiles: scalar name, count / tile. video: (count,) name,
    index of each row's video.
    """

    def __init__(self, write: GraphWriter, features: str, lengths: str, tile: int) -> None:
        """Write the bookkeeping. features (B, T, D), lengths (B,) int64, by name."""
        self._write = write
        self._tile = tile
        self._batch = write("Size", lengths)
        self._time = write("Squeeze", write("Shape", features, start=1, end=2))
        self.lengths = write("Max", write("Min", lengths, self._time), scalar(0))
        video, time = self._sequence()
        self.count = write("Size", video)
        self.tiles = write("Div", self.count, scalar(tile))
        self.video, self._snippet = self._tiled(video), self._tiled(time)
        self._valid = write("Less", self._snippet, write("Gather", self.lengths, self.video))
        gaps = write("NonZero", write("Not", self._valid))
        self._gaps = write("Transpose", gaps, perm=[1, 0])

    def take(self, features: str, width: int) -> str:
        """Return the rows (count, D) of features (B, T, D); gaps are 0, whatever padding holds."""
        write = self._write
        # a gap takes its video's first snippet, to be overwritten
        snippet = write("Where", self._valid, self._snippet, scalar(0))
        source = write("Add", write("Mul", self.video, self._time), snippet)
        flat = write("Reshape", features, ints(-1, width))
        return self.empty_gaps(write("Gather", flat, source), width)

    def empty_gaps(self, rows: str, width: int) -> str:
        """Return rows (count, width) with 0 in the gaps; runs in place where the engine can."""
        write = self._write
        shape = write("Concat", write("Shape", self._gaps, start=0, end=1), ints(width), axis=0)
        return write("ScatterND", rows, self._gaps, write("Expand", scalar(0.0), shape))

    def windows(self, reach: int) -> str:
        """Return the row numbers of each tile and of `reach` snippets on either side of it.

        Flattened from (tile + 2 * reach, tiles). At either end they wrap around: the last row is
        a gap, which serves as the zero before the first row; the last row's own result is unused.
        """
        write = self._write
        first = write("Mul", write("Range", scalar(0), self.tiles, scalar(1)), scalar(self._tile))
        offsets = ints(*range(-reach, self._tile + reach)).reshape(-1, 1)
        sequence = write("Mod", write("Add", first, offsets), self.count)
        return write("Reshape", self._row(sequence), ints(-1))

    def averages(self) -> str:
        """Return weights (B, count) whose product with rows is their mean over each video."""
        write = self._write
        videos = write("Unsqueeze", write("Range", scalar(0), self._batch, scalar(1)), ints(1))
        own = write("Cast", write("Equal", videos, self.video), to=1)
        lengths = write("Cast", write("Max", self.lengths, scalar(1)), to=1)
        return write("Div", own, write("Unsqueeze", lengths, ints(1)))

    def put_back(self, rows: str) -> tuple[str, str]:
        """Return rows (count, width) as (B, T, width), 0 in the padding; and the mask (B, T, 1)."""
        write = self._write
        first = write("CumSum", write("Add", self.lengths, scalar(1)), scalar(0), exclusive=1)
        time = write("Range", scalar(0), self._time, scalar(1))
        inside = write("Less", time, write("Unsqueeze", self.lengths, ints(1)))
        sequence = write("Add", time, write("Unsqueeze", first, ints(1)))
        row = self._row(write("Where", inside, sequence, scalar(0)))
        mask = write("Unsqueeze", inside, ints(2))
        return write("Where", mask, write("Gather", rows, row), scalar(0.0)), mask

    def _sequence(self) -> tuple[str, str]:
        """Return video and time of snippets and gaps in order, filled to a multiple of `tile`."""
        write = self._write
        time = write("Range", scalar(0), write("Add", self._time, scalar(1)), scalar(1))
        present = write("LessOrEqual", time, write("Unsqueeze", self.lengths, ints(1)))
        where = write("NonZero", present)
        video, snippet = write.several("Split", where, count=2, axis=0, num_outputs=2)
        video, snippet = (write("Squeeze", part, ints(0)) for part in (video, snippet))
        missing = write("Mod", write("Neg", write("Shape", video)), ints(self._tile))
        pads = write("Concat", ints(0), missing, axis=0)
        beyond = scalar(2**62)
        return write("Pad", video, pads), write("Pad", snippet, pads, beyond)

    def _tiled(self, values: str) -> str:
        """Return values (count,) of the sequence in the order of the rows."""
        write = self._write
        tiles = write("Transpose", write("Reshape", values, ints(-1, self._tile)), perm=[1, 0])
        return write("Reshape", tiles, ints(-1))

    def _row(self, sequence: Value) -> str:
        """Return the row numbers of snippets of the sequence."""
        write = self._write
        within = write("Mod", sequence, scalar(self._tile))
        tile = write("Div", sequence, scalar(self._tile))
        return write("Add", write("Mul", within, self.tiles), tile)
