"""What was measured is what ships: predictions of files, from a record that has moved."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from accessible import WAYS, faults
from PIL import Image
from support import edit_json
from typer.testing import CliRunner

from smallset import api
from smallset.cli import app
from smallset.data.cache import load_pixels
from smallset.data.listing import ImageSet
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import LOCK
from smallset.models.forward import BATCH_SIZE
from smallset.record.doubt import fit_sets, held_out
from smallset.record.measures import tempered
from smallset.record.new_pictures import seen_in
from smallset.record.record import Record
from smallset.record.strange import fit_refusal
from smallset.show.report.predict_page import choose
from smallset.use import predictor as predictors
from smallset.use import shards
from smallset.use.named import find_named
from smallset.use.predictor import Predictor


@pytest.fixture
def many(split_folders, tmp_path, monkeypatch):
    """Ten pictures in parts of three, one of them unreadable, one of them twice."""
    monkeypatch.setattr(shards, "SIZE", 3)
    files = sorted((split_folders / "test").rglob("*.png"))[:8]
    (tmp_path / "odd.jpg").write_text("no picture")
    listed = [*files[:4], tmp_path / "odd.jpg", *files[4:], files[0]]
    return [str(path) for path in listed]


def table(path):
    return list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))


def probs_of(rows):
    return np.array([[float(row[k]) for k in row if k.startswith("p_")] for row in rows])


def said_after_temperature(record):
    """What predict says of the pictures of a run: predictions.csv, after the temperature."""
    t = record.model["temperature"]
    assert t != 1
    return np.exp(tempered(record.predictions.probs, t))


def command(*words, stdin=None):
    return CliRunner().invoke(app, ["predict", *map(str, words)], input=stdin)


def test_a_moved_record_without_its_data_says_what_it_said(run, split_folders, tmp_path):
    said = Record(run).predictions
    files = [str(split_folders / path) for path in said.paths]
    assert len(files) == BATCH_SIZE
    tally = api.predict_files(run, [*files, *files[:3]], out=tmp_path / "p.csv")
    *rows, a, b, c = table(tmp_path / "p.csv")
    assert [a["predicted"], b["id"], c["path"]] == [
        rows[0]["predicted"], rows[1]["id"], rows[2]["path"],
    ]  # fmt: skip
    wanted = said_after_temperature(Record(run))
    np.testing.assert_allclose(probs_of([a, b, c]), wanted[:3], atol=1e-5)
    assert [row["path"] for row in rows] == files
    assert tuple(row["id"] for row in rows) == said.ids
    np.testing.assert_allclose(probs_of(rows), wanted, atol=1e-5)
    assert [row["predicted"] for row in rows] == [said.classes[k] for k in said.predicted]
    assert [row["seen_in"] for row in rows] == said.splits.tolist()
    assert tally.trained_on == (said.splits == "train").sum() + 3
    assert list(tmp_path.iterdir()) == [tmp_path / "p.csv"]


def test_sets_of_the_table_are_those_of_the_rule_and_their_coverage_is_said(
    run, split_folders, tmp_path
):
    said = Record(run).predictions
    sets = fit_sets(held_out(said), Record(run).model["temperature"], 0.7)
    test = np.flatnonzero(said.splits == "test")
    files = [str(split_folders / said.paths[row]) for row in test]
    (tmp_path / "odd.jpg").write_text("no picture")
    wanted = [
        [said.classes[k] for k in np.argsort(-p) if p[k] >= sets.limits[k] or p[k] == p.max()]
        for p in said_after_temperature(Record(run))[test]
    ]
    answers = api.predict(run, files, sets=0.7)
    assert answers.sets == wanted
    listed = _manifest(tmp_path, [*files, str(tmp_path / "odd.jpg")])
    told = command(run, listed, "--sets", 0.7, "--out", tmp_path / "p.csv")
    assert [row["set"] for row in table(tmp_path / "p.csv")] == [*map("|".join, wanted), ""]
    command(run, listed, "--sets", 0.7, "--out", tmp_path / "p.jsonl", "--top", 1)
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    assert [row["set"] for row in rows] == [*wanted, None]
    own = [said.classes[k] in names for k, names in zip(said.labels[test], wanted, strict=True)]
    assert f"of 20 test images {np.mean(own):.1%} (" in told.output
    assert "fitted on 12 val images" in told.output
    with pytest.raises(ConfigError, match=r"--sets 0.99 needs 99 images .* 12 val images"):
        api.predict_files(run, files, out=tmp_path / "q.csv", sets=0.99)


def test_answers_become_the_pandas_table_that_predict_writes(run, split_folders, tmp_path):
    (tmp_path / "odd.jpg").write_text("no picture")
    files = [*map(str, sorted((split_folders / "test/ant").iterdir())), str(tmp_path / "odd.jpg")]
    answers = api.predict(run, files, sets=0.7, reject=0.4)
    found = answers.to_pandas()
    api.predict_files(run, files, out=tmp_path / "p.csv", sets=0.7, reject=0.4)
    written = pandas.read_csv(tmp_path / "p.csv")
    assert list(found.columns) == list(written.columns)
    for column in ("set", "unknown"):
        found[column] = found[column].str.join("|")
    found = found.replace(["", None], np.nan)
    pandas.testing.assert_frame_equal(found, written, check_dtype=False, rtol=1e-6)
    assert "set" not in api.predict(run, files).to_pandas().columns
    assert repr(answers) == "<Predicted: 6 pictures, 1 unreadable, 4 classes>"
    assert repr(api.predict(run, files[:1])) == "<Predicted: 1 picture, 4 classes>"


def test_unknown_pictures_are_named_with_the_reason(run, split_folders, tmp_path):
    record = Record(run)
    rule, space, _ = fit_refusal(record, record.model["temperature"], 0.4)
    said = record.predictions
    test = np.flatnonzero(said.splits == "test")
    files = [str(split_folders / said.paths[row]) for row in test]
    listed = _manifest(tmp_path, files)
    told = command(run, listed, "--reject", 0.4, "--out", tmp_path / "p.csv", "--quiet")
    apart = space.distances(record.embeddings("test"))
    sure = said_after_temperature(record)[test].max(axis=1)
    wanted = list(map(rule.reasons, sure.tolist(), apart.tolist()))
    rows = [row["unknown"] for row in table(tmp_path / "p.csv")]
    assert rows == ["|".join(each) for each in wanted]
    assert 0 < sum(map(bool, rows)) < 20
    assert f"of 20 test images {sum(map(bool, rows)) / 20:.1%} (" in told.output
    assert api.predict(run, files, reject=0.4).unknown == wanted


def test_the_temperature_of_the_record_divides_the_logits(run, split_folders, tmp_path):
    warm, said = shutil.copytree(run, tmp_path / "warm"), Record(run).predictions
    fitted = {"images": 350, "source": "val", "why_not": ""}
    edit_json(warm / "model.json", temperature=2.0, temperature_from=fitted)
    answers = api.predict(warm, [split_folders / path for path in said.paths[:5]])
    roots = np.sqrt(said.probs[:5])
    np.testing.assert_allclose(answers.probs, roots / roots.sum(axis=1, keepdims=True), atol=1e-5)
    assert "divided by 2, fitted on 350 val images" in Predictor(Record(warm)).temperature.said.say(
        "en"
    )


def test_a_picture_in_several_splits_counts_as_trained_on(run):
    said = Record(run).predictions
    twice = replace(said, ids=("same",) * len(said.ids))
    assert seen_in(twice) == {"same": "train"}
    assert seen_in(said) == dict(zip(said.ids, said.splits.tolist(), strict=True))


def strange_pictures(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    photo, exif = Image.fromarray(pixels), Image.Exif()
    exif[0x0112] = 6
    alpha = photo.copy()
    alpha.putalpha(Image.linear_gradient("L").resize(photo.size))
    saved = {
        "plain.png": (photo, {}), "photo.jpg": (photo, {}), "photo.webp": (photo, {}),
        "palette.png": (photo.quantize(16), {"transparency": 3}), "alpha.png": (alpha, {}),
        "cmyk.jpg": (photo.convert("CMYK"), {}), "turned.jpg": (photo, {"exif": exif.tobytes()}),
        "deep.png": (Image.fromarray((pixels[:, :, 0].astype(np.uint16) << 8) + 7), {}),
        "moving.gif": (photo, {"save_all": True, "append_images": [photo.rotate(90)]}),
        "moving.webp": (photo, {"save_all": True, "append_images": [photo.rotate(90)]}),
        "UPPER.PNG": (photo, {}), "wrong-ending.jpg": (photo, {"format": "PNG"}),
    }  # fmt: skip
    for name, (image, options) in saved.items():
        image.save(folder / name, **options)
    return sorted(saved)


def test_every_kind_of_picture_has_the_pixels_that_training_sees(run, tmp_path):
    names = strange_pictures(tmp_path)
    answers = api.predict(run, tmp_path)
    assert [row.path for row in answers.rows] == [str(tmp_path / name) for name in names]
    assert answers.errors == {}
    nothing = np.zeros(len(names), dtype=np.int64)
    images = ImageSet(tmp_path, ("a",), tuple(names), nothing, np.full(len(names), "train"))
    network = Predictor(Record(run))
    pixels = load_pixels(images, network.preprocessing)
    assert tuple(row.id for row in answers.rows) == pixels.ids
    np.testing.assert_allclose(answers.probs, network.answer(np.array(pixels.array))[0], atol=1e-6)


def test_names_mean_files_in_order_and_twice_is_twice(tmp_path, monkeypatch):
    for name in ("b/2.png", "b/1.png", "b/deep/3.JPG", "a.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    Path("list.csv").write_text('label,path\nx,b/1.png\n,"b/line\u2028end.png"\n', encoding="utf-8")
    Path("b/list.jsonl").write_text('{"path": "1.png"}\n\n{"path": "../a.png", "more": 1}\n')

    def found(*names, stdin=b""):
        return list(find_named(names, read_list=lambda: stdin).paths)

    assert found("a.png", "b", "a.png") == ["a.png", "b/1.png", "b/2.png", "b/deep/3.JPG", "a.png"]
    assert found("b/**/*.[pJ]*") == ["b/1.png", "b/2.png", "b/deep/3.JPG"]
    assert found("list.csv") == ["b/1.png", "b/line\u2028end.png"]
    assert found("b/list.jsonl") == ["b/1.png", "b/../a.png"]
    assert found("-", "a.png", stdin=b"x y.png\r\n\nz.png") == ["x y.png", "z.png", "a.png"]
    assert found("-", stdin=b"line\nbreak.png\0z.png\0") == ["line\nbreak.png", "z.png"]
    [left] = find_named(["b"], read_list=bytes).notes
    assert left.endswith("were left out: 1 x .jsonl, 1 x .txt")


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["nowhere.png"], "no file or folder nowhere.png"),
        (["*.bmp"], r"no file matches \*\.bmp"),
        (["empty"], "empty has no image .found: .txt"),
        (["-"], "standard input names no picture"),
        ([""], "is empty"),
        (["no-path.csv"], "has no column path; found: file; needed: path; rename file -> path$"),
        (["no-rows.csv"], "lists no images"),
        (["gap.csv"], "image 2: 'path' is missing"),
    ],
)
def test_a_name_that_means_nothing_is_said(tmp_path, monkeypatch, names, reason):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("empty/a.txt").touch()
    Path("no-path.csv").write_text("file\na.png\n")
    Path("no-rows.csv").write_text("path\n")
    Path("gap.csv").write_text("path,x\na.png,1\n,2\n")
    with pytest.raises(DataError, match=reason):
        find_named(names, read_list=lambda: b"\n")


def test_what_cannot_be_read_is_a_row_that_says_why(run, split_folders, tmp_path):
    good = next((split_folders / "test").rglob("*.png"))
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:200])
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "nowhere")
    reasons = {
        tmp_path / "text.jpg": "not an image",
        tmp_path / "empty.jpg": "the file is empty",
        tmp_path / "cut.png": "cut short",
        tmp_path / "pipe.jpg": "not a regular file",
        tmp_path / "link.jpg": "cannot be opened: No such file",
        tmp_path: "a folder",
        tmp_path / "gone.jpg": "cannot be opened: No such file",
    }
    listed = "\n".join([str(good), *map(str, reasons), str(good)])
    done = command(run, "-", "--out", tmp_path / "p.csv", stdin=listed)
    assert done.exit_code == 1
    assert "predicted: 2 pictures" in done.stdout
    assert "unreadable: 7; each is a row that says why" in done.stdout
    first, *bad, last = table(tmp_path / "p.csv")
    assert first == last
    assert first["error"] == ""
    said = Record(run).predictions
    wanted = said_after_temperature(Record(run))[[said.ids.index(first["id"])]]
    np.testing.assert_allclose(probs_of([first]), wanted, atol=1e-5)
    for row, (path, reason) in zip(bad, reasons.items(), strict=True):
        assert row["path"] == str(path)
        assert reason in row["error"]
        assert {value for name, value in row.items() if name not in ("path", "error")} == {""}


def test_the_table_is_printed_where_no_file_is_named(run, many):
    done = command(run, *many, "--format", "jsonl", "--top", 2)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["path"] for line in lines] == many
    assert "predicted: 9 pictures" in done.stderr
    full = [
        json.loads(line)
        for line in command(run, *many, "--format", "jsonl").stdout.split("\n")[:-1]
    ]
    rows = list(csv.DictReader(io.StringIO(command(run, *many, "--top", 2).stdout)))
    for line, whole, row in zip(lines, full, rows, strict=True):
        if line["error"]:
            assert (line["predicted"], whole["probabilities"], row["class_1"]) == (None, None, "")
            continue
        assert list(whole["probabilities"]) == ["ant", "bee", "cat", "dog"]
        best = sorted(whole["probabilities"].items(), key=lambda pair: -pair[1])[:2]
        assert list(line["probabilities"].items()) == best
        assert line["predicted"] == row["predicted"] == row["class_1"] == best[0][0]
        assert [row["class_2"], float(row["probability_2"])] == list(best[1])


def test_embeddings_are_those_of_the_record_row_for_row(run, split_folders, tmp_path):
    said = Record(run).predictions
    files = [str(split_folders / path) for path in said.paths]
    listed = [str(tmp_path / "gone.jpg"), *np.array(files)[said.splits == "test"]]
    (tmp_path / "list.csv").write_text("path\n" + "\n".join(listed))
    api.predict_files(run, tmp_path / "list.csv", embeddings=tmp_path / "e.npz")
    with np.load(tmp_path / "e.npz") as arrays:
        assert arrays["ids"].tolist() == ["", *np.array(said.ids)[said.splits == "test"]]
        assert np.isnan(arrays["embeddings"][0]).all()
        # The record keeps float16.
        wanted = Record(run).embeddings("test").astype(np.float32)
        np.testing.assert_allclose(arrays["embeddings"][1:], wanted, rtol=2e-3, atol=1e-4)


class Killed(BaseException):
    pass


def test_a_prediction_killed_at_any_file_goes_on_to_the_same_bytes(
    run, many, tmp_path, monkeypatch
):
    names = {"out": "p.csv", "embeddings": "e.npz", "page": "p.html"}
    opened, read, rename = [], Predictor.open, Path.replace
    monkeypatch.setattr(Predictor, "open", lambda self, at: opened.append(at) or read(self, at))

    def predict(folder, **options):
        opened.clear()
        outputs = {what: folder / name for what, name in names.items()}
        return api.predict_files(run, _manifest(tmp_path, many), **outputs, **options)

    def killed(folder, at):
        """Stop at a file: 0 is the plan, then four parts, then what is written at the end."""
        written = []

        def die(aside, target):
            if len(written) == at:
                (target.parent / f".writing-{target.name}-left").touch()
                raise Killed
            written.append(target)
            return rename(aside, target)

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", die)
            with pytest.raises(Killed):
                predict(folder)

    whole = tmp_path / "whole"
    predict(whole)
    assert opened == many
    for at, done in {0: 0, 1: 0, 3: 6, 5: 10, 7: 10}.items():
        stopped = tmp_path / str(at)
        killed(stopped, at)
        assert predict(stopped).earlier == done
        assert opened == many[done:]
        assert sorted(path.name for path in stopped.iterdir()) == sorted(names.values())
        for name in ("p.csv", "p.html"):
            assert (stopped / name).read_bytes() == (whole / name).read_bytes()
        with np.load(whole / "e.npz") as one, np.load(stopped / "e.npz") as other:
            np.testing.assert_array_equal(one["ids"], other["ids"])
            np.testing.assert_array_equal(one["embeddings"], other["embeddings"])
    with pytest.raises(RunError, match=r"p\.csv is there already; .* --force"):
        predict(whole)
    predict(whole, force=True)
    assert opened == many


@pytest.mark.slow
def test_a_process_that_is_killed_loses_and_repeats_no_row(run, split_folders, tmp_path):
    files = [str(path) for path in sorted(split_folders.rglob("*.png"))] * 8
    out = tmp_path / "p.jsonl"
    words = [
        "-m",
        "smallset",
        "predict",
        str(run),
        str(_manifest(tmp_path, files)),
        "--out",
        str(out),
    ]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    parts = tmp_path / "p.jsonl.parts"
    while not list(parts.glob("shard-*.npz")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    tally = api.predict_files(run, _manifest(tmp_path, files), out=out)
    assert 0 < tally.earlier < tally.pictures == len(files)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["path"] for row in rows] == files
    said = {row["path"]: row["probabilities"] for row in rows}
    assert all(row["probabilities"] == said[row["path"]] for row in rows)
    assert not parts.exists()


def _manifest(folder, files):
    text = "".join(json.dumps({"path": path}) + "\n" for path in files)
    (folder / "list.jsonl").write_text(text)
    return folder / "list.jsonl"


def test_parts_of_another_prediction_are_not_mixed_in(run, many, tmp_path, monkeypatch):
    out = tmp_path / "p.csv"
    write = shards.Shards.write

    def stop(self, number, block):
        if number == 2:
            raise KeyboardInterrupt
        write(self, number, block)

    monkeypatch.setattr(shards.Shards, "write", stop)
    stopped = command(run, _manifest(tmp_path, many), "--out", out)
    assert isinstance(stopped.exception, RunError)
    assert "stopped; the same command goes on" in str(stopped.exception)
    monkeypatch.setattr(shards.Shards, "write", write)
    with pytest.raises(RunError, match=r"another prediction, .*\n  number of pictures: 10 -> 9\n"):
        api.predict_files(run, _manifest(tmp_path, many[1:]), out=out)
    [damaged, *_] = (tmp_path / "p.csv.parts").glob("shard-*.npz")
    damaged.write_bytes(damaged.read_bytes()[:100])
    with pytest.raises(DataError, match=r"shard-\d+\.npz is damaged \(.*; delete it"):
        api.predict_files(run, _manifest(tmp_path, many), out=out)
    assert not out.exists()
    api.predict_files(run, _manifest(tmp_path, many[1:]), out=out, force=True)
    assert [row["path"] for row in table(out)] == many[1:]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"out": "p.csv", "top": 0}, "--top goes from 1 to 4 .*, got 0"),
        ({"out": "p.csv", "top": 5}, "--top goes from 1 to 4 .*, got 5"),
        ({"out": "p.txt"}, "p.txt does not tell its format; .*--format"),
        ({"out": "p.csv", "file_format": "xml"}, "csv or jsonl, got 'xml'"),
        ({"out": "p.csv", "embeddings": "e.csv"}, "e.csv must end in .npz"),
        ({"out": "p.csv", "page": "p.csv"}, "p.csv must end in .html"),
        ({"page": "folder.html"}, "folder.html is a folder"),
        ({"out": "list.csv", "force": True}, "list.csv is one of the files to read"),
        ({"out": "RUN/predictions.csv", "force": True}, "inside the record"),
        ({"out": "p.csv", "device": "abacus"}, "compute.device"),
        ({}, "nothing is to be written"),
    ],
)
def test_a_setting_that_does_not_fit_is_said_before_anything_is_written(
    run, many, tmp_path, monkeypatch, options, reason
):
    monkeypatch.chdir(tmp_path)
    Path("folder.html").mkdir()
    Path("list.csv").write_text(f"path\n{many[0]}\n")
    before = sorted(tmp_path.iterdir())
    options = {k: v.replace("RUN", str(run)) if k == "out" else v for k, v in options.items()}
    with pytest.raises(ConfigError, match=reason):
        api.predict_files(run, "list.csv", **options)
    assert sorted(tmp_path.iterdir()) == before


def test_what_is_no_finished_run_is_said(run, many, tmp_path):
    study = tmp_path / "study"
    (study / "plain").mkdir(parents=True)
    (study / "study.json").touch()
    shutil.copytree(run, study / "plain/seed-0")
    begun = shutil.copytree(run, tmp_path / "begun")
    (begun / "result.json").unlink()
    for folder, reason in [
        (study, r"is a study; give one of its runs, such as .*plain/seed-0"),
        (begun, "is a run that is not finished"),
        (tmp_path / "nowhere", "there is no folder .*nowhere"),
    ]:
        with pytest.raises(DataError, match=reason):
            api.predict(folder, many[0])


def test_code_that_a_record_names_is_not_run_unasked(run, many, tmp_path):
    strange = shutil.copytree(run, tmp_path / "strange")
    edit_json(strange / "model.json", model="antigravity:fly")
    with pytest.raises(ConfigError, match=r"antigravity:fly, .* --own-code"):
        api.predict(strange, many[0])
    assert "antigravity" not in sys.modules


def test_no_more_pictures_are_decoded_than_the_network_can_soon_take(run, monkeypatch):
    network = Predictor(Record(run))
    monkeypatch.setattr(predictors, "AHEAD", 8)
    monkeypatch.setattr(predictors, "BATCH_SIZE", 4)
    opened, answered = [], []
    nothing = np.zeros((32, 32, 3), dtype=np.uint8)
    network.open = lambda path: opened.append(path) or predictors.Decoded(nothing, "id")
    answer = network.answer

    def slow(pixels):
        time.sleep(0.01)
        answered.extend(pixels)
        assert len(opened) <= len(answered) + 8
        return answer(pixels)

    network.answer = slow
    counts = []
    blocks = network.blocks(["x"] * 50, [range(20), range(30, 50)], progress=counts.append)
    assert [len(block.ids) for block in blocks] == [20, 20]
    assert (len(opened), counts) == (40, [4] * 10)


def test_the_least_sure_of_every_class_are_chosen_in_turns():
    predicted = np.array([0, 0, 0, 0, 1, 2, 2, -1])
    probability = np.array([0.9, 0.3, 0.5, 0.4, 0.99, 0.8, 0.7, 0.0])
    assert choose(predicted, probability, 5).tolist() == [1, 3, 4, 5, 6]
    assert choose(predicted, probability, 3).tolist() == [1, 4, 6]
    assert choose(predicted, probability).tolist() == [0, 1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1440, 390])
def test_the_page_shows_pictures_by_doubt_and_by_class(run, many, tmp_path, visit, width):
    listed, page = _manifest(tmp_path, many), tmp_path / "look.html"
    doubt = ("--sets", 0.7, "--reject", 0.7)
    assert command(run, listed, "--page", page, *doubt, "--lang", "zh", "--quiet").exit_code == 1
    answers = api.predict(run, listed, sets=0.7, reject=0.7)
    sure = {r.path: round(float(r.probs.max()), 4) for r in answers.rows if not r.error}
    shown = visit(page, width=width)
    tiles = "#gallery .tile img"
    paths = shown.eval_on_selector_all(tiles, "all => all.map(i => i.alt)")
    assert len(paths) == 9
    assert [sure[path] for path in paths] == sorted(sure[path] for path in paths)
    assert shown.evaluate(f"document.querySelector('{tiles}').naturalWidth") == 160
    shown.click("[data-value=class]")
    order = shown.eval_on_selector_all(tiles, "all => all.map(i => i.alt)")
    classes = {r.path: r.predicted for r in answers.rows if r.predicted is not None}
    assert [classes[path] for path in order] == sorted(classes[path] for path in order)
    shown.select_option("#of", str(classes[order[0]]))
    assert shown.locator(tiles).count() == sum(classes[path] == classes[order[0]] for path in paths)
    strange = sum(map(bool, answers.unknown))
    assert 0 < strange < len(paths)
    shown.select_option("#of", "?")
    assert shown.locator(tiles).count() == strange
    assert shown.locator("#gallery .tile .wrong", has_text="未知").count() == strange
    assert "张测试图像" in shown.inner_text("#headline")  # what the sets and the limits did there
    shown.click("#gallery .tile button >> nth=0")
    assert shown.locator("#closer .bar").count() == 4
    first = shown.inner_text("#closer p:has-text('.')")
    assert shown.inner_text("#closer .steps-row span") == f"1 / {strange}"
    shown.keyboard.press("ArrowRight")
    assert (shown.inner_text("#closer p:has-text('.')") == first) == (strange == 1)
    shown.keyboard.press("Escape")
    assert shown.locator("#counts").is_visible() == (width == 1440)  # folded on a phone
    for section in ("#unreadable", "#classes") if width == 390 else ():
        shown.click(f"{section} h2")
    assert shown.locator("#counts").is_visible()
    assert "odd.jpg" in shown.inner_text("#unreadable")
    # What stands below a picture is said in words.
    two = "{top: [[0, 0.6], [1, 0.4]], set: [], unknown: [], seen: 'test'}"
    below = shown.evaluate(f"Object.assign(P[0], {two}), tile(0).innerText")
    a, b = shown.evaluate("D.classes.slice(0, 2)")
    assert re.sub(r"\s", "", below) == f"{a}60%或{b}40%该次训练的测试图像"
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    ways = [way for way in WAYS[:2] if way[0] == width]
    shown.click("#gallery .tile button >> nth=0")
    assert faults(shown, "#closer", ways) == []
    shown.keyboard.press("Escape")
    assert faults(shown, ways=ways) == []
    shown.select_option("#of", "")
    shown.evaluate("for (let n = 0; n < 99; n++) given.push(n % 9); fill()")
    assert shown.locator(tiles).count() == (36 if width == 390 else 108)


def test_parts_that_a_kill_left_after_the_end_go(run, many, tmp_path):
    out = tmp_path / "p.csv"
    api.predict_files(run, many, out=out)
    parts = tmp_path / "p.csv.parts"
    parts.mkdir()
    for name in ("shard-000001.npz", LOCK):
        (parts / name).touch()
    with pytest.raises(RunError, match=r"p\.csv is there already"):
        api.predict_files(run, many, out=out)
    assert out.exists()
    assert not parts.exists()
