"""TrainConfig <-> YAML files and key=value settings; keys of groups are written group.key."""

import os
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from typing import Any

from co2net.config import TrainConfig
from co2net.field_comments import field_comments
from co2net.yaml_reader import import_yaml, parse_yaml, read_yaml
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import from_mapping, nearest, to_mapping

LINE_WIDTH = 100

# settings of earlier versions, each with the only value that is still trained; None: any value
RETIRED: Mapping[str, Any] = {
    "loss.strategy": "co2",
    "loss.evidential_weight": None,
    "loss.evidence_topk_divisor": None,
    "loss.guide_amplitude": None,
}

# what users of other programs call a setting -> ours
ALIASES: Mapping[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "base_lr": ("learning_rate",),
    "wd": ("weight_decay",),
    "optim": ("optimizer",),
    "epochs": ("iterations",),
    "num_epochs": ("iterations",),
    "max_epochs": ("iterations",),
    "steps": ("iterations",),
    "max_iter": ("iterations",),
    "max_steps": ("iterations",),
    "batch": ("pairs", "singles"),
    "batch_size": ("pairs", "singles"),
    "num_similar": ("pairs",),
    "similar_size": ("pairs",),
    "max_seqlen": ("max_snippets",),
    "seq_len": ("max_snippets",),
    "length": ("max_snippets", "min_snippets"),
    "scheduler": ("schedule",),
    "lr_schedule": ("schedule",),
    "warmup_steps": ("warmup",),
    "warmup_epochs": ("warmup",),
    "ema": ("ema_decay",),
    "grad_clip": ("clip_norm",),
    "clip_grad": ("clip_norm",),
    "clip_grad_norm": ("clip_norm",),
    "max_norm": ("clip_norm",),
    "gradient_clip_val": ("clip_norm",),
    "amp": ("precision",),
    "fp16": ("precision",),
    "dtype": ("precision",),
    "eval_every": ("evaluate_every",),
    "eval_interval": ("evaluate_every",),
    "interval": ("evaluate_every", "checkpoint_every"),
    "save_every": ("checkpoint_every",),
    "early_stopping": ("patience",),
    "val_fraction": ("holdout_fraction",),
    "width": ("model.embed_dim", "model.attention_dim"),
    "hidden": ("model.embed_dim", "model.attention_dim"),
    "hidden_dim": ("model.embed_dim", "model.attention_dim"),
    "feature_size": ("model.embed_dim",),
    "dropout_ratio": ("model.dropout",),
    "drop": ("model.dropout", "model.stream_dropout"),
    "kernel": ("model.pool_kernel",),
    "k": ("loss.topk_divisor",),
    "topk": ("loss.topk_divisor",),
    "alpha1": ("loss.norm_weight",),
    "alpha2": ("loss.guide_weight",),
    "alpha3": ("loss.contrastive_weight",),
    "alpha4": ("loss.mutual_weight",),
    "tiou": ("evaluation.tious",),
    "iou": ("evaluation.tious",),
    "sigma": ("decode.nms_sigma",),
    "threshold": ("decode.class_threshold", "decode.threshold_min", "decode.threshold_max"),
}

# what is no setting, because the dataset says it
FROM_DATA: Mapping[str, str] = {
    "classes": "--classes FILE",
    "num_classes": "--classes FILE",
    "rgb_dim": "--rgb-dim N",
    "flow_dim": "--rgb-dim N",
    "feature_dim": "--rgb-dim N",
    "fps": "--fps N",
    "stride": "--stride FRAMES",
    "snippet_frames": "--stride FRAMES",
    "train_subset": "--train-subset NAME",
    "test_subset": "--test-subset NAME",
}


def read_config(path: str | os.PathLike[str], base: TrainConfig) -> TrainConfig:
    """Return `base` with the keys that a YAML file sets.

    Args:
        path: A file as `dump_config` writes it; it may leave keys out.
        base: The values of the keys that the file leaves out.

    Returns:
        The merged config.

    Raises:
        InputError: The file cannot be read or is not a YAML mapping, a key is unknown, or a
            value does not fit.
        MissingDependencyError: PyYAML is not installed.
    """
    content = read_yaml(os.fspath(path))
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: expected a YAML mapping of keys to values")
    return _override(base, dict(_flatten(content)), str(path))


