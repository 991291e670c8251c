"""Whatever happens to a file, its reader names it and says what to do, or reads the same."""

import csv
import io
import json
import os
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from support import damaged

from smallset import contents
from smallset.errors import DataError, SmallsetError
from smallset.files import csv_text, write_arrays, write_json
from smallset.models.weights import read_weights
from smallset.reading import (
    read_array,
    read_arrays,
    read_csv,
    read_json,
    read_json_lines,
    reading,
)
from smallset.record.predictions import Predictions, read_predictions, write_predictions
from smallset.settings import read_toml

EPOCH = {
    "stage": 0, "objective": "cross-entropy", "collapsed_loss": None, "epoch": 0, "lr": 0.1,
    "train_loss": 1.5, "train_accuracy": 0.5, "val_loss": None, "val_accuracy": None, "seconds": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("files")
    write_json(folder / "a.json", {"digest": "ab12", "shares": [0.25, 0.5], "n": None, "ü": "ü"})
    lines = [json.dumps(EPOCH | {"epoch": n}) for n in range(3)]
    (folder / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    write_arrays(folder / "a.npz", train=np.arange(12.0).reshape(3, 4), test=np.zeros((2, 4)))
    np.save(folder / "a.npy", np.arange(30.0))
    (folder / "a.toml").write_text('seed = 3\n[optim]\nmomentum = 0.9\nname = "sgd"\n')
    save_file({"weight": torch.ones(2, 3)}, folder / "a.safetensors")
    torch.save({"weight": torch.ones(2, 3)}, folder / "a.pth")
    probs = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    write_predictions(folder, Predictions(
        ("i1", "i2"), ("x/a\r.png", "x/b,\u2028.png"), np.array(["train", "test"]),
        ("one", "two", "three"), np.array([0, 2]), np.array([1, 2]), probs,
    ))  # fmt: skip
    return folder


def weights(path):
    with reading(path):
        return load_file(path)


READERS = {
    "a.json": read_json,
    "a.jsonl": lambda path: read_json_lines(path, contents.Epoch),
    "a.npz": lambda path: read_arrays(path, "train"),
    "a.npy": lambda path: read_array(path, mapped=True),
    "a.toml": read_toml,
    "a.safetensors": weights,
    "a.pth": lambda path: read_weights(path).tensors,
    "predictions.csv": lambda path: _predictions(path),
}


def _predictions(path):
    with reading(path):
        return read_predictions(path)


def refusal(read, path):
    """What a reader says against a file; whatever else it raises fails the test."""
    try:
        read(path)
    except SmallsetError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_is_read_or_named_never_a_traceback(place, tmp_path, name):
    whole, rng = (place / name).read_bytes(), np.random.default_rng([7, len(name)])
    READERS[name](place / name)
    path, refused = tmp_path / name, 0
    for _ in range(150):
        path.write_bytes(damaged(whole, rng))
        error = refusal(READERS[name], path)
        assert error is None or name in error
        refused += error is not None
    assert refused > 50


def test_no_damage_to_a_json_file_of_smallset_goes_unseen(place, tmp_path):
    path = tmp_path / "a.json"
    whole, said = (place / "a.json").read_bytes(), read_json(place / "a.json")
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
            if refusal(read_json, path) is None:  # another blank between two values, say
                assert read_json(path) == said


def test_a_change_on_purpose_is_possible_and_said(place, tmp_path):
    path = tmp_path / "a.json"
    content = json.loads((place / "a.json").read_text())
    path.write_text(json.dumps(content | {"digest": "other"}))
    with pytest.raises(DataError, match=r"a\.json .* changed .* or delete its entry 'written'"):
        read_json(path)
    path.write_text(json.dumps({"digest": "other"}))
    assert read_json(path) == {"digest": "other"}


@pytest.mark.parametrize(
    "later",
    [{"written": {"format": 2, "crc32": ""}}, {"versions": {"smallset": "7.0.1"}, "config": 3}],
)
def test_what_a_later_version_wrote_is_named_as_such(tmp_path, later):
    (tmp_path / "a.json").write_text(json.dumps(later))
    with pytest.raises(DataError, match=r"a\.json was written by .*: update smallset"):
        read_json(tmp_path / "a.json", contents.Config)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{" * 100_000, '{"a": 1e999}x', '{"a": ' + "1" * 5000 + "}", "3", "",
             '{"a": 1, "a": 2}', "\ufeff{}", '{"digest": NaN', '{"digest": 5}'],
)  # fmt: skip
def test_json_of_another_kind_is_damage(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=r"a\.json is damaged \("):
        read_json(tmp_path / "a.json", contents.Config)


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.text(
    "a\"',;\r\n\v\f\x1c\x85\u2028\u2029\x00\t \\=+-@\ufeff", max_size=6
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(NAMES, min_size=2, max_size=2), max_size=5))
def test_whatever_is_written_as_csv_reads_back(rows):
    from pathlib import Path
    from tempfile import TemporaryDirectory

    rows = [row for row in rows if row != ["path", "label"]]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_bytes(csv_text([["path", "label"], *rows]).encode())
        assert read_csv(path) == (["path", "label"], rows)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('a,b\n"1,2\n3,4\n', "line"), ("a,b\n1,2,3\n", "line 2 has 3 cells, and the header 2"),
        ("a,b\n1\n", "line 2 has 1 cells"), ("a,b\n1,2\na,b\n", "line 3 is the header again"),
        ("a,a\n1,2\n", "column 'a' twice"), ('a,b\n"1"x,2\n', "line 2"),
        ("a,b\n" + "1" * 200_000 + ",2\n", "line 2: field larger"),
        ('a,b\n"1\n\n2",3\n4\n', "line 5 has 1 cells"),
    ],
)  # fmt: skip
def test_csv_is_read_strictly(tmp_path, text, why):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=why):
        read_csv(tmp_path / "a.csv")


def test_a_flipped_cell_of_predictions_that_reads_well_is_seen_by_the_row(place, tmp_path):
    rows = list(csv.reader(io.StringIO((place / "predictions.csv").read_text(), newline="")))
    for column, cell in ((2, "tram"), (3, "tvo"), (5, "two"), (6, "0.1"), (6, "nan"), (7, "-1")):
        other = [list(row) for row in rows]
        other[1][column] = cell
        (tmp_path / "predictions.csv").write_text(csv_text(other))
        with pytest.raises(DataError, match=r"predictions\.csv is damaged \("):
            _predictions(tmp_path / "predictions.csv")


def test_a_class_may_be_called_as_a_part_of_the_seal_is(tmp_path):
    write_json(tmp_path / "a.json", {"recall": {"crc32": 0.5, "format": 1.0}})
    assert read_json(tmp_path / "a.json") == {"recall": {"crc32": 0.5, "format": 1.0}}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_umask_leaves(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        for _ in range(2):  # new, and in the place of another
            write_json(tmp_path / "a.json", {"a": 1})
    finally:
        os.umask(before)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
