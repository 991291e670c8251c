"""Manifests: what is written reads back, and nothing in one is guessed."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from smallset.clean.review import Review
from smallset.data.cleaned import COLUMNS
from smallset.data.listing import ImageSet
from smallset.data.manifest import manifest_text, read_manifest
from smallset.data.read import read_data
from smallset.errors import DataError
from smallset.files import csv_text, write_json
from smallset.groups import DataConfig

ODD = "a\"',;:\r\n\v\f\x1c\x85\u2028\u2029\t =+-@é"
NO_CHECKS = (HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much)
NAMES = st.text(ODD, min_size=1, max_size=4).filter(lambda name: name.strip())


@settings(max_examples=60, deadline=None, suppress_health_check=NO_CHECKS)
@given(
    st.lists(NAMES, min_size=2, max_size=4, unique=True),
    st.lists(NAMES, min_size=2, max_size=3, unique_by=lambda n: "".join(n.split()).casefold()),
    st.booleans(), st.booleans(),
)  # fmt: skip
def test_whatever_a_manifest_says_reads_back(names, classes, has_split, has_group):
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for name in names:
            (root / name).touch()
        labels = np.arange(len(names)) % len(classes)
        classes = sorted(classes)
        assume(set(labels) == set(range(len(classes))))
        images = ImageSet(
            root, tuple(classes), tuple(names), labels,
            np.array(["train", "test"] * 2)[: len(names)] if has_split else np.full(len(names), ""),
            groups=tuple(f"{name}," for name in names) if has_group else None,
        )  # fmt: skip
        path = root / "all.csv"
        path.write_bytes(manifest_text(images, path).encode())
        read = read_manifest(path)
        assert (read.paths, read.classes, read.groups) == (
            images.paths,
            images.classes,
            images.groups,
        )
        np.testing.assert_array_equal(read.labels, images.labels)
        np.testing.assert_array_equal(read.splits, images.splits)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('path,label\na.png,"cat\nb.png,dog\n', "no manifest as it stands: line"),
        ("path,label\na.png,cat,train\nb.png,dog\n", "line 2 has 3 cells, and the header 2"),
        ("path,label\na.png\n", "line 2 has 1 cells"),
        ("path,label\na.png,cat\npath,label\nb.png,dog\n", "line 3 is the header again"),
        ("path,label,label\na.png,cat,dog\n", "column 'label' twice"),
        ("path,label\na.png,  \nb.png,dog\n", "image 1: 'label' is missing or empty"),
        ("path,label\na.png,cat\nb.png,Cat\n", "'Cat' and 'cat' .* differ in case, spaces"),
        ("path,label\na.png,cat\nb.png,cat \n", "'cat' and 'cat ' .* differ in case, spaces"),
        ("path,label\na.png,e\u0301\nb.png,\u00e9\n", "differ in case, spaces"),
        ("path;label\na.png;cat\n", "no column path and label.* divided by ';': save it"),
        ("path,label,subset\na.png,c,Train\nb.png,d,testing\n", "'subset' .* looks like 'split'"),
        ("path,label,Split\na.png,c,1\nb.png,d,2\n", "'Split' .1, 2. looks like 'split', which"),
        ("path,label,is_test\na.png,c,0\nb.png,d,1\n", "'is_test' .0, 1. looks like 'split'"),
        ("path,label,Groups\na.png,c,x\nb.png,d,y\n", "'Groups' .x, y. looks like 'group'"),
        ("Filename,class name\na.png,cat\n", "rename Filename -> path, class name -> label"),
        ("a.png,cat\nb.png,dog\n", "names an image: write the names of the columns above it"),
        ("path,label\na.png,c\udc00t\n", "as UTF-8.*; save it as UTF-8"),
    ],
)  # fmt: skip
def test_a_csv_manifest_is_read_strictly(tmp_path, text, why):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "m.csv").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(DataError, match=why) as raised:
        read_data(tmp_path / "m.csv")
    assert "m.csv" in str(raised.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"path": "a.png", "label": ["cat"]}', r"line 1: 'label' must be text .* \[\"cat\"\]"),
        ('{"path": "a.png", "label": 1.5}', "'label' must be text or a whole number, got 1.5"),
        ('{"path": "a.png", "label": true}', "got true"),
        ('{"path": 3, "label": "cat"}', "'path' must be text"),
        ('{"path": "a.png", "label": ""}', "'label' is missing or empty"),
        ('{"path": "a.png", "label": null}', "'label' is missing or empty"),
        ('{"path": "a.png", "label": "cat", "label": "dog"}', "'label' is there twice"),
        ('{"path": "a.png", "label": ' + "9" * 5000 + "}", "line 1 is not JSON"),
        ("[" * 100_000, "line 1 is not JSON"),
        ('["a.png", "cat"]', "must be an object with path and label"),
    ],
)
def test_a_json_manifest_is_read_strictly(tmp_path, line, why):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    (tmp_path / "m.jsonl").write_text(f'{line}\n{{"path": "b.png", "label": "dog"}}\n')
    with pytest.raises(DataError, match=why) as raised:
        read_data(tmp_path / "m.jsonl")
    assert "m.jsonl" in str(raised.value)


def test_a_split_under_another_name_is_refused_in_json_too_and_other_columns_stay(tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    rows = [{"path": "a.png", "label": "c"}, {"path": "b.png", "label": "d"}]
    lines = [{**row, "set": word, "n": 1} for row, word in zip(rows, ["val", "TEST"], strict=True)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(DataError, match=r"m.jsonl: the column 'set' .test, val. looks like"):
        read_data(tmp_path / "m.jsonl")
    # With a split of its own, and words that are no splits, other columns are only not read.
    text = "path,label,split,subset,test,notes\na.png,c,train,val,1,x\nb.png,d,test,val,0,x\n"
    (tmp_path / "m.csv").write_text(text)
    assert read_data(tmp_path / "m.csv", DataConfig(val_fraction=0)).splits.tolist() == [
        "train", "test",
    ]  # fmt: skip


def test_folders_that_differ_in_case_alone_are_refused(tmp_path):
    for name in ("Cat", "cat"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    if len(list(tmp_path.iterdir())) == 1:
        pytest.skip("this disk does not tell case")
    with pytest.raises(DataError, match=r"'Cat' and 'cat' .* differ in case"):
        read_data(tmp_path)


# -- Cleaned sets ----------------------------------------------------------------------------------

LINES = ["a\u2028b.png", "a\x85.png", "c\f.png", "d\r.png", "e\n.png", "plain.png"]


@pytest.fixture
def cleaned(tmp_path):
    rows = [
        [f"{split}/{label}/{name}", f"id-{n}{label}", label, "dog" if label == "cat" else "cat",
         "0.2", "keep", "smallset"]
        for split in ("train",) for label in ("cat", "dog") for n, name in enumerate(LINES)
    ]  # fmt: skip
    for row in [*rows, ["test/cat/x.png"], ["test/dog/x.png"]]:
        path = tmp_path / "data" / row[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    folder = tmp_path / "clean"
    folder.mkdir()
    about = {"data": str(tmp_path / "data"), "noise": {"rate": 0, "seed": 0}}
    write_json(folder / "clean.json", about | {"splits": ["train"], "images": len(rows)})
    (folder / "labels.csv").write_bytes(csv_text([list(COLUMNS), *rows]).encode())
    return folder


def test_a_cleaned_set_with_odd_names_reads_as_its_data(cleaned):
    assert len(read_data(cleaned)) == 14


def test_a_decision_is_taken_back_where_names_hold_line_separators(cleaned):
    review = Review(cleaned, "ann")
    before = review.rows()
    for number in range(12):
        review.decide(number, "drop", "", seen=review.rows()[number].state)
    for number in reversed(range(12)):
        assert review.undo() == [number]
    assert review.rows() == before
    assert review.undo() == []


@pytest.mark.parametrize("seed", range(8))
def test_labels_that_lost_or_repeat_rows_are_refused(cleaned, seed):
    rng, path = np.random.default_rng(seed), cleaned / "labels.csv"
    lines = path.read_bytes().split(b"smallset\n")
    at = int(rng.integers(1, len(lines) - 1))
    other = [
        [*lines[:at], *lines[at + 1 :]],
        [*lines[:at], lines[at], *lines[at:]],
        [*lines[:at], b""],
        [*lines[:at], lines[at - 1], *lines[at + 1 :]],
    ][seed % 4]
    path.write_bytes(b"smallset\n".join(other))
    with pytest.raises(DataError, match=r"(?s)labels\.csv.*(is damaged|is there twice)") as raised:
        read_data(cleaned)
    assert "run smallset clean again" in str(raised.value)


def test_a_split_that_the_first_row_lacks_is_not_forgotten(tmp_path):
    rows = [{"path": f"{n}.png", "label": "ab"[n % 2], "split": "train"} for n in range(4)]
    del rows[0]["split"]
    for row in rows:
        (tmp_path / row["path"]).touch()
    (tmp_path / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="image 1: 'split' is missing or empty; give every"):
        read_data(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("name", "why"),
    [("pictures.zip", "; unpack it, and give the folder"), ("labels.xlsx", "; save it as .csv")],
)
def test_what_is_no_manifest_is_told_how_to_become_data(tmp_path, name, why):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(DataError, match=f"neither a folder nor a .csv or .jsonl manifest{why}"):
        read_data(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="both are paths there")
def test_a_path_that_can_be_mended_is_said_as_it_must_be(tmp_path):
    (tmp_path / "ant").mkdir()
    (tmp_path / "ant/0.png").touch()
    for written in (f"{tmp_path}/ant/0.png", "ant\\0.png"):
        (tmp_path / "m.csv").write_text(f"path,label\n{written},ant\n")
        with pytest.raises(DataError, match=r"; write ant/0\.png$"):
            read_data(tmp_path / "m.csv")
