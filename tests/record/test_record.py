"""A record as Python sees it: tables of its predictions, and how it shows itself."""

from dataclasses import replace

import numpy as np
import pandas
import pytest

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
