import gzip
import json
import os
import shutil
import struct
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import picture

from smallset.config import RunConfig, override
from smallset.data.listing import parse_classes
from smallset.data.manifest import manifest_text
from smallset.data.prepare import DataSource
from smallset.data.read import folds_for, list_data, read_data
from smallset.errors import ConfigError, DataError
from smallset.groups import SPLITS, DataConfig
from smallset.learn.run import train_run


def make(root, *files):
    for number, name in enumerate(files):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number % 5, number).save(root / name)
    return root


def test_split_folders_give_one_sorted_class_list(split_folders):
    images = read_data(split_folders)
    assert images.classes == ("ant", "bee", "cat", "dog")
    assert images.counts("train").tolist() == [8] * 4
    assert images.counts("extra").tolist() == [2] * 4
    assert images.paths[0] == "train/ant/0.png"


def test_a_class_of_one_split_only_is_in_the_list_of_the_whole_set(tmp_path):
    images = read_data(make(tmp_path, "train/b/0.png", "train/c/0.png", "test/a/0.png"))
    assert images.classes == ("a", "b", "c")
    assert images.counts("train").tolist() == [0, 1, 1]


def test_class_folders_are_split_by_class_and_the_same_way_each_time(tmp_path):
    make(tmp_path, *(f"{name}/{n}.png" for name in "ab" for n in range(20)))
    images = read_data(tmp_path)
    assert [images.counts(s).tolist() for s in ("train", "val", "test")] == [
        [12] * 2,
        [3] * 2,
        [5] * 2,
    ]
    np.testing.assert_array_equal(read_data(tmp_path).splits, images.splits)
    assert (read_data(tmp_path, DataConfig(split_seed=1)).splits != images.splits).any()
    assert "split by smallset" in images.notes[-1]


def test_small_classes_keep_a_training_image_and_reach_each_split_from_three_on(tmp_path):
    make(
        tmp_path,
        "one/0.png",
        *(f"three/{n}.png" for n in range(3)),
        *(f"x/{n}.png" for n in range(9)),
    )
    images = read_data(tmp_path)
    counts = {
        s: dict(zip(images.classes, images.counts(s).tolist(), strict=True))
        for s in ("train", "val", "test")
    }
    assert [counts[s]["one"] for s in counts] == [1, 0, 0]
    assert [counts[s]["three"] for s in counts] == [1, 1, 1]


def test_groups_never_straddle_splits(tmp_path):
    files = [f"{name}{n}.png" for name in "ab" for n in range(30)]
    make(tmp_path, *files)
    lines = [f"{f},{f[0]},{f[0]}{int(f[1:-4]) // 3}" for f in files]
    (tmp_path / "m.csv").write_text("path,label,group\n" + "\n".join(lines))
    images = read_data(tmp_path / "m.csv")
    homes = {}
    assert images.groups is not None
    for group, split in zip(images.groups, images.splits, strict=True):
        homes.setdefault(group, set()).add(split)
    assert all(len(home) == 1 for home in homes.values())
    # 15 % and 25 % of 30 images per class, in whole groups of three
    np.testing.assert_allclose(images.counts("val"), 4.5, atol=3)
    np.testing.assert_allclose(images.counts("test"), 7.5, atol=3)


def test_a_written_split_reads_back_the_same(tmp_path):
    make(tmp_path / "set", *(f"{name}/{n}.png" for name in "ab" for n in range(8)))
    images = read_data(tmp_path / "set")
    (tmp_path / "split.csv").write_text(manifest_text(images, tmp_path / "split.csv"))
    again = read_data(tmp_path / "split.csv")
    assert again.paths == tuple(f"set/{path}" for path in images.paths)
    np.testing.assert_array_equal(again.splits, images.splits)
    with pytest.raises(DataError, match="images lie in or below its own folder"):
        manifest_text(images, tmp_path / "elsewhere" / "split.csv")


