"""One actor: opens the model once, takes one shard after another, publishes its file whole."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from co2net_runtime.archive.inputs import fetch
from co2net_runtime.backends import EngineOptions
from co2net_runtime.errors import BackendError, Co2netError
from co2net_runtime.features import FeatureFile
from co2net_runtime.localizer import Localizer
from co2net_runtime.network.pipeline import Outcome, run_files
from co2net_runtime.output.formats import Records
from co2net_runtime.shards.folder import shard_path, write_shard

if TYPE_CHECKING:
    from co2net_runtime.archive.videos import Backbones


@dataclass(frozen=True)
class WorkerOptions:
    """The orders of an actor; no arrays, so that it can be started again at any time."""

    model: str
    engine: EngineOptions
    folder: str
    run: str  # of this process of co2net-archive; the traces of another run count for nothing
    provider: str  # the engine's that the results must come from
    batch: int | None
    backbones: "Backbones | None"  # None: the files hold features
    top_k: int | None
    min_score: float | None


class ShardWorker:
    """Computes shards. A video on which the process dies is found by trying again, one by one.

    FOLDER/.shard-N.attempt tells the next attempt that this one died, and, once videos run one by
    one, on which of them: that one then counts as failed, and the others are done.
    """

    def __init__(self, options: WorkerOptions) -> None:
        """Open the model. Raises BackendError if another engine answers than on the driver."""
        self._options, self._folder = options, Path(options.folder)
        self._localizer = Localizer.load(options.model, options.engine)
        provider = self._localizer.engine.provider
        if provider != options.provider:
            raise BackendError(
                f"{provider} runs here, expected {options.provider} as on the driver"
            )
        self._extractor = None
        if options.backbones is not None:
            from co2net_runtime.archive.videos import ClusterExtractor

            self._extractor = ClusterExtractor(options.backbones, options.engine)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Compute one shard: batch["shard"] (1,), batch["videos"] (1,) of JSON, name -> place."""
        index = int(batch["shard"][0])
        videos: dict[str, str] = json.loads(str(batch["videos"][0]))
        attempt = self._folder / f".{shard_path(self._folder, index).stem}.attempt"
        earlier = self._read(attempt)
        # Ray tries again forever: right for a lost node, not for what no video is to blame for
        if earlier.get("attempts", 0) > len(videos) + 2:
            raise BackendError(f"shard {index}: the process dies outside of its videos")
        results: dict[str, Records] = {}
        failures = {
            video: f"{videos[video]}: the process died on it, twice: look at its memory"
            for video in earlier.get("died", [])
        }
        snippets = 0
        left = {video: place for video, place in videos.items() if video not in failures}
        for outcome in self._outcomes(left, attempt, earlier, failures):
            if outcome.activations is None:
                continue
            found = self._localizer.detect(outcome.activations)
            found = found.best(self._options.min_score, self._options.top_k)
            results[outcome.file.video] = found.to_records()
            snippets += len(outcome.activations.attention)
        write_shard(shard_path(self._folder, index), results.items(), failures)
        attempt.unlink(missing_ok=True)
        seconds = snippets * self._localizer.contract.timing.snippet_s
        counts = {"done": len(results), "failed": len(failures), "video_s": seconds}
        counts["records"] = sum(map(len, results.values()))
        return {"shard": np.array([index]), **{key: np.array([n]) for key, n in counts.items()}}

    def _outcomes(
        self,
        videos: Mapping[str, str],
        attempt: Path,
        earlier: Mapping[str, Any],
        failures: dict[str, str],
    ) -> Iterator[Outcome]:
        """Yield the network's results; errors go into `failures`, by the file's place."""
        with tempfile.TemporaryDirectory(prefix="co2net-archive-") as temporary:
            for names in [[video] for video in videos] if earlier else [list(videos)]:
                died = [*earlier.get("died", []), *(names if earlier else [])]
                trace = {
                    "run": self._options.run,
                    "attempts": earlier.get("attempts", 0) + 1,
                    "died": died,
                }
                attempt.write_text(json.dumps(trace))
                chosen = {name: videos[name] for name in names}
                files = self._files(chosen, Path(temporary), failures)
                for outcome in run_files(self._localizer.network, files, size=self._options.batch):
                    if outcome.error is not None:
                        video = outcome.file.video
                        text = str(outcome.error)
                        failures[video] = text.replace(str(outcome.file.path), videos[video])
                    yield outcome

    def _files(
        self, videos: Mapping[str, str], folder: Path, failures: dict[str, str]
    ) -> Iterable[FeatureFile]:
        if self._extractor is not None:
            return self._extractor.files(videos)
        files = []
        for name, place in videos.items():
            try:
                files.append(fetch(name, place, folder))
            except Co2netError as error:
                failures[name] = str(error)
        return files

    def _read(self, attempt: Path) -> dict[str, Any]:
        """Return the results that an earlier attempt of this run left; {} if there was none."""
        try:
            found = json.loads(attempt.read_text())
        except (OSError, ValueError):
            return {}
        return found if found.get("run") == self._options.run else {}
