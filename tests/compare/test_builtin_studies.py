"""Every built-in study, run from the command line on a small generated set."""

import csv
import json
import re
import shutil
import sys

import pytest
from support import random_weights

from smallset.api import comparing
from smallset.cli import main
from smallset.compare.spec import built_in_studies

DATA = "sample:shapes,scale=0.04,size=32"
SETTINGS = ["image_size=32", "data.classes=1-8", "figures.tsne=false"]
STEPS = ["epochs=1", "batches.size=16"]  # what a probe does not read
MILESTONES = ["schedule.milestones=[1]"]  # what a cosine does not read


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["smallset", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One folder for all studies, so that those that start from others find them."""
    folder = tmp_path_factory.mktemp("runs")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def weight_files(tmp_path_factory):
    """Random networks in torchvision's layout: the real ones cannot be had everywhere."""
    folder = tmp_path_factory.mktemp("weights")
    random_weights("resnet18", folder)
    yield folder
    shutil.rmtree(folder)


# `models` first: others start from its runs, or are the same.
ORDER = ["models", *sorted(set(built_in_studies()) - {"models"})]


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDER)
def test_a_built_in_study_runs_from_the_command_line(
    name, runs, weight_files, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("SMALLSET_CACHE", str(runs / "cache"))
    if name in ("models", "features", "backbones"):
        file = weight_files / "resnet18.pth"
        call(monkeypatch, capsys, "weights", "import", file, "--model", "resnet18")
    steps = (
        [] if name == "backbones" else STEPS + MILESTONES * (name not in ("recipes", "imbalance"))
    )
    page = [] if name in ("losses", "models") else ["figures.report=false"]
    sets = [part for setting in SETTINGS + steps + page for part in ("--set", setting)]
    spec = built_in_studies()[name]
    # Two seeds where the rest of the study hangs on them; every run takes a second or two.
    seeds = "2" if name in ("data-limits", "noise") else "1"
    if name in ("losses", "best"):  # `models` and `features` draw their runs
        monkeypatch.setattr(comparing, "draw_record", lambda record, figures: None)
    arms = list(spec.arms)
    if name in ("models", "features"):  # at one size, those of 224 px would be the same
        left_out = ("vgg16-112", "vgg16-224") if name == "features" else ("vgg16-112", "-224")
        arms = [arm for arm in arms if not arm.endswith(left_out)]  # a run of VGG16 takes 0.5 GB
        sets += ["--arms", ",".join(arms)]
    if name == "imbalance":  # of the two training images of a class here, the smallest keeps one
        sets += ["--set", "data.imbalance=2"]
    if name == "cleaning":  # what is done is done at each share of wrong labels
        arms = [arm for arm in arms if not arm.endswith("-50")]
        sets += ["--arms", ",".join(arms)]
    if name == "recipes":  # the others differ from these in a number
        arms = ["course-report", "quick", "strong", "without-momentum"]
        sets += ["--arms", ",".join(arms)]
    if name == "backbones":  # of the networks that are at hand wherever this runs
        arms = ["efficientnet_lite0", "resnet18", "efficientnet_lite0-tuned", "resnet18-tuned"]
        sets += ["--arms", ",".join(arms)]
    command = ["study", name, "--data", DATA, "--out", runs / name, "--seeds", seeds]
    command += ["--execute", "serial", *sets]  # other tests run processes, which start slowly
    out = call(monkeypatch, capsys, *command)
    with (runs / name / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["seeds"]) for row in rows] == [(arm, seeds) for arm in arms]
    states = json.loads((runs / name / "study.json").read_text())["runs"]
    assert {run["state"] for run in states} == {"done"}
    with (runs / name / "comparisons.csv").open() as file:
        pairs = [(row["arm"], row["compared_with"]) for row in csv.DictReader(file)]
    assert pairs == [pair for pair in spec.pairs if set(pair) <= set(arms)]
    charts = {chart.name for chart in spec.charts}
    figures = {p.stem for p in (runs / name / "figures").iterdir()}
    assert figures >= {"arms", "curves"} | charts | ({"forest"} if spec.pairs else set())
    for figure in figures:
        assert f"figures/{figure}.png" in out
    if name == "features":  # the same runs as those of `models`, taken over and drawn anew
        assert "taken over from" in out
        assert (runs / "features/resnet18-224/seed-0/figures/pca.png").exists()
    if name != "losses":
        return
    # Once more: nothing is left to do.
    again = call(monkeypatch, capsys, *command)
    assert re.search(r"(\d+) runs: \1 done, 0 begun, 0 to begin", again)