def test_a_json_lines_manifest_reads_as_the_csv_does(tmp_path):
    make(tmp_path, "0.png", "1.png")
    rows = [("0.png", "a", "train"), ("1.png", "b", "test")]
    (tmp_path / "m.csv").write_text("path,label,split\n" + "\n".join(map(",".join, rows)))
    lines = [json.dumps(dict(zip(("path", "label", "split"), row, strict=True))) for row in rows]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    from_csv, from_json = read_data(tmp_path / "m.csv"), read_data(tmp_path / "m.jsonl")
    assert from_csv.paths == from_json.paths
    assert from_csv.classes == from_json.classes == ("a", "b")
    np.testing.assert_array_equal(from_csv.splits, from_json.splits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\n0.png,a\n", "no column path; found: file, label"),
        ("path,label,split\n0.png,a,trian\n", "unknown split 'trian'; did you mean 'train'"),
        ("path,label\n/etc/passwd,a\n", "absolute path"),
        ("path,label\nC:\\x.png,a\n", "absolute path"),
        ("path,label\n../0.png,a\n", "leads outside the manifest's folder"),
        ("path,label\nhttps://x.org/0.png,a\n", "is an address; smallset reads files"),
        ("path,label\nsub/../../0.png,a\n", "leads outside"),
        ("path,label\n0.png,a\n./0.png,b\n", "listed before, as image 1"),
        ("path,label\n9.png,a\n", "no file"),
        ("path,label\n0.png,\n", "'label' is missing or empty"),
        ("path,label\n", "lists no images"),
        ("path,label,split,group\n0.png,a,train,g\n1.png,a,test,g\n", "group 'g' is in both"),
    ],
)
def test_a_bad_manifest_says_what_is_wrong(tmp_path, text, message):
    make(tmp_path / "in", "0.png", "1.png")
    (tmp_path / "in" / "m.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_data(tmp_path / "in" / "m.csv")


def test_a_symlink_loop_is_named(tmp_path):
    make(tmp_path, "a/0.png", "b/0.png")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    with pytest.raises(DataError, match=r"symlink loop: .*again"):
        read_data(tmp_path)


def test_split_folders_beside_others_are_refused(tmp_path):
    make(tmp_path, "train/a/0.png", "valid/a/0.png")
    with pytest.raises(
        DataError, match=r"beside others \(valid\); the splits of smallset are train"
    ):
        read_data(tmp_path)


def test_an_empty_class_folder_and_other_files_are_told(tmp_path):
    make(tmp_path, "a/0.png", "b/0.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    images = read_data(tmp_path)
    assert images.classes == ("a", "b", "empty")
    assert any("empty has no image" in note for note in images.notes)
    assert any("1 x .txt" in note for note in images.notes)


@pytest.mark.parametrize(
    "name", ["nowhere", "sample:shape", "torchvision:CIFAR", "sample:shapes,x=1"]
)
def test_data_that_does_not_exist_is_said(name):
    with pytest.raises((DataError, ConfigError), match=r"no data at|did you mean|has no 'x'"):
        read_data(name)


def test_classes_are_chosen_by_position_range_and_name():
    classes = ["ant", "bee", "cat", "dog", "eel"]
    assert parse_classes("2-3,eel", classes) == [1, 2, 4]
    assert parse_classes("", classes) == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="classes go from 1 to 5, got '0-2'"):
        parse_classes("0-2", classes)
    with pytest.raises(ConfigError, match="no class named 'bea'; did you mean 'bee'"):
        parse_classes("bea", classes)


def test_positions_are_refused_where_names_are_numbers():
    assert parse_classes("10", ["1", "10", "2"]) == [1]
    with pytest.raises(ConfigError, match="could mean names or positions"):
        parse_classes("1-2", ["1", "10", "2"])


def test_choosing_classes_shrinks_the_class_list(split_folders):
    source = DataSource(split_folders)
    config = override(RunConfig(), {"data.classes": "cat,ant", "image_size": 32})
    chosen = source.prepared(config).images
    assert chosen.classes == ("ant", "cat")
    assert chosen.counts("train").tolist() == [8, 8]
    assert {path.split("/")[1] for path in chosen.paths} == {"ant", "cat"}


def test_a_torchvision_set_becomes_folders(shared_cache):
    """Real loading code of MNIST, on files in its own format, written here."""
    raw = shared_cache / "torchvision" / "downloads" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images, labels = {}, {}
    for name, count in (("train", 20), ("t10k", 10)):
        images[name] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels[name] = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images[name]), ("labels-idx1", labels[name])):
            header = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(
                f">{array.ndim}I", *array.shape
            )
            content = header + array.tobytes()
            (raw / f"{name}-{kind}-ubyte").write_bytes(content)
            (raw / f"{name}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
    listed = read_data("torchvision:MNIST")
    assert listed.classes[:2] == ("0 - zero", "1 - one")
    assert listed.counts("train").tolist() == [2] * 10
    assert listed.counts("test").tolist() == [1] * 10
    from PIL import Image

    first = np.asarray(Image.open(listed.root / "train" / "0 - zero" / "000000.png"))
    np.testing.assert_array_equal(first, images["train"][0])


@pytest.mark.parametrize(
    ("name", "attribute", "names", "folders"),
    [
        # As torchvision's own classes hold them.
        ("Caltech101", "categories", ["Faces", "yin_yang"], ("Faces", "yin_yang")),
        ("Imagenette", "classes", [("church", "church building"), ("tench",)], ("church", "tench")),
        ("StanfordCars", "classes", ["Audi R8", "Ram C/V Van"], ("Audi R8", "Ram C_V Van")),
        ("GTSRB", "other", [], ("0", "1")),
    ],
)
def test_classes_of_torchvision_sets_have_their_names(
    tmp_path, monkeypatch, name, attribute, names, folders
):
    from torchvision import datasets

    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path))

    class StandIn(list):
        def __init__(self, **_):
            super().__init__((picture(n % 2, n), n % 2) for n in range(20))
            setattr(self, attribute, names)

    monkeypatch.setattr(datasets, name, StandIn)
    for misnamed in ("Caltech101", "Imagenette"):  # as an older version left them
        (tmp_path / "torchvision" / misnamed / "wrong").mkdir(parents=True)
    assert read_data(f"torchvision:{name}", DataConfig(folds=2)).classes == folders


