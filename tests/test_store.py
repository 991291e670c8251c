"""Folders of the cache: whole, or made again; nothing half-made stays."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from smallset import store
from smallset.errors import RunError
from smallset.files import LOCK, locked, write_json
from smallset.store import ALIVE, SEAL, build_folder, new_array, sound_folders


def fill(folder):
    (folder / "inner").mkdir()
    np.save(folder / "inner/a.npy", np.arange(1000))
    (folder / "b.txt").write_text("whole")


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at % len(content)] ^= 4
    path.write_bytes(content)


DAMAGE = {
    "a bit in the middle": lambda f: flip(f / "inner/a.npy", 5000),
    "a bit in the header": lambda f: flip(f / "inner/a.npy", 20),
    "a file cut": lambda f: (f / "inner/a.npy").write_bytes(b"\x93NUMPY"),
    "a file gone": lambda f: (f / "b.txt").unlink(),
    "a file more": lambda f: (f / "c.txt").touch(),
    "no seal, as before there were any": lambda f: (f / SEAL).unlink(),
    "a bit in the seal": lambda f: flip(f / SEAL, 30),
    "an empty seal": lambda f: (f / SEAL).write_text("{}"),
    "a seal of a list": lambda f: (f / SEAL).write_text('{"files": []}'),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_folder_is_made_again_with_a_note(tmp_path, what):
    notes = []
    folder = build_folder(tmp_path / "cache/key", fill, note=notes.append)
    DAMAGE[what](folder)
    again = build_folder(folder, fill, note=notes.append)
    assert (again / "b.txt").read_text() == "whole"
    np.testing.assert_array_equal(np.load(again / "inner/a.npy"), np.arange(1000))
    assert len(notes) == 1
    assert "is damaged (" in notes[0]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_whole_folder_is_verified_once_and_not_made_again(tmp_path, monkeypatch):
    folder = build_folder(tmp_path / "key", fill)
    reads = []
    monkeypatch.setattr(store, "file_sum", lambda path: reads.append(path) or _sum(path))
    for _ in range(3):
        build_folder(folder, lambda _: pytest.fail("made again"))
    assert len(reads) == 2


_sum = store.file_sum


def hang(folder, ready):
    def slow(aside):
        (aside / "half").write_bytes(bytes(1000))
        ready.set()
        time.sleep(60)

    build_folder(folder, slow)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals")
def test_what_a_killed_process_left_goes_at_the_next_start_and_a_living_ones_stays(tmp_path):
    context = multiprocessing.get_context("fork")
    build_folder(tmp_path / "there", fill)
    ready = [context.Event(), context.Event()]
    killed, living = (
        context.Process(target=hang, args=(tmp_path / f"key{n}", ready[n])) for n in range(2)
    )
    killed.start()
    living.start()
    assert all(each.wait(20) for each in ready)
    assert killed.pid
    os.kill(killed.pid, signal.SIGKILL)
    killed.join()
    assert len(list(tmp_path.glob(".*/half"))) == 2
    build_folder(tmp_path / "there", fill)
    left = [path.parent.name for path in tmp_path.glob(".*/half")]
    assert len(left) == 1
    assert left[0].startswith(".key1")
    living.terminate()
    living.join()


def fill_large(folder):
    new_array(folder / "a.npy", (9, 9), np.float32)


def test_a_full_disk_is_one_message_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(RunError, match=r"cannot write .*No space left.*SMALLSET_CACHE"):
        build_folder(tmp_path / "key", fill_large)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("can", [True, False])
def test_a_new_array_has_its_room_on_the_disk(tmp_path, monkeypatch, can):
    def cannot(*_):
        raise OSError(95, "Operation not supported")

    if not can:
        monkeypatch.setattr(os, "posix_fallocate", cannot, raising=False)
    array = new_array(tmp_path / "a.npy", (300, 1000), np.float64)
    at = (tmp_path / "a.npy").stat()
    assert getattr(at, "st_blocks", at.st_size) * 512 >= 300 * 1000 * 8
    array[7] = 3
    array.flush()
    assert np.load(tmp_path / "a.npy").sum() == 3000


def test_a_full_disk_at_a_small_file_names_the_folder_and_not_what_is_aside(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("smallset.files.os.fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*/key: No space left.*SMALLSET_CACHE"):
        build_folder(tmp_path / "key", lambda aside: write_json(aside / "index.json", {}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opened", [build_folder, lambda key, _: list(sound_folders(key.parent))])
def test_locks_of_the_dead_go_though_nothing_is_to_be_made(tmp_path, opened):
    build_folder(tmp_path / "key", fill)
    (tmp_path / LOCK).touch()  # killed at the beginning, or at the end
    (tmp_path / f".other-1{ALIVE}").touch()
    opened(tmp_path / "key", lambda _: pytest.fail("made again"))
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_folder_aside_is_never_there_without_its_lock(tmp_path, monkeypatch):
    make, seen = Path.mkdir, []

    def mkdir(path, *args, **kwargs):
        seen.append(path.with_name(path.name + ALIVE).exists())
        make(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    build_folder(tmp_path / "key", lambda aside: (aside / "a").touch())
    assert seen[-1]


def test_a_lock_goes_with_who_has_it(tmp_path):
    lock = tmp_path / LOCK
    lock.touch()  # of one that was killed
    with locked(lock):
        with pytest.raises(RunError, match="in use"), locked(lock, "in use"):
            pass
        assert lock.exists()
    assert not lock.exists()
