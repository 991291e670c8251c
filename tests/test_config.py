import sys
from typing import Any

import pytest

from smallset.config import READ_WHERE, RunConfig, build_config, change, override, read_config
from smallset.errors import ConfigError
from smallset.progress import Reporter, usual_reporter
from smallset.settings import differences, flat


def test_defaults_are_the_settings_of_the_report():
    config = RunConfig()
    assert (config.epochs, config.lr, config.batches.size, config.optim.name) == (
        20,
        0.01,
        32,
        "sgd",
    )
    assert (config.schedule.milestones, config.schedule.gamma) == ((15,), 0.1)
    assert config.optim.momentum == 0


def test_override_reaches_nested_settings_and_changes_the_digest():
    config = override(RunConfig(), {"optim.momentum": "0.9", "schedule.milestones": "[15, 25]"})
    assert (config.optim.momentum, config.schedule.milestones) == (0.9, (15, 25))
    assert config.digest() != RunConfig().digest()


def test_a_setting_that_is_text_keeps_its_text():
    config = override(RunConfig(), {"data.classes": "1", "weights": "none", "image_size": "none"})
    assert (config.data.classes, config.weights, config.image_size) == ("1", "none", None)


def test_figures_are_not_part_of_the_digest():
    assert override(RunConfig(), {"figures.tsne": "false"}).digest() == RunConfig().digest()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optim.momentun": 1}, "no setting named 'optim.momentun'; did you mean 'optim.momentum'"),
        ({"optim.lr": 1}, "no setting named 'optim.lr'; did you mean 'lr'"),
        ({"opt.momentum": 1}, "no setting named 'opt.momentum'; did you mean 'optim.momentum'"),
        ({"lr.size": 1}, "no setting named 'lr.size'; did you mean 'batches.size'"),
        ({"optim.zzz": 1}, "known here: optim.batch_norm, .*optim.momentum, .*optim.weight_decay"),
        ({"image_size": 16}, "image_size: input should be greater than or equal to 32, got 16"),
        ({"data.noise_rate": 20}, "noise_rate: .* less than or equal to 1, got 20"),
        ({"lr": "fast"}, "lr: .* valid number.*, got 'fast'"),
        ({"lr": "nan"}, "lr"),
        ({"batches.size": 1}, "batches.size: .* greater than or equal to 2, got 1"),
        ({"data.train_on": "train+test"}, "test split is for the final score only"),
        ({"data.train_on": "train+train"}, "names a split twice"),
        ({"optim.nesterov": True, "optim.momentum": 0}, "nesterov needs a momentum"),
        ({"optim.name": "adam"}, "optim.name"),
        ({"optim.name": "adamw", "optim.momentum": 0.9}, "optim.momentum is read where optim.name"),
        ({"schedule.name": "cosine", "schedule.milestones": [3]}, "is multistep, got .* = cosine"),
        ({"schedule.name": "constant", "schedule.gamma": 0.5}, "gamma is read where schedule.name"),
        ({"batches.kind": "pk", "batches.size": 8}, "size is read where batches.kind is random"),
        ({"batches.images_per_class": 2}, "images_per_class is read where batches.kind is pk"),
        ({"loss_args.soft_margin": True, "loss_args.margin": 1}, "margin is read where .* False"),
        ({"data.noise_in_val": True}, "noise_in_val belongs to a noise_rate above 0"),
        ({"data.imbalance": 0.5}, "imbalance: .* greater than or equal to 1"),
        ({"balance": "logits", "batches.balance": True}, "do the same twice"),
        ({"balance": "both"}, "balance: .*'none', 'weights' or 'logits'"),
        ({"start_from": "x", "weights": "y.pth"}, "weights is not read where start_from"),
    ],
)
def test_a_setting_that_does_not_fit_is_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        override(RunConfig(), settings)


def test_a_toml_file_is_read_and_its_typos_are_found(tmp_path):
    good, bad, broken = (tmp_path / name for name in ("good.toml", "bad.toml", "broken.toml"))
    good.write_text('model = "residual"\n[optim]\nmomentum = 0.9\n')
    bad.write_text("[schedule]\nmilestone = [3]\n")
    broken.write_text("model = \n")
    assert read_config(good).optim.momentum == 0.9
    with pytest.raises(
        ConfigError, match=r"'schedule\.milestone'; did you mean 'schedule\.milestones'"
    ):
        read_config(bad)
    bad.write_text('"data.resize" = "zoom"\n')
    with pytest.raises(ConfigError, match=r"in TOML write data\.resize without quotation marks"):
        read_config(bad)
    with pytest.raises(ConfigError, match="not a TOML file"):
        read_config(broken)
    with pytest.raises(ConfigError, match="cannot read the settings file"):
        read_config(tmp_path / "absent.toml")


def test_a_dumped_config_builds_the_same_config():
    config = override(RunConfig(), {"schedule.milestones": [3, 5], "optim.grad_clip": 1.0})
    assert build_config(config.model_dump(mode="json")) == config


def test_differences_are_listed_by_path():
    old, new = {"a": {"b": 1, "c": 2}, "d": 0}, {"a": {"b": 3, "c": 2}, "d": 0}
    assert differences(old, new) == ["a.b: 1 -> 3"]


@pytest.mark.parametrize("name", READ_WHERE)
def test_every_setting_that_another_switches_off_is_refused_there(name):
    """Whatever the table holds: set where it is read, it is taken; elsewhere it is an error."""
    switch, value = READ_WHERE[name]
    other = {
        "schedule.name": "cosine", "batches.kind": {"pk": "random", "random": "pk"}.get(value),
        "optim.name": "adamw", "loss_args.soft_margin": True, "head": "sgd",
    }[switch]  # fmt: skip
    set_to = {
        "penalty": 0.1, "schedule.milestones": [3], "schedule.gamma": 0.5, "optim.momentum": 0.9,
        "optim.nesterov": True, "loss_args.margin": 1.0,
        "balance": "weights", "batches.balance": True,
    }.get(name, 5)  # fmt: skip
    also = {"optim.momentum": 0.9} if name == "optim.nesterov" else {}
    read = override(RunConfig(), {switch: value, name: set_to, **also})
    with pytest.raises(ConfigError, match=f"{name} is read where"):
        override(RunConfig(), {switch: other, name: set_to, **also})
    changed = change(read, {switch: other})
    assert flat(changed.model_dump(mode="json"))[switch] == other


def test_a_wrong_name_in_python_is_told_as_in_a_file():
    build: Any = RunConfig
    with pytest.raises(ConfigError, match=r"no setting named 'modle'; did you mean 'model'"):
        build(modle="plain")
    with pytest.raises(ConfigError, match=r"no setting named 'data.nois_rate'; did you mean 'data"):
        build(data={"nois_rate": 0.1})
    with pytest.raises(ConfigError, match=r"data.noise_rate: .*less than or equal to 1, got 7"):
        build(data={"noise_rate": 7})
    assert build(data={"noise_rate": 0.1}).data.noise_rate == 0.1


def test_a_terminal_or_a_notebook_is_told_of_progress_and_a_script_is_not(monkeypatch, capsys):
    silent = usual_reporter()
    assert silent == Reporter()
    monkeypatch.setitem(sys.modules, "ipykernel", object())
    usual_reporter().counted("decoding", 3, 3)
    assert "decoding: 3 images" in capsys.readouterr().out
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    console = usual_reporter().console
    assert console is not None
    assert console.stderr
