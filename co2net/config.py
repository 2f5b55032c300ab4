"""Frozen configurations of the network, the loss and a training run; the presets are values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from co2net.evaluation.mean_ap import ACTIVITYNET_TIOUS, EvaluationOptions
from co2net_runtime.options import LONGEST_VIDEO, DecodeOptions

Precision = Literal["float32", "bfloat16", "float16"]
Select = Literal["last", "best-on-holdout", "best-on-test"]
Optimizer = Literal["adam", "adamw"]
Schedule = Literal["constant", "cosine"]


# more is a slip of the finger: of iterations and the like, of channels, of videos in a batch, of
# snippets in one of its videos
MOST_COUNTED = 1_000_000_000
WIDEST = 65_536
LARGEST_BATCH = 10_000


def _require_finite(options: Any) -> None:
    for each in fields(options):
        value = getattr(options, each.name)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{each.name} must be a finite number, got {value}")


def _require_at_least(
    options: Any, least: int, names: Sequence[str], most: int = MOST_COUNTED
) -> None:
    for name in names:
        value = getattr(options, name)
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
        if value > most:
            raise ValueError(f"{name} must be at most {most}")


@dataclass(frozen=True)
class NetworkOptions:
    """The part of the network's shape that is free to choose (method, section 1)."""

    attention_dim: int = 512  # hidden width of the attention heads
    embed_dim: int = 2048  # width of the fused features
    stream_dropout: float = 0.5  # dropout inside the consensus modules
    dropout: float = 0.7  # dropout around the fusion and before the classifier
    pool_kernel: int = 1  # temporal average pooling of the outputs: 1 is CO2, odd > 1 ANT_CO2

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_at_least(self, 1, ("attention_dim", "embed_dim"), WIDEST)
        for name in ("stream_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        _require_at_least(self, 1, ("pool_kernel",))
        if self.pool_kernel % 2 == 0:
            raise ValueError(f"pool_kernel must be odd and positive, got {self.pool_kernel}")

    def for_data(self, *, classes: int, rgb_dim: int, flow_dim: int) -> "ModelConfig":
        """Return the shape of the network for a dataset."""
        return ModelConfig(classes=classes, rgb_dim=rgb_dim, flow_dim=flow_dim, **asdict(self))


@dataclass(frozen=True)
class ModelConfig(NetworkOptions):
    """Shape of the network: the options and what the data decides."""

    classes: int = field(kw_only=True)  # action classes C, the background not counted
    rgb_dim: int = field(default=1024, kw_only=True)  # channels of the RGB stream
    flow_dim: int = field(default=1024, kw_only=True)  # channels of the optical flow stream

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_at_least(self, 1, ("classes", "rgb_dim", "flow_dim"), WIDEST)

    @property
    def feature_dim(self) -> int:
        """Width D of a feature row: RGB, then flow."""
        return self.rgb_dim + self.flow_dim


@dataclass(frozen=True)
class LossOptions:
    """Weights of the loss terms (method, section 2); the defaults are the published ones."""

    topk_divisor: int = 7  # a video's class score is the mean of its top max(1, T // this) snippets
    contrastive_weight: float = 1.0  # a3: two videos of a class attend to similar features
    mutual_weight: float = 1.0  # a4: the RGB and flow attentions agree
    norm_weight: float = 0.8  # a1: attention is sparse
    guide_weight: float = 0.8  # a2: attention is low where the class scores say background

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_at_least(self, 1, ("topk_divisor",))


@dataclass(frozen=True)
class TrainConfig:
    """Everything besides the data that decides a training run; the defaults are THUMOS14's."""

    iterations: int = 5000  # batches to train on
    seed: int = 3552  # of the weights, the batches and the dropout
    optimizer: Optimizer = "adam"  # adam (weight decay in the gradient) or adamw (decoupled)
    learning_rate: float = 5e-5  # the highest rate, reached after the warm-up
    weight_decay: float = 1e-3  # pull of the weights toward 0
    schedule: Schedule = "constant"  # constant, or cosine: down to 0 at the last iteration
    warmup: int = 0  # iterations of linear rise to the learning rate
    clip_norm: float | None = None  # scale gradients down to this norm; null never does
    ema_decay: float | None = None  # evaluate and save averaged weights (0.999, say); null: plain
    pairs: int = 3  # a batch begins with this many pairs of videos that share a class
    singles: int = 4  # and ends with this many random videos
    max_snippets: int = 500  # S: every video of a batch is resampled to this length
    min_snippets: int = 1  # shorter training videos are left out
    # autocast of the training step's matrix products; weights and evaluation stay float32
    precision: Precision = "float32"
    compile: bool = False  # torch.compile the network for training
    # which weights become best.ckpt. best-on-holdout: best classification mAP on held-out training
    # videos, by their labels alone; best-on-test: best detection mAP on the evaluated subset (the
    # published protocol, optimistic); last: no best.ckpt, train on every training video
    select: Select = "best-on-holdout"
    holdout_fraction: float = 0.1  # share of each class's training videos held out
    evaluate_every: int = 200  # iterations between evaluations; 0 evaluates only at the end
    evaluate_subset: str | None = None  # null is the dataset's test subset
    checkpoint_every: int = 200  # iterations between writes of last.ckpt
    patience: int | None = None  # stop after this many evaluations without a better one; null: no
    model: NetworkOptions = NetworkOptions()  # the network's shape
    loss: LossOptions = LossOptions()  # the loss terms
    decode: DecodeOptions = DecodeOptions()  # how network outputs become segments
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)  # what mAP measures

    def __post_init__(self) -> None:
        _require_finite(self)
        _require_at_least(self, 1, ("iterations", "min_snippets", "checkpoint_every"))
        _require_at_least(self, 1, ("max_snippets",), LONGEST_VIDEO)
        _require_at_least(self, 0, ("pairs", "singles"), LARGEST_BATCH)
        _require_at_least(self, 0, ("evaluate_every", "warmup", "weight_decay"))
        if self.pairs + self.singles == 0:
            raise ValueError("pairs and singles are both 0: a batch needs a video")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in [0, 2^32), got {self.seed}")
        for name in ("learning_rate", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be positive, got {value}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in (0, 1), got {self.ema_decay}")
        if self.warmup and self.warmup >= self.iterations:
            raise ValueError(
                f"warmup must be shorter than the training, got {self.warmup} of "
                f"{self.iterations} iterations"
            )
        if not 0 < self.holdout_fraction < 1:
            raise ValueError(f"holdout_fraction must lie in (0, 1), got {self.holdout_fraction}")
        if self.patience is not None:
            _require_at_least(self, 1, ("patience",))
            if self.select == "last":
                raise ValueError(
                    "patience waits for a better evaluation, and select=last compares none: "
                    "pass another select"
                )

    @property
    def batch_size(self) -> int:
        """Number of videos in a batch."""
        return 2 * self.pairs + self.singles


PRESETS: Mapping[str, TrainConfig] = {
    "thumos14": TrainConfig(),
    "activitynet1.2": TrainConfig(
        iterations=22000,
        learning_rate=3e-5,
        weight_decay=5e-4,
        max_snippets=60,
        min_snippets=11,
        model=NetworkOptions(pool_kernel=13),
        loss=LossOptions(topk_divisor=5),
        evaluation=EvaluationOptions("co2net", ACTIVITYNET_TIOUS),
    ),
    # about a minute on two cores with 64 + 64 channels
    "synthetic": TrainConfig(
        iterations=300,
        learning_rate=5e-4,
        max_snippets=100,
        evaluate_every=50,
        checkpoint_every=50,
        model=NetworkOptions(attention_dim=64, embed_dim=128, stream_dropout=0.3, dropout=0.5),
    ),
}
