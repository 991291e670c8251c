import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from PIL import Image
from support import picture
from typer.testing import CliRunner

from smallset.api import check
from smallset.cli import app
from smallset.config import RunConfig
from smallset.data.check import WAY_OUT, Kind, find_problems, nearly_same, ways_out
from smallset.data.listing import ImageSet
from smallset.groups import DataConfig
from smallset.record.record import Record


@pytest.fixture
def folders(tmp_path, split_folders):
    shutil.copytree(split_folders, tmp_path / "set")
    return tmp_path / "set"


def kinds(folder):
    return [(problem.kind, problem.message) for problem in check(folder)[1]]


def test_sound_data_has_no_problem(split_folders):
    assert kinds(split_folders) == []


def test_every_kind_of_problem_is_found(folders):
    shutil.copy(folders / "train/ant/0.png", folders / "train/ant/copy.png")
    shutil.copy(folders / "train/ant/1.png", folders / "train/bee/copy.png")
    shutil.copy(folders / "train/cat/0.png", folders / "test/cat/copy.png")
    (folders / "train/dog/0.png").write_bytes(b"")
    (folders / "train/emu").mkdir()
    (folders / "train/fox").mkdir()
    picture(4, 1000).save(folders / "train/fox/0.png")
    found = kinds(folders)
    assert [kind for kind, _ in found] == [
        "unreadable", "leak", "leaks", "conflict", "duplicate", "empty", "missing", "single",
    ]  # fmt: skip
    text = dict(found)
    assert text["unreadable"] == "train/dog/0.png: the file is empty"
    assert text["leak"].startswith("in train and test, the same picture 2 times: ")
    assert text["conflict"].startswith("labelled ant and bee")
    assert "train/ant/0.png, train/ant/copy.png" in text["duplicate"]
    assert text["empty"] == "class 'emu' has no readable image"
    assert text["missing"] == "class 'fox' has no image in val and test and extra"
    assert text["single"] == "class 'fox' has one training image only"


def test_what_stops_training_is_said_and_can_be_left_out(folders, tmp_path):
    (folders / "train/dog/0.png").write_bytes(b"")
    for name in ("emu", "fox"):
        (folders / "test" / name).mkdir()
        picture(4, ord(name[0])).save(folders / "test" / name / "0.png")
    (folders / "test/gnu").mkdir()
    result = CliRunner().invoke(app, ["check", str(folders), "--quiet"])
    assert result.exit_code == 1
    said = [" ".join(line.split()) for line in result.output.splitlines()]
    assert (
        "stops training: 1 x unreadable; repair or remove the files, or leave them out with "
        "--skip-unreadable" in said
    )
    assert (
        "stops training: 2 x missing; add training images, remove the class, or leave it out with "
        "--skip-empty" in said
    )
    both = ["--skip-unreadable", "--skip-empty"]
    result = CliRunner().invoke(app, ["check", str(folders), "--quiet", *both])
    assert result.exit_code == 0
    assert "stops training" not in result.output
    assert "class 'emu' has no image in train and val and extra: left out, with 1 other" in (
        " ".join(result.output.split())
    )
    command = ["train", str(folders), "--out", str(tmp_path / "run"), "--quiet"]
    command += ["--recipe", "course-report", "--epochs", "1", "--image-size", "32"]
    assert "leave them out with --skip-unreadable" in str(
        CliRunner().invoke(app, command).exception
    )
    del both[1]
    assert "leave it out with --skip-empty" in str(
        CliRunner().invoke(app, command + both).exception
    )
    result = CliRunner().invoke(app, [*command, *both, "--skip-empty"])
    assert result.exit_code == 0, result.output
    found = Record(tmp_path / "run")
    assert found.predictions.classes == ("ant", "bee", "cat", "dog")
    assert (found.predictions.splits == "test").sum() == 20
    notes = " ".join(found.result["findings"])
    assert "'gnu' has no readable image: left out" in notes
    assert "'emu' has no image in train and val and extra: left out, with 1 other image" in notes


def test_a_copy_in_another_format_and_size_of_file_is_the_same_picture(folders):
    Image.open(folders / "train/ant/0.png").save(folders / "train/ant/0b.bmp")
    assert [kind for kind, _ in kinds(folders)] == ["duplicate"]


def test_one_class_alone_is_a_problem(tmp_path):
    for n in range(4):
        (tmp_path / "a").mkdir(exist_ok=True)
        picture(0, n).save(tmp_path / "a" / f"{n}.png")
    assert [kind for kind, _ in kinds(tmp_path)] == ["single"]


# -- What leaks are worth --------------------------------------------------------------------------


def listed(splits, labels):
    splits, labels = np.array(splits), np.array(labels)
    paths = tuple(f"{n}.png" for n in range(len(splits)))
    return ImageSet(Path(), ("a", "b"), paths, labels, splits)


def worth(problems):
    return [(p.message, p.is_hint) for p in problems if p.kind in ("leaks", "near-leaks")]


