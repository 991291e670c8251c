import shutil

import pytest
from support import picture

from smallset.api import check


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
        "unreadable", "leak", "conflict", "duplicate", "empty", "missing", "single",
    ]  # fmt: skip
    text = dict(found)
    assert text["unreadable"] == "train/dog/0.png: the file is empty"
    assert text["leak"].startswith("in train and test, the same picture 2 times: ")
    assert text["conflict"].startswith("labelled ant and bee")
    assert "train/ant/0.png, train/ant/copy.png" in text["duplicate"]
    assert text["empty"] == "class 'emu' has no readable image"
    assert text["missing"] == "class 'fox' has no image in val and test and extra"
    assert text["single"] == "class 'fox' has one training image only"


def test_a_copy_in_another_format_and_size_of_file_is_the_same_picture(folders):
    from PIL import Image

    Image.open(folders / "train/ant/0.png").save(folders / "train/ant/0b.bmp")
    assert [kind for kind, _ in kinds(folders)] == ["duplicate"]


def test_one_class_alone_is_a_problem(tmp_path):
    for n in range(4):
        (tmp_path / "a").mkdir(exist_ok=True)
        picture(0, n).save(tmp_path / "a" / f"{n}.png")
    assert [kind for kind, _ in kinds(tmp_path)] == ["single"]
