"""What the disk and the user may hold: names, pipes, huge files; nothing hangs, nothing is lost."""

import os
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from smallset import api
from smallset.data.cache import load_pixels
from smallset.data.listing import ImageSet
from smallset.data.names import with_sound_names
from smallset.data.preprocessing import Square
from smallset.data.read import read_data
from smallset.errors import DataError


def listing(tmp_path, classes=("a", "b"), paths=None):
    paths = tuple(paths or (f"{k}.png" for k in range(len(classes))))
    labels = np.arange(len(paths)) % len(classes)
    return ImageSet(tmp_path, tuple(classes), paths, labels, np.full(len(paths), "train"))


CONTROL = [chr(code) for code in (*range(1, 32), 127, 0x85, 0x9B, 0x2028, 0x2029)]


@given(
    before=st.text("ab \u4e2d$=", max_size=3),
    odd=st.sampled_from(CONTROL),
    after=st.text("xy", max_size=2),
)
@settings(max_examples=60, deadline=None)
def test_control_characters_in_class_names_are_refused(tmp_path_factory, before, odd, after):
    images = listing(tmp_path_factory.getbasetemp(), ("fine", before + odd + after))
    with pytest.raises(DataError, match="has control characters in its name; rename it") as error:
        with_sound_names(images, images.root)
    assert str(error.value).isprintable()


@given(
    name=st.binary(min_size=1, max_size=6).map(os.fsdecode).filter(lambda n: not n.isprintable())
)
@settings(max_examples=60, deadline=None)
def test_file_names_are_utf8_or_refused_by_name(tmp_path_factory, name):
    images = listing(tmp_path_factory.getbasetemp(), paths=("0.png", f"a/{name}.png"))
    try:
        name.encode()
    except UnicodeEncodeError:
        with pytest.raises(DataError, match=r"not UTF-8: 1 file name below") as error:
            with_sound_names(images, images.root)
        str(error.value).encode()  # the message itself can be printed
    else:
        assert with_sound_names(images, images.root) is images


def test_a_locale_that_is_not_utf8_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "getfilesystemencoding", lambda: "ascii")
    with pytest.raises(DataError, match=r"the locale reads file names as ascii.*set PYTHONUTF8=1"):
        with_sound_names(listing(tmp_path, paths=("0.png", "caf\udcc3\udca9.png")), tmp_path)
    assert with_sound_names(listing(tmp_path), tmp_path).notes == ()


@given(st.text(st.characters(categories=["L", "M", "N", "P", "S"]), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_every_printable_name_is_a_class(tmp_path_factory, name):
    root = tmp_path_factory.getbasetemp()
    images = with_sound_names(listing(root, ("fine", name)), root)
    assert bool(images.notes) == name.startswith(("=", "+", "-", "@"))


@pytest.mark.parametrize("name", ["Café", "naïve", "Ångström"])
def test_two_spellings_of_one_name_are_refused(tmp_path, name):
    twins = [unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    with pytest.raises(DataError, match="spelling of accents"):
        with_sound_names(listing(tmp_path, twins), tmp_path)


@pytest.mark.parametrize("hidden", ["\u200b", "\u00ad", "\ufeff", "\u200e"])
def test_classes_that_differ_in_what_is_not_seen_are_refused(tmp_path, hidden):
    with pytest.raises(DataError, match=r"differ in .*invisible characters"):
        with_sound_names(listing(tmp_path, ("cat", f"ca{hidden}t")), tmp_path)
    with pytest.raises(DataError, match="give it one that shows"):
        with_sound_names(listing(tmp_path, ("cat", hidden)), tmp_path)


@pytest.mark.parametrize("turning", ["\u202e", "\u2066"])
def test_a_class_that_turns_the_text_around_it_is_refused(tmp_path, turning):
    with pytest.raises(DataError, match=r"\\u20.*control characters"):
        with_sound_names(listing(tmp_path, ("cat", f"{turning}dog")), tmp_path)


def test_names_are_looked_at_before_anything_is_decoded(tmp_path, monkeypatch):
    place = tmp_path / "data"
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(place / name / "0.png")
    (place / "a" / "0.png").rename(place / "a" / os.fsdecode(b"\xff\xfe.png"))
    monkeypatch.setattr("smallset.data.cache._decode_all", None)
    with pytest.raises(DataError, match=r"not UTF-8: .*\\udcff"):
        api.train(place, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def odd_files(tmp_path):
    """A class of two pictures and, named like pictures, what must not be opened."""
    place = tmp_path / "data"
    for name in ("a", "b"):
        (place / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (len(name), number, 9)).save(place / name / f"{number}.png")
    os.mkfifo(place / "a" / "pipe.jpg")
    (place / "a" / "zero.jpg").symlink_to("/dev/zero")
    (place / "a" / "gone.jpg").symlink_to("/nowhere/at/all")
    with (place / "a" / "huge.jpg").open("wb") as file:
        file.truncate(20_000_000_000)  # takes no room
    return place


def test_only_regular_files_of_some_size_are_opened(odd_files):
    images = read_data(odd_files)
    pixels = load_pixels(images, Square(size=8))
    said = {images.paths[row]: why for row, why in pixels.errors.items()}
    assert set(said) == {f"a/{name}.jpg" for name in ("pipe", "zero", "gone", "huge")}
    assert "not a regular file" in said["a/pipe.jpg"]
    assert "not a regular file" in said["a/zero.jpg"]
    assert said["a/gone.jpg"] == "cannot be opened: No such file or directory"
    assert said["a/huge.jpg"] == "20,000,000,000 bytes; the limit is 512,000,000"
    assert load_pixels(images, Square(size=8)).errors == pixels.errors  # from the cache


def test_a_file_that_can_be_opened_now_is_no_longer_unreadable(odd_files):
    images = read_data(odd_files)
    load_pixels(images, Square(size=8))
    (odd_files / "a" / "pipe.jpg").unlink()
    Image.new("RGB", (8, 8)).save(odd_files / "a" / "pipe.jpg")
    assert "a/pipe.jpg" not in {
        images.paths[row] for row in load_pixels(images, Square(size=8)).errors
    }


def test_check_names_them_and_train_leaves_them_out_when_asked(odd_files, tmp_path, tiny):
    _, problems = api.check(odd_files)
    assert sum(problem.kind == "unreadable" for problem in problems) == 4
    with pytest.raises(DataError, match="4 unreadable file"):
        api.train(odd_files, tiny(), out=tmp_path / "run")