def test_leaks_say_how_many_points_they_can_be_worth_and_which_way():
    # Rows 0 and 1 are learnt from; 2 and 3 are copies of row 0, one with another label.
    splits, labels = ["train", "train", "test", "test"] + ["test"] * 98, [0, 1, 0, 1] + [0, 1] * 49
    ids = ["x", "y", "x", "x", *map(str, range(98))]
    images = listed(splits, labels)
    assert worth(find_problems(images, ids, {}, DataConfig())) == [
        (
            "1 of 100 test images has a copy in train with the same label: "
            "test accuracy can be too high by up to 1.0 points",
            False,
        ),
        (
            "1 of 100 test images has a copy in train with another label: "
            "test accuracy can be too low by up to 1.0 points",
            False,
        ),
    ]


@pytest.mark.parametrize(("copies", "is_hint"), [(1, True), (3, False)])
def test_one_copy_among_547_is_a_hint(copies, is_hint):
    images = listed(["train"] * 10 + ["test"] * 547, [0] * 10 + [1, 0] * 273 + [0])
    ids = [str(n) for n in range(557)]
    pairs = [(n, 11 + 2 * n, 0.95) for n in range(copies)]
    found = nearly_same(images, pairs, ids)
    [(message, level)] = worth(found)
    assert f"too high by up to {100 * copies / 547:.1f} points" in message
    assert level == is_hint
    assert {p.is_hint for p in found if p.kind == "near-leak"} == {is_hint}


def test_val_with_copies_in_train_is_said_and_extra_is_learnt_from():
    images = listed(["train", "val", "test", "extra"], [0, 0, 0, 0])
    near = [(0, 1, 0.95), (2, 3, 0.95)]
    found = nearly_same(images, near, list("abcd"))
    said = {message.partition(":")[0] for message, _ in worth(found)}
    assert said == {
        "1 of 1 test images has a copy in train or val or extra with the same label",
        "1 of 1 val images has a copy in train or extra with the same label",
    }
    assert not any(problem.is_hint for problem in found)
    # No accuracy is known to change, which is no reason to hide it.
    assert [p.is_hint for p in nearly_same(images, [(0, 3, 0.95)], list("abcd"))] == [False]


def test_a_pair_stands_for_all_with_its_pixels_and_other_labels_are_no_hint():
    images = listed(["train", "train", *["test"] * 500], [0, 0, 1, *[0] * 499])
    # Row 0 looks like row 3, which has the pixels of row 4; and row 1 like row 2 of another class.
    ids = ["a", "b", "c", "d", "d", *map(str, range(497))]
    found = nearly_same(images, [(0, 3, 0.95), (1, 2, 0.95)], ids)
    assert [message[:30] for message, _ in worth(found)] == [
        "2 of 500 test images have a co", "1 of 500 test images has a cop"
    ]  # fmt: skip
    assert all(is_hint for _, is_hint in worth(found))
    pairs = [p for p in found if p.kind == "near-leak"]
    assert pairs[0].message.endswith("0.png, 3.png, 4.png")
    assert [p.is_hint for p in pairs] == [True, False]


def test_hints_alone_are_no_problem_for_the_status(tmp_path):
    for split, count in (("train", 3), ("test", 101)):
        for label, name in enumerate("ab"):
            (tmp_path / split / name).mkdir(parents=True)
            for n in range(count):
                shade = (n, 100 * label, 40 * (split == "test"))
                Image.new("RGB", (8, 8), shade).save(tmp_path / split / name / f"{n}.png")
    shutil.copy(tmp_path / "train/a/0.png", tmp_path / "test/a/0.png")
    done = CliRunner().invoke(app, ["check", str(tmp_path), "--quiet"])
    assert "no problems found, 2 hints" in done.output
    assert done.exit_code == 0


def test_what_is_left_out_is_in_no_count_of_the_table(folders):
    (folders / "train/dog/0.png").write_bytes(b"")
    (folders / "test/emu").mkdir()
    picture(4, 1).save(folders / "test/emu/0.png")
    settings = RunConfig(data=DataConfig(skip_unreadable=True, skip_empty=True))
    images, _ = check(folders, settings)
    assert images.classes == ("ant", "bee", "cat", "dog")
    assert images.counts("train").tolist() == [8, 8, 8, 7]
    assert len(images) == 71
    assert images.notes[-1] == (
        "left out, as asked: 1 unreadable image and 1 class (emu) with 1 other image; the table "
        "shows what is trained on"
    )
    assert len(check(folders)[0]) == 73


def test_every_kind_that_does_not_stop_training_has_a_way_out(folders):
    shutil.copy(folders / "train/ant/0.png", folders / "train/ant/copy.png")
    shutil.copy(folders / "train/ant/1.png", folders / "train/bee/copy.png")
    shutil.copy(folders / "train/cat/0.png", folders / "test/cat/copy.png")
    (folders / "train/fox").mkdir()
    picture(4, 1000).save(folders / "train/fox/0.png")
    lines = ways_out(check(folders)[1])
    assert [line.partition("; ")[0] for line in lines] == [
        f"does not stop training: 1 x {kind}"
        for kind in ("leak", "conflict", "duplicate", "missing", "single")
    ]
    assert all(line.partition("; ")[2] for line in lines)
    kinds = set(get_args(Kind)) - {"unreadable", "empty", "leaks", "near-leaks"}
    assert kinds == set(WAY_OUT)