def test_without_a_network_the_message_says_where_files_go(monkeypatch):
    from urllib.error import URLError

    from torchvision import datasets

    def offline(*args, **kwargs):
        raise URLError("no network")

    monkeypatch.setattr(datasets, "SVHN", offline)
    with pytest.raises(
        DataError, match=r"could not download .*SVHN: .*no network.*put its files into"
    ):
        read_data("torchvision:SVHN")


@pytest.mark.parametrize(
    ("names", "renames"),
    [
        (["Train", "Test"], "Test -> test, Train -> train"),
        (["training", "testing", "VALID"], "VALID -> val, testing -> test, training -> train"),
        (["Validation", "trainset", "test_images"], "Validation -> val, test_images -> test"),
        (["TRAIN", "dev", "eval"], "TRAIN -> train, dev -> val, eval -> test"),
        (["images-train", "data_val2017"], "data_val2017 -> val, images-train -> train"),
    ],
)
def test_class_lists_that_look_like_splits_are_refused_with_their_renames(tmp_path, names, renames):
    make(tmp_path, *(f"{name}/{label}/0.png" for name in names for label in ("cat", "dog")))
    with pytest.raises(DataError, match="look like splits, not classes") as error:
        read_data(tmp_path)
    assert renames in str(error.value)


@pytest.mark.parametrize("name", ["Train", "validation", "testing"])
def test_a_split_of_another_name_beside_classes_is_refused_by_what_is_in_it(tmp_path, name):
    make(tmp_path, f"{name}/cat/0.png", f"{name}/dog/0.png", "notes/0.png")
    with pytest.raises(DataError, match=rf"look like splits.*rename \({name} -> "):
        read_data(tmp_path)


SPELLINGS = {
    "train": ["train", "training", "trn", "训练", "训练集"],
    "val": ["val", "valid", "validation", "dev", "development", "holdout", "hold-out", "验证集"],
    "test": ["test", "testing", "tst", "eval", "evaluation", "测试", "测试集"],
}
CASES = [str.lower, str.upper, str.title, str.swapcase]
DECORATED = ["{}", "{}set", "{}_images", "{} data", "images-{}", "{}2017", "data_{}_1", "{}-split"]


