import json

import numpy as np
import pytest
import torch
from support import picture, same_numbers

from smallset.config import RunConfig, override
from smallset.data.feed import Batch
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError, DataError, RunError
from smallset.learn import teacher as teacher_file
from smallset.learn.objectives import OnePass
from smallset.learn.plan import Planner, shares_backbone
from smallset.learn.run import train_run
from smallset.learn.teacher import SHARE, Distilled, read_teacher
from smallset.models.parts import Output
from smallset.record.measures import tempered

BOTH = {"data.train_on": "train+val"}


@pytest.fixture(scope="module")
def teacher(split_folders, tmp_path_factory, tiny):
    """A record that was cross-validated on train and val."""
    folder = tmp_path_factory.mktemp("teacher") / "run"
    return train_run(split_folders, override(tiny(), {"data.folds": 3}), folder)


@pytest.fixture
def other_pictures(tmp_path):
    """Other pictures of the same classes."""
    for label, name in enumerate(["ant", "bee", "cat", "dog"]):
        for split, numbers in {"train": (900, 901), "test": (902,)}.items():
            (tmp_path / split / name).mkdir(parents=True)
            for n in numbers:
                picture(label, n).save(tmp_path / split / name / f"{n}.png")
    return tmp_path


def test_half_of_the_loss_is_the_cross_entropy_with_the_targets_of_its_rows():
    logits = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    targets = torch.tensor([[0.0, 0.0], [0.3, 0.7], [0.9, 0.1]])
    batch = Batch(torch.zeros(2, 3, 1, 1), torch.tensor([0, 1]), np.array([2, 1]))
    plain = OnePass(lambda output, labels: torch.nn.functional.cross_entropy(output.logits, labels))
    objective = Distilled(plain, targets.numpy())

    def forward(_):
        return Output(logits, logits)

    hard, soft = plain(forward, batch).loss, torch.nn.functional.cross_entropy(
        logits, torch.tensor([[0.9, 0.1], [0.3, 0.7]])
    )  # fmt: skip
    wanted = ((1 - SHARE) * hard + SHARE * soft).item()
    assert objective(forward, batch).loss.item() == pytest.approx(wanted, abs=1e-6)
    with torch.no_grad():  # val images have no teacher, and their rows are others
        assert objective(forward, batch._replace(rows=np.array([7, 8]))).loss == hard


def test_a_teacher_says_what_it_said_out_of_fold_of_just_these_images(teacher, split_folders, tiny):
    config = override(tiny(), {"teacher": str(teacher.folder), **BOTH})
    data = DataSource(split_folders).prepared(config)
    said = read_teacher(config.teacher, data.images.classes).of(data)
    at = {name: row for row, name in enumerate(teacher.predictions.ids)}
    rows = [at[name] for name in data.ids("train")]
    probs = np.exp(tempered(teacher.predictions.probs, teacher.model["temperature"]))[rows]
    assert np.allclose(said, probs, atol=1e-6)
    assert np.allclose(said.sum(axis=1), 1, atol=1e-5)


def test_a_head_teaches_what_heads_without_the_fold_of_an_image_say_of_it(
    split_folders, tiny, tmp_path
):
    wrong = {"data.noise_rate": 0.2}
    settings = {"image_size": 32, "trains": "classifier", "head": "probe", "penalty": 0.001}
    quiet = {"figures.tsne": False, "figures.report": False}
    head = train_run(
        split_folders, override(RunConfig(), settings | quiet | wrong), tmp_path / "head"
    )
    config = override(tiny(), {"teacher": str(head.folder)} | wrong)
    data = DataSource(split_folders).prepared(config)
    said = read_teacher(config.teacher, data.images.classes).of(data)
    rows = np.flatnonzero((data.given_labels != data.images.labels)[data.of("train")])
    given = data.given_labels[data.of("train")][rows]
    assert len(rows)
    # The head has learnt its wrong labels by heart; those without the image know better.
    assert head.predictions.probs[head.predictions.learnt][rows, given].min() > 0.5
    assert said[rows, given].max() < 0.5
    train_run(split_folders, config, tmp_path / "taught")


def test_a_head_says_of_an_image_what_it_said_without_its_copies(tiny, tmp_path, monkeypatch):
    rows = ["path,label,group,split"]
    for n in range(16):
        picture(n % 2, n).save(tmp_path / f"{n}.png")
        group = "g" if n in (0, 2, 4) else ""
        rows.append(f"{n}.png,{'ab'[n % 2]},{group},{'train' if n < 12 else 'test'}")
    picture(1, 7).save(tmp_path / "copy.png")  # the pixels of another picture
    (tmp_path / "list.csv").write_text("\n".join([*rows, "copy.png,b,,train"]))
    settings = {"image_size": 32, "trains": "classifier", "head": "probe", "data.val_fraction": 0}
    quiet = {"figures.tsne": False, "figures.report": False}
    head = override(RunConfig(), settings | quiet)
    train_run(tmp_path / "list.csv", head, tmp_path / "head")
    seen, original = [], teacher_file.probes_held_out

    def held_out(*told, groups, **named):
        seen.append(groups)
        return original(*told, groups=groups, **named)

    monkeypatch.setattr(teacher_file, "probes_held_out", held_out)
    config = override(tiny(), {"teacher": str(tmp_path / "head"), "data.val_fraction": 0})
    Planner(DataSource(tmp_path / "list.csv")).plan(config)
    [names] = seen
    assert len(names) == 13
    assert sorted(names.count(name) for name in set(names)) == [1] * 8 + [2, 3]