def apply_settings(settings: Sequence[str], base: TrainConfig) -> TrainConfig:
    """Return `base` with settings of the form "key=value", the value as in YAML.

    Raises:
        InputError: A setting has another form, its key is unknown, or its value does not fit.

    Example:
        >>> apply_settings(["seed=7", "loss.topk_divisor=5"], TrainConfig())
    """
    values = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--set {setting}: expected key=value")
        values[key.strip()] = parse_yaml(value, f"--set {key}")
    return _override(base, values, "--set")


def dump_config(config: TrainConfig) -> str:
    """Return the config as YAML that `read_config` reads, each key with its comment."""
    return "\n".join(_lines(config, "")) + "\n"


def config_from_mapping(mapping: Mapping[str, Any], where: str) -> TrainConfig:
    """Return the config that a checkpoint stores, also one of an earlier version.

    Raises InputError as `read_config` does.
    """
    return _override(TrainConfig(), dict(_flatten(mapping)), where)


def flat_settings(config: TrainConfig) -> dict[str, Any]:
    """Return the values by key; keys of groups are written group.key."""
    return dict(_flatten(to_mapping(config)))


def differences(first: TrainConfig, second: TrainConfig) -> dict[str, tuple[Any, Any]]:
    """Return the keys in which two configs differ, each with both values."""
    ours, theirs = flat_settings(first), flat_settings(second)
    return {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}


def _override(base: TrainConfig, values: Mapping[str, Any], where: str) -> TrainConfig:
    known = dict(_flatten(asdict(base)))
    groups = {field.name for field in fields(base) if is_dataclass(getattr(base, field.name))}
    merged = to_mapping(base)
    for key, value in values.items():
        if key in RETIRED:
            _check_retired(key, value, where)
            continue
        if key in groups:
            raise InputError(f"{where}: {key} is a group: set one of its keys, {key}.name")
        if key not in known:
            raise InputError(f"{where}: unknown key {_shortened(key)!r}{_suggestion(key, known)}")
        *group, name = key.split(".")
        (merged[group[0]] if group else merged)[name] = value
    return from_mapping(TrainConfig, merged, where)


def _check_retired(key: str, value: Any, where: str) -> None:
    needed = RETIRED[key]
    if needed is not None and value != needed:
        raise InputError(
            f"{where}: {key}={value} no longer exists, only {needed} does: remove the key and "
            "train again, or use co2net of that version"
        )


def _suggestion(key: str, known: Mapping[str, Any]) -> str:
    """Return which settings were probably meant, by meaning first and by spelling second."""
    name = key.rpartition(".")[2].casefold().replace("-", "_")
    if name in FROM_DATA and key not in known:
        return f" (the dataset decides it: see {FROM_DATA[name]})"
    meant = list(ALIASES.get(name, ())) or [each for each in known if each.endswith(f".{name}")]
    if meant:
        return f" (did you mean {' or '.join(map(repr, meant))}?)"
    return nearest(_shortened(key), known)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}..."


def _flatten(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _lines(record: Any, indent: str) -> Iterator[str]:
    comments = field_comments(type(record))
    for each in fields(record):
        value = getattr(record, each.name)
        is_group = is_dataclass(value)
        line = f"{indent}{each.name}:" + ("" if is_group else f" {_yaml_value(value)}")
        comment = comments.get(each.name, "")
        if comment and len(line) + len(comment) + 4 > LINE_WIDTH:
            yield from textwrap.wrap(comment, LINE_WIDTH, initial_indent=f"{indent}# ",
                                     subsequent_indent=f"{indent}# ")  # fmt: skip
            yield line
        else:
            yield f"{line}  # {comment}" if comment else line
        if is_group:
            yield from _lines(value, indent + "  ")


def _yaml_value(value: Any) -> str:
    plain = list(value) if isinstance(value, tuple) else value
    text: str = import_yaml().safe_dump(plain, default_flow_style=True, width=10**6)
    return text.removesuffix("...\n").rstrip("\n")
