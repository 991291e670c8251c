import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from support import picture

import smallset.data.cache as cache
from smallset.data.pictures import resize
from smallset.data.preprocessing import Square
from smallset.data.read import read_data
from smallset.errors import RunError


@pytest.fixture
def folder(tmp_path, split_folders):
    shutil.copytree(split_folders, tmp_path / "set")
    return tmp_path / "set"


def load(folder, size=32):
    return cache.load_pixels(read_data(folder), Square(size=size))


def test_rows_are_the_resized_pictures(folder):
    images = read_data(folder)
    pixels = load(folder)
    for row in (0, 17, len(images) - 1):
        expected = resize(Image.open(images.root / images.paths[row]), 32, "squash")
        np.testing.assert_array_equal(pixels.array[row], expected)


def test_the_second_time_nothing_is_decoded(folder, monkeypatch):
    first = load(folder)
    monkeypatch.setattr(cache, "_decode_all", None)
    second = load(folder)
    assert second.ids == first.ids
    np.testing.assert_array_equal(second.array, first.array)


def test_a_file_changed_behind_its_time_and_size_is_seen(folder):
    path = folder / "train/ant/0.png"
    image = picture(0, 1).convert("RGB")
    image.save(path, "BMP")
    before, stat = load(folder), path.stat()
    picture(1, 2).save(path, "BMP")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    after = load(folder)
    row = read_data(folder).paths.index("train/ant/0.png")
    assert after.ids[row] != before.ids[row]
    assert (after.array[row] != before.array[row]).any()


def test_size_and_policy_have_arrays_of_their_own(folder):
    assert load(folder, 32).array.shape[1:] == (32, 32, 3)
    assert load(folder, 48).array.shape[1:] == (48, 48, 3)


def test_sizes_that_others_will_ask_for_are_made_in_one_decoding(folder, tmp_path, monkeypatch):
    images, squares = read_data(folder), [Square(size=32), Square(size=48, resize="crop")]
    apart = [cache.load_pixels(images, each) for each in squares]
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    decoded, usual = [], cache.decode

    def counted(*args, **kwargs):
        decoded.append(1)
        return usual(*args, **kwargs)

    monkeypatch.setattr(cache, "decode", counted)
    cache.load_pixels(images, squares[0], also=squares)
    together = [cache.load_pixels(images, each) for each in squares]
    assert len(decoded) == len(images)
    for one, other in zip(apart, together, strict=True):
        assert (one.ids, one.errors, one.folder.name) == (
            other.ids, other.errors, other.folder.name
        )  # fmt: skip
        np.testing.assert_array_equal(one.array, other.array)


def test_a_file_that_another_set_holds_is_not_decoded_again(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    bad = folder / "train/ant/0.png"
    bad.write_bytes(bad.read_bytes()[:300])
    before = load(folder)
    picture(2, 999).save(folder / "train/ant/new.png")
    decoded, usual = [], cache.decode

    def counted(content, **limits):
        decoded.append(content)
        return usual(content, **limits)

    monkeypatch.setattr(cache, "decode", counted)
    images, after = read_data(folder), load(folder)
    assert decoded == [(folder / "train/ant/new.png").read_bytes()]
    for row, path in enumerate(images.paths):
        if path not in ("train/ant/new.png", "train/ant/0.png"):
            expected = resize(Image.open(images.root / path), 32, "squash")
            np.testing.assert_array_equal(after.array[row], expected)
    assert sorted(after.errors.values()) == sorted(before.errors.values())
    some = images.where(images.splits == "test")
    assert cache.load_pixels(some, Square(size=32)).ids == tuple(
        after.ids[row] for row in np.flatnonzero(images.splits == "test")
    )
    assert len(decoded) == 1


def test_unreadable_files_are_listed_and_the_others_decoded(folder):
    bad = folder / "train/ant/0.png"
    bad.write_bytes(bad.read_bytes()[:300])
    pixels = load(folder)
    row = read_data(folder).paths.index("train/ant/0.png")
    assert list(pixels.errors) == [row]
    assert "cut short" in pixels.errors[row]
    assert pixels.readable.sum() == len(pixels.ids) - 1
    assert pixels.ids[row] == ""


def test_several_processes_at_a_time_see_one_whole_array(folder, tmp_path):
    code = (
        "import sys; from smallset.data.read import read_data;"
        "from smallset.data.cache import load_pixels;"
        "from smallset.data.preprocessing import Square;"
        "p = load_pixels(read_data(sys.argv[1]), Square(size=64));"
        "print(p.folder.name, int(p.array.sum(dtype='int64')))"
    )
    environment = {**os.environ, "SMALLSET_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-c", code, str(folder)]
    running = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    told = {process.communicate()[0] for process in running}
    assert all(process.returncode == 0 for process in running)
    assert len(told) == 1
    # One array is left, and nothing half-made beside it.
    assert len(list((tmp_path / "cache" / "decoded").iterdir())) == 1


def test_a_failed_decoding_leaves_nothing_behind(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "decode", fail)
    with pytest.raises(RunError, match=r"cannot write .*No space left.*SMALLSET_CACHE"):
        load(folder)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
