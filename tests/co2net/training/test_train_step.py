import copy
import math

import pytest
import torch

from co2net.config import ModelConfig, TrainConfig
from co2net.training.distributed import ProcessGroup
from co2net.training.train_step import NonFiniteLoss, Trainer
from co2net_runtime.errors import BackendError

MODEL = ModelConfig(classes=3, rgb_dim=6, flow_dim=10, attention_dim=4, embed_dim=12)
CPU = ProcessGroup(torch.device("cpu"))

# torch's compiler uses its own deprecated functions
quiet_compiler = pytest.mark.filterwarnings("ignore::DeprecationWarning")
pytestmark = pytest.mark.usefixtures("one_thread")


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(10, 9, 16, generator=generator), torch.eye(3)[[0, 0, 1, 1, 2, 2, 0, 1, 2, 0]]


def trainer(**settings):
    torch.manual_seed(0)
    return Trainer(MODEL, TrainConfig(**{"learning_rate": 1e-2, **settings}), CPU)


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_steps_lower_the_loss_in_every_precision(precision):
    trained = trainer(precision=precision)
    losses = [trained.step(*batch(), 1)["total"] for _ in range(40)]
    assert all(math.isfinite(loss) for loss in losses)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert all(value.dtype == torch.float32 for value in trained.model.state_dict().values())


def test_grad_norm_is_that_of_all_gradients():
    trained = trainer()
    norm = trained.step(*batch(), 1)["grad_norm"]
    squares = [parameter.grad.square().sum() for parameter in trained.model.parameters()]
    assert norm == pytest.approx(torch.stack(squares).sum().sqrt().item(), rel=1e-5)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_loss_that_is_not_finite_leaves_everything_as_it_was(precision):
    trained = trainer(precision=precision)
    trained.step(*batch(), 1)
    before = weights(trained)
    features, labels = batch()
    features[3, 2, 1] = math.nan
    with pytest.raises(NonFiniteLoss) as error:
        trained.step(features, labels, 1)
    assert math.isnan(error.value.terms["total"])
    assert same(before, weights(trained))


def test_a_restored_trainer_goes_on_identically():
    first, second = trainer(), trainer()
    for _ in range(3):
        first.step(*batch(), 1)
    # a file would copy it too
    second.restore(weights(first), copy.deepcopy(first.state()))
    for seed in range(3):
        torch.manual_seed(seed)
        losses = first.step(*batch(seed), 1)
        torch.manual_seed(seed)
        assert second.step(*batch(seed), 1) == losses
    assert same(weights(first), weights(second))


@quiet_compiler
def test_what_cannot_be_compiled_is_said_in_words():
    def broken(model, inputs):
        raise RuntimeError("no compiler")

    trained = trainer(compile=True)
    # dynamo calls the backend when the network first runs
    trained._network.compile(backend=broken)
    with pytest.raises(BackendError, match=r"no compiler.*compile=false"):
        trained.step(*batch(), 1)


@quiet_compiler
def test_a_compiled_network_is_traced_and_trains():
    # `eager` traces as inductor does, without waiting for a C++ compiler
    trained, plain = trainer(compile=True), trainer()
    trained._network.compile(backend="eager")
    torch.manual_seed(1)
    ours = trained.step(*batch(), 1)
    torch.manual_seed(1)
    assert ours == plain.step(*batch(), 1)


def test_gradients_are_clipped_to_the_norm():
    trained = trainer(clip_norm=0.5)
    norm = trained.step(*batch(), 1)["grad_norm"]
    squares = [parameter.grad.square().sum() for parameter in trained.model.parameters()]
    assert norm > 0.6
    assert torch.stack(squares).sum().sqrt().item() == pytest.approx(0.5, rel=1e-3)


def test_averaged_weights_are_the_exponential_mean_of_the_weights():
    trained = trainer(ema_decay=0.8)
    trained.step(*batch(), 1)
    mean = weights(trained)
    for iteration in range(2, 6):
        trained.step(*batch(), iteration)
        mean = {n: 0.8 * mean[n] + 0.2 * value for n, value in weights(trained).items()}
    for name, value in trained.result.state_dict().items():
        torch.testing.assert_close(value, mean[name])
    assert not same(weights(trained), mean)


def test_averaging_changes_no_step():
    plain, averaged = trainer(), trainer(ema_decay=0.8)
    for iteration in range(1, 4):
        for each in (plain, averaged):
            torch.manual_seed(iteration)
            each.step(*batch(), iteration)
    assert same(weights(plain), weights(averaged))
    assert plain.result is plain.model


def test_adamw_decays_the_weights_apart_from_the_gradient():
    """The definition of AdamW's first step: Adam's without decay, from weights pulled to 0."""
    found = trainer(optimizer="adamw", weight_decay=0.5)
    expected = trainer(weight_decay=0.0)
    before = weights(found)
    for each in (found, expected):
        torch.manual_seed(1)
        each.step(*batch(), 1)
    after = weights(expected)
    for name, value in weights(found).items():
        torch.testing.assert_close(value, after[name] - 0.01 * 0.5 * before[name])


def test_the_warm_up_reaches_the_optimizer():
    trained = trainer(warmup=4)
    assert trained.step(*batch(), 1)["learning_rate"] == 0.0025
    assert {group["lr"] for group in trained.optimizer.param_groups} == {0.0025}
