import pytest

from co2net.cli.train import main
from co2net.config import PRESETS, TrainConfig
from co2net.settings import (
    ALIASES,
    FROM_DATA,
    _flatten,
    apply_settings,
    differences,
    dump_config,
    read_config,
)
from co2net_runtime.errors import InputError
from co2net_runtime.files.records import to_mapping


def test_presets_are_the_published_settings():
    thumos, activitynet = PRESETS["thumos14"], PRESETS["activitynet1.2"]
    assert (thumos.learning_rate, thumos.weight_decay, thumos.seed) == (5e-5, 1e-3, 3552)
    assert (thumos.iterations, thumos.max_snippets, thumos.loss.topk_divisor) == (5000, 500, 7)
    assert thumos.batch_size == 10
    assert (activitynet.learning_rate, activitynet.weight_decay) == (3e-5, 5e-4)
    assert (activitynet.iterations, activitynet.max_snippets) == (22000, 60)
    assert activitynet.min_snippets == 11
    assert activitynet.loss.topk_divisor == 5
    assert activitynet.model.pool_kernel == (60 // 5) // 2 * 2 + 1


@pytest.mark.parametrize("preset", PRESETS)
def test_config_survives_yaml(preset, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(PRESETS[preset]))
    assert read_config(file, TrainConfig()) == PRESETS[preset]


def test_a_file_replaces_only_what_it_names(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("learning_rate: 1e-4\nloss: {topk_divisor: 5}\n")
    config = read_config(file, PRESETS["thumos14"])
    assert differences(PRESETS["thumos14"], config) == {
        "learning_rate": (5e-5, 1e-4),
        "loss.topk_divisor": (7, 5),
    }


def test_settings_are_typed_as_in_yaml():
    settings = ["learning_rate=5e-6", "compile=true", "patience=3", "evaluation.tious=[0.5, 0.7]"]
    config = apply_settings(settings, TrainConfig())
    assert (config.learning_rate, config.compile, config.patience) == (5e-6, True, 3)
    assert config.evaluation.tious == (0.5, 0.7)
    assert apply_settings(["patience=null"], config).patience is None


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("learning_rte=1", "unknown key 'learning_rte' (did you mean 'learning_rate'?)"),
        ("topk_divisor=5", "did you mean 'loss.topk_divisor'"),
        ("loss.topk_divisr=5", "did you mean 'loss.topk_divisor'"),
        ("loss=5", "loss is a group"),
        ("iterations", "expected key=value"),
        ("iterations=many", "iterations: expected int, found 'many'"),
        ("iterations=0", "iterations must be at least 1"),
        ("iterations=1e99", "iterations must be at most 1000000000"),
        ("pairs=" + "9" * 400, "pairs must be at most 10000"),
        ("max_snippets=1e12", "max_snippets must be at most 1000000"),
        ("model.embed_dim=1e9", "embed_dim must be at most 65536"),
        ("optimizer=sgd", "expected one of adam, adamw"),
        ("seed=-1", "seed must lie in"),
        ("iterations=[", "not valid YAML"),
        ("model.pool_kernel=4", "pool_kernel must be odd"),
        ("model.width=64", "did you mean 'model.embed_dim' or 'model.attention_dim'?"),
        ("lr=1e-4", "did you mean 'learning_rate'?"),
        ("epochs=3", "did you mean 'iterations'?"),
        ("batch_size=8", "did you mean 'pairs' or 'singles'?"),
        ("loss.rgb_dim=3", "the dataset decides it: see --rgb-dim N"),
        ("x" * 1000 + "=1", "unknown key '" + "x" * 60 + "...'"),
        ("iterations=.inf", "iterations: expected int, found inf"),
        ("iterations=.nan", "iterations: expected int, found nan"),
        ("learning_rate=.inf", "learning_rate must be a finite number"),
        ("loss.norm_weight=.nan", "norm_weight must be a finite number"),
        ("model.dropout=.nan", "dropout must be a finite number"),
        ("ema_decay=1", "ema_decay must lie in (0, 1)"),
        ("clip_norm=0", "clip_norm must be positive"),
        ("warmup=5000", "warmup must be shorter than the training"),
        ("loss.strategy=evidential", "no longer exists, only co2 does"),
    ],
)
def test_wrong_settings_are_named(setting, words):
    with pytest.raises(InputError) as error:
        apply_settings([setting], TrainConfig())
    assert words in str(error.value)


def test_settings_of_earlier_versions_are_read(tmp_path):
    file = tmp_path / "config.yaml"
    old = "loss: {strategy: co2, evidential_weight: 1.0, guide_amplitude: 0.7, topk_divisor: 5}"
    file.write_text(old)
    assert read_config(file, TrainConfig()).loss.topk_divisor == 5


def test_aliases_and_the_datasets_keys_name_settings_and_options_that_exist():
    known = {key for key, _ in _flatten(to_mapping(TrainConfig()))}
    for alias, meant in ALIASES.items():
        assert set(meant) <= known, alias
        assert alias not in known
    options = {name for option in main.params for name in option.opts}
    assert {text.split()[0] for text in FROM_DATA.values()} <= options


def test_patience_without_a_choice_is_refused():
    with pytest.raises(InputError, match="patience"):
        apply_settings(["select=last", "patience=2"], TrainConfig())


@pytest.mark.parametrize("content", ["- a\n", "a: [\n", "iteration: 3\n"])
def test_wrong_files_are_refused(content, tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(InputError, match=r"config\.yaml"):
        read_config(file, TrainConfig())


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot read the config"):
        read_config(tmp_path / "none.yaml", TrainConfig())