@given(
    spelling=st.fixed_dictionaries(
        {split: st.sampled_from(SPELLINGS[split]) for split in SPELLINGS}
    ),
    case=st.sampled_from(CASES),
    decorated=st.sampled_from(DECORATED),
    is_flat=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_splits_in_any_spelling_are_never_classes(spelling, case, decorated, is_flat):
    names = {case(decorated.format(word)): split for split, word in spelling.items()}
    if set(names) & set(SPLITS):
        return  # a split as it is called here, beside others
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            make(root, f"{name}/0.png" if is_flat else f"{name}/cat/0.png")
        with pytest.raises(DataError, match="look like splits, not classes") as error:
            read_data(root)
        for name, split in names.items():
            assert f"{name} -> {split}" in str(error.value)
        rows = [f"{next(root.glob(f'{name}/**/*.png')).relative_to(root)},{name}" for name in names]
        (root / "m.csv").write_text("path,label\n" + "\n".join(rows))
        with pytest.raises(DataError, match=r"the labels of .* look like splits"):
            read_data(root / "m.csv")


def test_splits_with_a_word_before_them_are_told_by_what_is_in_them(tmp_path):
    make(tmp_path, "seg_train/sea/0.png", "seg_test/sea/0.png", "seg_pred/0.png")
    with pytest.raises(DataError, match=r"rename \(seg_test -> test, seg_train -> train\)"):
        read_data(tmp_path)


@pytest.mark.parametrize("place", ["", "train/"])
def test_pictures_beside_class_folders_are_counted(tmp_path, place):
    make(
        tmp_path, *(f"{place}{name}" for name in ("a/0.png", "b/0.png", "c.jpg", "d.PNG", ".e.png"))
    )
    (tmp_path / place / "notes.txt").write_text("x")
    [note] = [note for note in read_data(tmp_path).notes if "beside" in note]
    assert note.startswith("left out, without a class: 2 pictures beside the class folders")
    assert note.endswith("(c.jpg, d.PNG)")


def test_an_address_is_no_data():
    with pytest.raises(ConfigError, match=r"https://x\.org/set\.zip is an address"):
        read_data("https://x.org/set.zip")


def test_pictures_in_hidden_folders_beside_class_folders_are_counted(tmp_path):
    make(tmp_path, "a/0.png", "b/0.png", ".old/c/0.png", ".old/1.png")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("x")
    [note] = [note for note in read_data(tmp_path).notes if "hidden" in note]
    assert note == f"left out: 2 pictures in the hidden folder {tmp_path / '.old'}"


def test_folders_inside_class_folders_are_counted(tmp_path):
    make(tmp_path, "a/0.png", "a/day 1/1.png", "a/day 2/morning/2.png", "b/0.png")
    images = read_data(tmp_path)
    assert len(images) == 4
    [note] = [note for note in images.notes if "inside" in note]
    assert note.startswith("2 pictures of a lie in 2 folders inside")
    assert "(day 1, day 2)" in note


def test_inner_folders_of_many_classes_are_three_notes(tmp_path):
    make(tmp_path, *(f"{name}/day/0.png" for name in "abcde"))
    notes = [note for note in read_data(tmp_path).notes if "inside" in note]
    assert len(notes) == 3
    assert notes[2].endswith("; so it is in 2 other class folders")


def test_hidden_files_and_folders_are_counted(tmp_path):
    make(tmp_path, "a/0.png", "a/._0.png", "a/.thumbs/0.png", "b/0.png")
    [note] = [note for note in read_data(tmp_path).notes if "left out" in note]
    assert "1 x hidden file, 1 x hidden folder" in note


@pytest.mark.parametrize("place", [".", "a", "a/deep", "a/deep/er"])
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path, monkeypatch, place):
    make(tmp_path, "a/deep/er/0.png", "b/0.png")
    scan, refused = os.scandir, (tmp_path / place).resolve()

    def scandir(folder="."):
        if Path(folder).resolve() == refused:
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    monkeypatch.setattr(os, "listdir", lambda folder=".": [each.name for each in scandir(folder)])
    with pytest.raises(DataError, match=r"cannot read the folder .*Permission denied"):
        read_data(tmp_path)


def test_a_split_of_another_name_beside_real_ones_is_named(tmp_path):
    make(tmp_path, "train/cat/0.png", "train/dog/0.png", "Validation/cat/0.png", "old/cat/0.png")
    with pytest.raises(
        DataError, match=r"beside others \(Validation, old\).*\(Validation -> val\)"
    ):
        read_data(tmp_path)


def test_labels_of_a_manifest_that_are_splits_are_refused(tmp_path):
    make(tmp_path, "a/0.png", "b/0.png")
    (tmp_path / "m.csv").write_text("path,label\na/0.png,Train\nb/0.png,Test\n")
    with pytest.raises(DataError, match=r"the labels of .* look like splits"):
        read_data(tmp_path / "m.csv")


@pytest.mark.parametrize(
    "names", [["valid", "invalid"], ["Trains", "Buses"], ["devon", "cornish"], ["Train", "Bus"]]
)
def test_classes_are_no_splits_because_their_names_are_near(tmp_path, names):
    make(tmp_path, *(f"{name}/0.png" for name in names))
    assert read_data(tmp_path).classes == tuple(sorted(names))


def test_settings_of_a_split_that_the_data_has_already_are_refused(split_folders):
    with pytest.raises(ConfigError, match=r"val_fraction is not read: .* has splits of its own"):
        read_data(split_folders, DataConfig(val_fraction=0.2))


