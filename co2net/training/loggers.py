"""Where a run's scalars are shown: TensorBoard's event files, Weights & Biases, MLflow."""

import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any, ClassVar, Protocol

from co2net.training.run_folder import RunFolder
from co2net_runtime.errors import InputError, MissingDependencyError
from co2net_runtime.files.atomic import write_text
from co2net_runtime.files.text import read_json

PROJECT = "co2net"  # the project in W&B, the experiment in MLflow, unless the environment names one


class Logger(Protocol):
    """Records scalars of a run."""

    place: str | None  # where the user finds them, None if that goes without saying

    def scalars(self, values: Mapping[str, float], iteration: int) -> None:
        """Record values by name, as in "train/total"."""

    def close(self, *, failed: bool) -> None:
        """Write what is left; `failed` if the training ends with an error."""


def require_packages(names: Sequence[str]) -> None:
    """Raise MissingDependencyError where a logger's package is not installed."""
    for name in names:
        if find_spec(name) is None:
            extra = "train" if name == "tensorboard" else name
            raise MissingDependencyError(name, extra, f"--log-to {name}")


def open_loggers(
    names: Sequence[str], run: RunFolder, first: int, settings: Mapping[str, Any]
) -> list[Logger]:
    """Open the loggers of these names.

    Args:
        names: Keys of LOGGERS.
        run: An open run folder. A resumed run goes on under the names it had.
        first: The first iteration that will be recorded.
        settings: Of the run, by key.

    Returns:
        The loggers, in the order of the names.

    Raises:
        MissingDependencyError: A logger's package is not installed.
        InputError: A logger cannot start, for want of a login or a server, say.
    """
    require_packages(names)
    with ExitStack() as opened:
        loggers: list[Logger] = []
        for name in names:
            logger = LOGGERS[name](run, first, settings)
            opened.callback(logger.close, failed=True)
            loggers.append(logger)
        opened.pop_all()
    return loggers


class TensorBoardLogger:
    """Event files in RUN/tensorboard; those of a killed run from `first` on are hidden."""

    place: str | None = None

    def __init__(self, run: RunFolder, first: int, _settings: Mapping[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = run.tensorboard
        self._events: Any = SummaryWriter(str(run.tensorboard), purge_step=first)

    def scalars(self, values: Mapping[str, float], iteration: int) -> None:
        """Record values by name."""
        with self._explained():
            for name, value in values.items():
                self._events.add_scalar(name, value, iteration)

    def close(self, *, failed: bool) -> None:
        """Write what is left."""
        try:
            with self._explained():
                self._events.close()
        except InputError:
            if not failed:  # else the same full disk has been reported
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f"{self._folder}: cannot write it: {error.strerror or error}"
            raise InputError(message) from error


class WandbLogger:
    """A run at Weights & Biases or, with WANDB_MODE=offline, in RUN/wandb."""

    def __init__(self, run: RunFolder, _first: int, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._errors: tuple[type[Exception], ...] = (wandb.errors.Error, OSError)
        # the scalars and settings alone: no source, no git patch, no terminal output
        quiet = wandb.Settings(console="off", disable_git=True, save_code=False, silent=True)
        advice = "WANDB_MODE=offline needs no login"
        with _explained("wandb", self._errors, advice):
            self._run: Any = wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=os.environ.get("WANDB_NAME", run.path.name),
                id=_kept_id(run, "wandb", lambda: secrets.token_hex(4)),
                resume="allow",
                dir=str(run.path),
                config=dict(settings),
                settings=quiet,
            )
            self._run.define_metric("*", step_metric="iteration")
        sync = f"{run.wandb}: send it with `wandb sync`"
        self.place: str | None = sync if self._run.offline else self._run.url

    def scalars(self, values: Mapping[str, float], iteration: int) -> None:
        """Record values by name."""
        with _explained("wandb", self._errors):
            self._run.log({**values, "iteration": iteration})

    def close(self, *, failed: bool) -> None:
        """Send what is left."""
        with _explained("wandb", self._errors):
            self._run.finish(exit_code=int(failed))


class MlflowLogger:
    """A run at $MLFLOW_TRACKING_URI, else in the folder RUN/mlruns."""

    _END: ClassVar = {False: "FINISHED", True: "FAILED"}

    def __init__(self, run: RunFolder, _first: int, settings: Mapping[str, Any]) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            uri = run.mlruns.resolve().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # it asks for a database
        import mlflow

        self._metric = mlflow.entities.Metric
        self._errors: tuple[type[Exception], ...] = (mlflow.MlflowException, OSError)
        with _explained("mlflow", self._errors, "check MLFLOW_TRACKING_URI"):
            self._client: Any = mlflow.MlflowClient(tracking_uri=uri)
            self._id = _kept_id(run, "mlflow", lambda: self._create(run, settings))
            self._client.update_run(self._id, status="RUNNING")
        self.place: str | None = f"{uri}, run {self._id}"

    def scalars(self, values: Mapping[str, float], iteration: int) -> None:
        """Record values by name."""
        now_ms = int(time.time() * 1000)
        metrics = [self._metric(key, value, now_ms, iteration) for key, value in values.items()]
        with _explained("mlflow", self._errors):
            self._client.log_batch(self._id, metrics)

    def close(self, *, failed: bool) -> None:
        """Say how the run ended."""
        with _explained("mlflow", self._errors):
            self._client.set_terminated(self._id, self._END[failed])

    def _create(self, run: RunFolder, settings: Mapping[str, Any]) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        created: str = self._client.create_run(number, run_name=run.path.name).info.run_id
        for key, value in settings.items():
            self._client.log_param(created, key, value)
        return created


LOGGERS: Mapping[str, Any] = {
    "tensorboard": TensorBoardLogger,
    "wandb": WandbLogger,
    "mlflow": MlflowLogger,
}


def _kept_id(run: RunFolder, logger: str, new: Any) -> str:
    """Return the run's id at a logger: the one that the run folder keeps, else a new one."""
    ids = read_json(run.loggers, "ids of loggers") if run.loggers.is_file() else {}
    if not isinstance(ids, dict):
        raise InputError(f"{run.loggers}: expected a JSON object of ids by logger: remove it")
    if logger not in ids:
        ids[logger] = new()
        write_text(run.loggers, json.dumps(ids) + "\n")
    found: str = ids[logger]
    return found


@contextmanager
def _explained(
    logger: str, errors: tuple[type[Exception], ...], advice: str = "--resume goes on"
) -> Iterator[None]:
    try:
        yield
    except errors as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{logger}: {reason} ({advice}; or leave out --log-to {logger})"
        ) from error
