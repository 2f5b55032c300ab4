"""co2net-infer --shard: one part of an archive, for job arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from co2net_runtime.cli import console
from co2net_runtime.errors import InputError
from co2net_runtime.features import FeatureFile
from co2net_runtime.files.atomic import output_folder, sweep_temporaries
from co2net_runtime.files.text import number_of
from co2net_runtime.localizer import Localizer
from co2net_runtime.output.formats import Format
from co2net_runtime.output.sinks import STDOUT, Sink, is_folder
from co2net_runtime.shards.folder import claim, job_identity, read_failures, shard_path
from co2net_runtime.shards.plan import Shard, names_sha256
from co2net_runtime.shards.sink import ShardSink

# alike on every machine, where "all cores" is not: scores depend on them in their last bits
THREADS = 1


@dataclass(frozen=True)
class ShardJob:
    """The part of co2net-infer's work that --shard chooses."""

    shard: Shard
    folder: Path
    videos: int  # of all shards
    names_sha256: str  # of all videos
    names: Sequence[str]  # of this shard's videos

    @staticmethod
    def open(
        text: str, outs: Sequence[str], form: str | None, files: Sequence[FeatureFile]
    ) -> "ShardJob":
        """Choose the files of a shard.

        Raises InputError or click.UsageError for options that do not go with --shard.
        """
        shard = Shard.parse(text)
        if len(outs) != 1 or outs[0] == STDOUT or not is_folder(outs[0]) or form is not None:
            raise click.UsageError("--shard writes JSON lines into a folder: give --out FOLDER")
        names = [file.video for file in files]
        folder = output_folder(outs[0])
        return ShardJob(shard, folder, len(files), names_sha256(names), shard.of(names))

    @property
    def path(self) -> Path:
        """The shard's file."""
        return shard_path(self.folder, self.shard.index)

    def select(self, files: Sequence[FeatureFile]) -> list[FeatureFile]:
        """Return this shard's among all files."""
        by_name = {file.video: file for file in files}
        return [by_name[name] for name in self.names]

    def check_out(self, *, replace: bool) -> None:
        """Raise InputError if the shard is there and may be neither replaced nor continued."""
        if not replace and self.path.exists():
            raise InputError(
                f"{self.path}: exists already: choose another --out, or pass --overwrite or "
                "--skip-existing"
            )

    def claim(self, made_by: Mapping[str, Any], localizer: Localizer, batch: int | None) -> None:
        """Claim the folder for this job. Raises InputError if it is another's."""
        claim(
            self.folder,
            job_identity(
                made_by,
                localizer.network.batch_size(batch),
                videos=self.videos,
                names_sha256=self.names_sha256,
                shards=self.shard.count,
            ),
        )

    def sink(self, lines: Format, *, resume: bool) -> Sink:
        """Return where this shard's results go. Raises InputError if another process has it."""
        sweep_temporaries(self.folder, self.path.name)
        return ShardSink(self.path, lines, len(self.names), resume=resume)

    def report_done(self, *, quiet: bool) -> None:
        """Say that an earlier run did the shard; ends with exit code 1 if files of it failed."""
        failed = list(read_failures(self.path))
        for _, error in failed:
            console.report_error("co2net-infer", error)
        console.note(
            f"{self.path}: already there, {number_of(len(self.names), 'video')}", quiet=quiet
        )
        if failed:
            console.note(f"{len(failed)} of {len(self.names)} files failed")
            click.get_current_context().exit(console.EXIT_SOME_FAILED)