def test_a_listing_is_a_data_set_too(split_folders):
    listed = read_data(split_folders)
    assert read_data(listed) is listed
    assert str(listed) == str(split_folders)
    with pytest.raises(ConfigError, match="splits of its own"):
        read_data(listed, DataConfig(val_fraction=0.1))
    unsplit = replace(listed, splits=np.full(len(listed), ""))
    assert set(read_data(unsplit).splits) == {"train", "val", "test"}
    with pytest.MonkeyPatch.context() as patch:  # who needs paths only has nothing decoded
        patch.setattr("smallset.data.read._split", None)
        assert list_data(unsplit).paths == listed.paths
    assert [folds_for(each, DataConfig()).number for each in (listed, unsplit)] == [0, 5]


def test_data_without_test_is_dealt_into_folds_unless_settings_want_splits(split_folders):
    listed = read_data(split_folders)
    for there in (["train", "val"], ["train"], ["train", "extra"], ["train", "val", "test"]):
        images = listed.where(np.isin(listed.splits, there))
        images = replace(images, splits=np.resize(there, len(images)))
        usual = folds_for(images, DataConfig())
        assert usual.number == (0 if "test" in there else 5)
        assert folds_for(images, DataConfig(train_fraction=0.5)).number == 0
    only_val = replace(listed, splits=np.full(len(listed), "val"))
    assert folds_for(only_val, DataConfig()).number == 0


# -- Train and test without val --------------------------------------------------------------------


@pytest.fixture
def without_val(split_folders, tmp_path):
    shutil.copytree(split_folders, tmp_path / "set")
    shutil.rmtree(tmp_path / "set/val")
    return tmp_path / "set"


def test_val_is_carved_out_of_train_aloud(without_val):
    images = read_data(without_val)
    assert images.counts("val").tolist() == [1, 1, 1, 1]
    assert images.counts("train").tolist() == [7, 7, 7, 7]
    whole = read_data(without_val, DataConfig(val_fraction=0))
    assert whole.counts("train").tolist() == [8, 8, 8, 8]
    moved = images.splits != whole.splits
    assert set(whole.splits[moved]) == {"train"}
    assert any("4 of 32 training images became val (seed 0)" in note for note in images.notes)
    assert not any("became val" in note for note in whole.notes)
    again = read_data(without_val, DataConfig(split_seed=3, val_fraction=0.25))
    assert again.counts("val").tolist() == [2, 2, 2, 2]
    assert (again.splits == "val").tolist() != (images.splits == "val").tolist()
    assert set(read_data(without_val, DataConfig(folds=3)).splits) == {"train", "test", "extra"}
    with pytest.raises(ConfigError, match="test_fraction is not read"):
        read_data(without_val, DataConfig(test_fraction=0.3))


def test_copies_stay_on_one_side_of_the_carved_val(without_val):
    for n in range(6):
        shutil.copy(without_val / "train/ant/0.png", without_val / f"train/ant/copy-{n}.png")
    for seed in range(4):
        images = read_data(without_val, DataConfig(split_seed=seed, val_fraction=0.3))
        copies = [split for path, split in zip(images.paths, images.splits, strict=True)
                  if path == "train/ant/0.png" or "copy" in path]  # fmt: skip
        assert len(copies) == 7
        assert len(set(copies)) == 1


def test_among_many_images_no_copies_are_looked_for_and_that_is_said(without_val, monkeypatch):
    monkeypatch.setattr("smallset.data.read.MANY", 31)
    monkeypatch.setattr("smallset.data.families.families", None)
    images = read_data(without_val)
    assert images.counts("val").tolist() == [1, 1, 1, 1]
    assert "copies were not looked for among 32 images: some may be on both sides" in images.notes


def test_keep_best_val_trains_on_data_without_val(without_val, tiny, tmp_path):
    record = train_run(without_val, tiny(keep="best-val"), tmp_path / "run")
    assert record.result["val_accuracy"] is not None
    assert any("became val" in said for said in record.result["findings"])


def test_a_folder_of_the_wrong_level_says_which_is_the_right_one(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "up/photos" / name).mkdir(parents=True)
        picture(0, len(name)).save(tmp_path / "up/photos" / name / "0.png")
    with pytest.raises(DataError, match=r"look like classes \(ant, bee\): give \S+/up/photos$"):
        read_data(tmp_path / "up")
    with pytest.raises(
        DataError, match=r"it holds 1 picture without a class: give the folder above"
    ):
        read_data(tmp_path / "up/photos/ant")
