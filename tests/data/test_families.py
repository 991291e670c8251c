"""Copies and bursts are on one side of every split that smallset draws."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from smallset.data.bursts import burst_of, numbered_bursts
from smallset.data.families import families
from smallset.data.listing import ImageSet
from smallset.data.read import read_data
from smallset.data.split import split_images
from smallset.groups import DataConfig
from smallset.progress import Reporter

CONFIG = DataConfig()


def scene(*seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (10, 10, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


@pytest.fixture
def unsplit(tmp_path):
    """Two classes of 20 scenes, with names that say nothing."""
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for n in range(20):
            scene(label, n).save(tmp_path / name / f"{'abcdefghijklmnopqrst'[n]}.png")
    return tmp_path


def split_of(images):
    return dict(zip(images.paths, images.splits.tolist(), strict=True))


def test_copies_of_every_kind_are_on_one_side_and_it_is_said(unsplit):
    for n, name in enumerate("abcdefgh"):
        original = Image.open(unsplit / "a" / f"{name}.png")
        ImageOps.mirror(original).save(unsplit / "a" / f"zz{name}.png")
        if n % 2:
            shutil.copy(unsplit / "a" / f"{name}.png", unsplit / "b" / f"zz{name}.png")
    for seed in range(4):
        images = read_data(unsplit, DataConfig(split_seed=seed))
        at = split_of(images)
        for n, name in enumerate("abcdefgh"):
            same = {at[f"a/{name}.png"], at[f"a/zz{name}.png"]}
            assert len(same | ({at[f"b/zz{name}.png"]} if n % 2 else set())) == 1
        assert images.notes[-1] == (
            "20 images in 8 groups (equal pixels, near copies) kept on one side of the split"
        )
        for split, count in {"train": 31, "val": 8, "test": 13}.items():
            assert abs((images.splits == split).sum() - count) <= 2
        assert split_of(read_data(unsplit, DataConfig(split_seed=seed))) == at


def test_without_copies_the_split_is_the_one_by_class(unsplit):
    images = read_data(unsplit, CONFIG)
    bare = replace(images, splits=np.full(len(images), ""), notes=())
    np.testing.assert_array_equal(split_images(bare, CONFIG).splits, images.splits)
    assert not any("one side" in note for note in images.notes)


def test_families_leave_every_class_its_share(unsplit):
    images = read_data(unsplit, CONFIG)
    names = [f"{n}" for n in range(len(images))]
    names[1] = names[0]
    shared = split_images(images, CONFIG, names)
    for split in ("train", "val", "test"):
        np.testing.assert_array_equal(shared.counts(split), images.counts(split))


def test_pictures_that_are_all_alike_are_not_one_family(tmp_path):
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for n in range(12):
            pixels = np.asarray(scene(label)).astype(int)
            pixels[n] += 1
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / name / f"{n}.png")
    images = read_data(tmp_path, CONFIG)
    known = families(images, CONFIG, Reporter())
    assert len(set(known.names)) == 24
    assert known.said == ""
    assert [sentence.split(":")[0] for sentence in known.apart] == [
        "near copies of a, b are not kept together"
    ]


def test_near_copies_of_one_class_are_given_up_and_those_of_others_are_not(unsplit):
    for n in range(12):
        pixels = np.asarray(scene(9)).astype(int)
        pixels[n] += 1
        (unsplit / "icons").mkdir(exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(unsplit / f"icons/{n}.png")
    ImageOps.mirror(Image.open(unsplit / "a/c.png")).save(unsplit / "a/zz.png")
    known = families(read_data(unsplit, DataConfig(folds=2)), CONFIG, Reporter())
    assert known.said == "2 images in 1 group (near copies)"
    assert [sentence.split(":")[0] for sentence in known.apart] == [
        "near copies of icons are not kept together"
    ]


# -- Bursts ----------------------------------------------------------------------------------------


def named(names, labels=None):
    labels = np.zeros(len(names), dtype=int) if labels is None else np.array(labels)
    return ImageSet(Path("nowhere"), ("a", "b"), tuple(names), labels, np.full(len(names), ""))


def test_the_time_in_a_name_makes_a_burst(tmp_path):
    names = [
        "IMG_20260102_101500.jpg", "IMG_20260102_101504.jpg", "IMG_20260102_111504.jpg",
        "PXL_20260102_101502123.jpg", "2026-01-02 10.15.05.jpg", "2026-01-02 10.15.11.jpg",
        "20269902_101500.jpg", "20269902_101501.jpg", "plain.jpg",
    ]  # fmt: skip
    bursts = burst_of(replace(named(names), root=tmp_path))
    assert bursts[0] == bursts[1] != bursts[2]
    assert bursts[4] == bursts[5]
    assert len(set(bursts[:4])) == 3  # another camera
    assert bursts[6:] == ["", "", ""]


def test_neighbours_by_number_are_a_burst_where_they_look_alike_more_than_others():
    images = named([f"DSC_{n:04}.jpg" for n in range(40)])
    of_fives = numbered_bursts(images, lambda pairs: (pairs[:, 0] // 5 == pairs[:, 1] // 5) * 1.0)
    assert [len(set(of_fives[n : n + 5])) for n in range(0, 40, 5)] == [1] * 8
    assert len(set(of_fives)) == 8
    # Where pictures far apart are as alike as neighbours, numbers say nothing.
    assert set(numbered_bursts(images, lambda pairs: np.ones(len(pairs)))) == {""}
    assert set(numbered_bursts(images, lambda pairs: np.zeros(len(pairs)))) == {""}
    # Gaps and other names part them.
    apart = named([f"DSC_{100 * n:04}.jpg" for n in range(40)])
    assert set(numbered_bursts(apart, lambda pairs: np.ones(len(pairs)))) == {""}


def test_bursts_by_number_are_on_one_side(tmp_path):
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for n in range(24):
            base = np.asarray(scene(label, n // 4)).astype(float)
            own = np.asarray(scene(label, n, 7)).astype(float)
            Image.fromarray((0.75 * base + 0.25 * own).astype(np.uint8)).save(
                tmp_path / name / f"DSC{n:04}.png"
            )
    images = read_data(tmp_path, CONFIG)
    at = split_of(images)
    for name in "ab":
        for first in range(0, 24, 4):
            assert len({at[f"{name}/DSC{first + k:04}.png"] for k in range(4)}) == 1
    assert "in 12 groups (near copies, bursts by number)" in images.notes[-1]


def test_a_class_that_is_one_burst_is_in_every_split(tmp_path):
    for label, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        for n in range(15):
            scene(label, n).save(tmp_path / name / f"IMG_20260102_1015{4 * n:02}.png")
    # Three bursts, none of which is most of the class, are too few to deal out.
    (tmp_path / "c").mkdir()
    for n in range(12):
        scene(2, n).save(tmp_path / "c" / f"IMG_20260102_1{n // 4}15{4 * n:02}.png")
    images = read_data(tmp_path, CONFIG)
    for split in ("train", "val", "test"):
        assert (images.counts(split) > 0).all()
    assert images.notes[-1].startswith("bursts by time of a, b, c are not kept together: one side")
