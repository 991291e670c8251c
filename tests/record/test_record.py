"""A record as Python sees it: tables of its predictions, and how it shows itself."""

import os
from dataclasses import replace

import numpy as np
import pandas
import pytest

import smallset
from smallset import api
from smallset.errors import DataError
from smallset.learn.run import train_run


@pytest.fixture(scope="module")
def record(split_folders, shared_cache, tiny, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALLSET_CACHE", str(shared_cache))
        return train_run(split_folders, tiny(epochs=1), tmp_path_factory.mktemp("runs") / "run")


def test_predictions_become_the_pandas_table_of_their_file(record):
    found = record.predictions.to_pandas()
    written = pandas.read_csv(record.file("predictions.csv"))
    pandas.testing.assert_frame_equal(found, written, check_dtype=False, rtol=1e-8)


def test_predictions_show_pictures_labels_and_answers_and_no_hashes(record):
    said = record.predictions
    html, first = said._repr_html_(), said.predicted[0]
    assert f"<td>{said.paths[0]}</td><td>train</td><td>{said.classes[said.labels[0]]}</td>" in html
    assert f"<td>{said.classes[first]}</td><td>{said.probs[0, first]:.1%}</td>" in html
    assert said.ids[0] not in html
    assert html.count("<tr>") == 1 + 64
    assert repr(said) == "<Predictions of 64 images (32 train, 12 val, 20 test), 4 classes>"


def test_a_long_table_says_how_much_of_it_is_shown(record):
    said, twice = record.predictions, np.tile(np.arange(64), 2)
    long = replace(
        said, ids=said.ids * 2, paths=said.paths * 2, splits=said.splits[twice],
        labels=said.labels[twice], given_labels=said.given_labels[twice], probs=said.probs[twice],
    )  # fmt: skip
    assert long._repr_html_().count("<tr>") == 1 + 100
    assert long._repr_html_().endswith("<p>the first 100 of 128</p>")
    assert "the first" not in said._repr_html_()


def test_a_run_is_opened_again_by_the_text_of_its_path(record, monkeypatch):
    monkeypatch.chdir(record.folder.parent)
    again = smallset.Record("run")
    assert again.result == record.result
    assert again.predictions.ids == record.predictions.ids
    monkeypatch.setenv("HOME", str(record.folder.parent))
    assert smallset.Record("~/run") == record


def test_the_score_of_folds_is_called_out_of_fold_with_its_interval(record, split_folders, tiny):
    folds = train_run(
        split_folders, tiny(epochs=1, **{"data.folds": 2}), record.folder.parent / "f"
    )
    share, low, high = (folds.result["folds"][name] for name in ("accuracy", "low", "high"))
    html = folds._repr_html_()
    assert "<th>out of fold (95% interval)</th>" in html
    assert f"<td>{share:.1%} ({low:.1%} to {high:.1%})</td>" in html
    assert "test" not in html.replace(str(folds.folder), "")


def test_a_run_that_is_not_there_is_said_to_be_missing_and_the_near_name_is_asked(
    record, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study30").mkdir()
    for use in (api.report, api.serve, api.review):
        with pytest.raises(
            DataError, match=r"^there is no folder study3O \(did you mean study30\?\)$"
        ):
            use("study3O")
    with pytest.raises(DataError, match=r"^there is no folder elsewhere$"):
        api.report("elsewhere")
    with pytest.raises(DataError, match=r"^study30 is not the record of a finished run"):
        api.report("study30")


def test_each_finished_run_is_named_once_wherever_one_looks_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in (1, 2, 3):
        run = tmp_path / f"runs/messy-{number}"
        run.mkdir(parents=True)
        (run / "result.json").write_text("{}")
        os.utime(run / "result.json", (number, number))
    said = "; finished runs: runs/messy-3, runs/messy-2, runs/messy-1"
    for place in ("runs", tmp_path, "gone"):
        with pytest.raises(DataError) as error:
            api.report(place)
        assert str(error.value).endswith(said)
    with pytest.raises(DataError) as error:
        api.report(tmp_path / "runs")
    assert str(error.value).count("messy-") == 3
