"""Frozen configurations; TrainConfig's presets are values of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from co2net.evaluation.mean_ap import ACTIVITYNET_TIOUS, EvaluationOptions
from co2net_runtime.options import DecodeOptions

Precision = Literal["float32", "bfloat16", "float16"]
Select = Literal["last", "best-on-holdout", "best-on-test"]


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the network; the defaults are the published ones (method, section 1).

    classes: number C of action classes, background not counted.
    rgb_dim, flow_dim: channels of the two streams. attention_dim: hidden width of the attention
    heads. embed_dim: width of the fused features. stream_dropout: dropout inside the consensus
    modules. dropout: dropout around the fusion and before the classifier. pool_kernel: kernel of
    the temporal average pooling of ANT_CO2 (odd), 1 for CO2, which has none.
    """

    classes: int
    rgb_dim: int = 1024
    flow_dim: int = 1024
    attention_dim: int = 512
    embed_dim: int = 2048
    stream_dropout: float = 0.5
    dropout: float = 0.7
    pool_kernel: int = 1

    def __post_init__(self) -> None:
        for name in ("classes", "rgb_dim", "flow_dim", "attention_dim", "embed_dim"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("stream_dropout", "dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.pool_kernel < 1 or self.pool_kernel % 2 == 0:
            raise ValueError(f"pool_kernel must be odd and positive, got {self.pool_kernel}")

    @property
    def feature_dim(self) -> int:
        """Width D of a feature row: RGB then flow."""
        return self.rgb_dim + self.flow_dim


@dataclass(frozen=True)
class NetworkOptions:
    """The part of a ModelConfig that is a choice; the data decides the rest."""

    attention_dim: int = 512
    embed_dim: int = 2048
    stream_dropout: float = 0.5
    dropout: float = 0.7
    pool_kernel: int = 1

    def __post_init__(self) -> None:
        self.for_data(classes=1, rgb_dim=1, flow_dim=1)

    def for_data(self, *, classes: int, rgb_dim: int, flow_dim: int) -> ModelConfig:
        """Return the shape of the network for a dataset."""
        return ModelConfig(classes, rgb_dim, flow_dim, **asdict(self))


@dataclass(frozen=True)
class LossOptions:
    """Weights of the loss; the defaults are the published ones (method, section 2).

    strategy: `co2`, or `evidential` (module evidential), which adds to it.
    topk_divisor: a video's class score is the mean of the top max(1, T // topk_divisor) snippets.
    contrastive_weight, mutual_weight, norm_weight, guide_weight: a3, a4, a1 and a2.
    Only for `evidential`: evidential_weight of its video-level term; evidence_topk_divisor: a
    video's evidence is the mean over its max(1, T // divisor) snippets of highest attention;
    guide_amplitude: how far, below 1, the guide term's weights move with uncertainty.
    """

    strategy: Literal["co2", "evidential"] = "co2"
    topk_divisor: int = 7
    contrastive_weight: float = 1.0
    mutual_weight: float = 1.0
    norm_weight: float = 0.8
    guide_weight: float = 0.8
    evidential_weight: float = 1.0
    evidence_topk_divisor: int = 9
    guide_amplitude: float = 0.7

    def __post_init__(self) -> None:
        for name in ("topk_divisor", "evidence_topk_divisor"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.guide_amplitude < 1:
            raise ValueError(f"guide_amplitude must lie in [0, 1), got {self.guide_amplitude}")


@dataclass(frozen=True)
class TrainConfig:
    """All that decides the result of a training run besides the data; defaults: THUMOS14's.

    iterations, seed, learning_rate, weight_decay: of Adam over that many batches.
    pairs, singles: a batch is `pairs` pairs of videos of one class, then `singles` random videos.
    max_snippets: S, every video of a batch is resampled to it. min_snippets: shorter training
    videos are left out.
    precision: of the training step's matrix products (autocast); weights stay float32 and
    evaluation always runs in float32. compile: torch.compile the network for training.
    select: which weights become best.ckpt: the last; those with the best classification mAP on
    held-out training videos (their labels only), ties by loss (module selection); or those with
    the best average detection mAP on the evaluated subset, which is the published protocol and
    optimistic.
    holdout_fraction: of the training videos, per class, for best-on-holdout.
    evaluate_every, checkpoint_every: in iterations; evaluate_every 0 evaluates only the end.
    evaluate_subset: None is the dataset's test subset. evaluation: protocol and tIoU thresholds.
    patience: stop after so many evaluations in a row without a better one; None never stops.
    """

    iterations: int = 5000
    seed: int = 3552
    learning_rate: float = 5e-5
    weight_decay: float = 1e-3
    pairs: int = 3
    singles: int = 4
    max_snippets: int = 500
    min_snippets: int = 1
    precision: Precision = "float32"
    compile: bool = False
    select: Select = "best-on-holdout"
    holdout_fraction: float = 0.1
    evaluate_every: int = 200
    evaluate_subset: str | None = None
    checkpoint_every: int = 200
    patience: int | None = None
    model: NetworkOptions = NetworkOptions()
    loss: LossOptions = LossOptions()
    decode: DecodeOptions = DecodeOptions()
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)

    def __post_init__(self) -> None:
        for name in ("iterations", "max_snippets", "min_snippets", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("pairs", "singles", "evaluate_every", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.pairs + self.singles == 0:
            raise ValueError("pairs and singles are both 0: a batch needs a video")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in [0, 2^32), got {self.seed}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if not 0 < self.holdout_fraction < 1:
            raise ValueError(f"holdout_fraction must lie in (0, 1), got {self.holdout_fraction}")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"patience must be at least 1, got {self.patience}")
        if self.patience is not None and self.select == "last":
            raise ValueError("patience waits for a better evaluation: it needs a select but last")

    @property
    def batch_size(self) -> int:
        """Videos in a batch."""
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
