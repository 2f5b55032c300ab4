"""Shards on Ray Data: one row is one shard, and what comes back is a row of counts."""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from co2net_runtime.archive.worker import ShardWorker, WorkerOptions
from co2net_runtime.errors import BackendError, InputError, MissingDependencyError


@dataclass(frozen=True)
class Cluster:
    """Where the actors run."""

    address: str | None  # of a Ray cluster; None: this machine alone
    actors: int | None  # None: as many as the CPUs are enough for
    threads: int  # of an actor
    gpu: bool  # an actor takes a GPU


def run_shards(
    cluster: Cluster, options: WorkerOptions, shards: Mapping[int, Mapping[str, str]]
) -> Iterator[dict[str, Any]]:
    """Compute shards; yield the counts of each that is done.

    A shard that fails for another reason than its videos is left out: look which files are there.

    Raises:
        MissingDependencyError: Ray is not installed.
        BackendError: Ray cannot start, or no actor can.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingDependencyError("Ray", "ray", "co2net-archive") from error
    try:
        _start(ray, cluster.address)
        found = ray.cluster_resources()
        cpus, gpus = int(found.get("CPU", 1)), int(found.get("GPU", 0))
        actors, actor_cpus, options = shared_out(cluster, options, cpus, gpus)
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # the others are done; which are missing is seen
        rows = [{"shard": index, "videos": json.dumps(shards[index])} for index in sorted(shards)]
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            ShardWorker,
            fn_constructor_args=(options,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(rows))),
            num_cpus=actor_cpus,
            num_gpus=1 if cluster.gpu else None,
        )
        yield from done.iter_rows()
    except (ray.exceptions.RayError, ConnectionError, RuntimeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise BackendError(f"Ray: {lines[-1]}") from error
    finally:
        ray.shutdown()


def shared_out(
    cluster: Cluster, options: WorkerOptions, cpus: int, gpus: int
) -> tuple[int, int, WorkerOptions]:
    """Return the number of actors, the CPUs that each holds, and their options.

    Raises InputError for actors that would leave no CPU to the tasks that decode videos.
    """
    threads = cluster.threads
    if options.backbones is None:
        default = gpus if cluster.gpu else cpus // threads
        return cluster.actors or max(1, default), threads, options
    # a single CPU is shared; else half is for the backbones, unless GPUs do their work
    held = 0 if cluster.gpu or cpus <= threads else threads
    actors = cluster.actors or max(1, gpus if cluster.gpu else cpus // (2 * threads))
    left = cpus - actors * held
    if left < 1:
        raise InputError(
            f"{actors} actors of {threads} threads leave none of the {cpus} CPUs to decode videos: "
            "give fewer --actors"
        )
    backbones = replace(options.backbones, tasks=max(1, left // actors))
    return actors, held, replace(options, backbones=backbones)


def _start(ray: Any, address: str | None) -> None:
    try:
        with _without_stderr():
            ray.init(
                address=address or "local",
                log_to_driver=False,
                include_dashboard=None if address else False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # of many classes, Exception itself among them
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BackendError(f"Ray at {address or 'this machine'}: {reason}") from error


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Let stderr go nowhere: Ray says there that it takes its log level from the environment."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