def test_a_taught_run_is_another_run_wherever_its_teacher_is(
    teacher, split_folders, tiny, tmp_path
):
    alone = train_run(split_folders, override(tiny(epochs=2), BOTH), tmp_path / "alone")
    config = override(tiny(epochs=2), {"teacher": str(teacher.folder), **BOTH})
    taught = train_run(split_folders, config, tmp_path / "taught")
    assert taught.config["digest"] != alone.config["digest"]
    assert "teacher" not in alone.config
    assert not np.array_equal(taught.predictions.probs, alone.predictions.probs)
    assert f"--teacher {teacher.folder}" in taught.command()

    moved = tmp_path / "elsewhere"
    moved.symlink_to(teacher.folder)
    again = override(config, {"teacher": str(moved)})
    again = train_run(split_folders, again, tmp_path / "again")
    assert again.config["digest"] == taught.config["digest"]
    same_numbers(again, taught)
    with pytest.raises(RunError, match=r"teacher: .* -> None"):
        train_run(split_folders, override(tiny(epochs=2), BOTH), taught.folder, resume=True)


def test_a_tuned_network_learns_from_a_teacher_after_its_probe(
    teacher, split_folders, tiny, tmp_path
):
    settings = {"head": "probe", "trains": "all", "teacher": str(teacher.folder), **BOTH}
    record = train_run(split_folders, override(tiny(epochs=1), settings), tmp_path / "run")
    assert record.is_complete


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({}, r"has learnt from \d+ of the val images, .* add --train-on train\+val"),
        ({**BOTH, "data.classes": "1-2"}, r"teacher: .* has 4 classes and this run 2; cat differs"),
    ],
)
def test_teachers_that_do_not_fit_are_refused(teacher, split_folders, tiny, settings, why):
    config = override(tiny(), {"teacher": str(teacher.folder), **settings})
    with pytest.raises(ConfigError, match=why):
        Planner(DataSource(split_folders)).plan(config)


def test_a_probe_has_no_teacher(teacher, split_folders):
    settings = {"image_size": 32, "trains": "classifier", "head": "probe", **BOTH}
    config = override(RunConfig(), {"teacher": str(teacher.folder), **settings})
    with pytest.raises(ConfigError, match="teacher is not read: the head of a frozen network"):
        Planner(DataSource(split_folders)).plan(config)


def test_folds_and_teachers_do_not_go_together():
    with pytest.raises(ConfigError, match="teacher does not go with folds"):
        override(RunConfig(), {"teacher": "x", "data.folds": 5})


def test_a_teacher_without_answers_out_of_fold_is_refused(split_folders, tiny, tmp_path):
    plain = train_run(split_folders, tiny(), tmp_path / "plain")
    config = override(tiny(), {"teacher": str(plain.folder)})
    with pytest.raises(ConfigError, match=r"has no answers out of fold; .* with --folds 5"):
        train_run(split_folders, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"teacher: .* is not the record of a finished run"):
        train_run(split_folders, override(tiny(), {"teacher": str(tmp_path)}), tmp_path / "run")


def test_a_teacher_that_learnt_from_test_images_is_refused(teacher, split_folders, tiny, tmp_path):
    # The same pictures, with what was val as test.
    shown = tmp_path / "shown"
    for split, name in (("train", "train"), ("val", "test")):
        (shown / name).parent.mkdir(exist_ok=True)
        (shown / name).symlink_to(split_folders / split)
    config = override(tiny(), {"teacher": str(teacher.folder), "data.val_fraction": 0})
    with pytest.raises(ConfigError, match=r"has learnt from \d+ of the test images"):
        Planner(DataSource(shown)).plan(config)


def test_a_test_image_that_is_a_training_image_too_is_no_fault_of_the_teacher(tiny, tmp_path):
    for split, numbers in {"train": range(4), "test": (0, 9)}.items():
        for label, name in enumerate(["ant", "bee"]):
            (tmp_path / "d" / split / name).mkdir(parents=True)
            for n in numbers:
                picture(label, n).save(tmp_path / "d" / split / name / f"{n}.png")
    own = {"data.val_fraction": 0}
    head = {"image_size": 32, "trains": "classifier", "head": "probe", "figures.report": False}
    train_run(tmp_path / "d", override(RunConfig(), head | own), tmp_path / "head")
    config = override(tiny(epochs=1), {"teacher": str(tmp_path / "head"), **own})
    assert train_run(tmp_path / "d", config, tmp_path / "run").is_complete


def test_a_teacher_of_other_images_is_refused(teacher, other_pictures, tiny):
    config = override(tiny(), {"teacher": str(teacher.folder), "data.val_fraction": 0})
    with pytest.raises(ConfigError, match=r"has not learnt from 8 of the 8 training images, such"):
        Planner(DataSource(other_pictures)).plan(config)


def test_taught_heads_do_not_train_side_by_side(teacher, split_folders, tiny):
    settings = {"trains": "classifier", "head": "sgd", **BOTH}
    planner = Planner(DataSource(split_folders))
    taught = planner.plan(override(tiny(), {"teacher": str(teacher.folder), **settings}))
    assert shares_backbone(taught) is None
    assert json.dumps(taught.described)
