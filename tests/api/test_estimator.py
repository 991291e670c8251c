"""The estimator keeps the conventions of scikit-learn, and answers as `smallset predict` does."""

import gc
import pickle
import re
import shutil
from pathlib import Path

import joblib
import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator
from support import picture
from torch import nn

import smallset
from smallset import api
from smallset.api.estimator import ImageClassifier, settings_of
from smallset.errors import ConfigError, DataError, RunError
from smallset.models.parts import Classifier
from smallset.use.card import write_card

ROOT = Path(__file__).parents[2]
NAMES = np.array(["cat", "ant", "bee"])
ARRAYS = np.stack([np.asarray(picture(n % 3, n))[:30] for n in range(24)])  # not square
LABELS = NAMES[np.arange(24) % 3]


def averages(num_classes, *, image_size):
    """A network that trains in no time: a Linear layer on 4 x 4 colours."""
    pool = nn.Sequential(nn.AvgPool2d(image_size // 4), nn.Flatten())
    return Classifier(pool, nn.Linear(48, num_classes))


def quick(**parameters):
    settings = {"batches.size": 8, **parameters.pop("settings", {})}
    base = {"model": f"{__name__}:averages", "recipe": "course-report", "image_size": 32}
    return ImageClassifier(**{**base, "epochs": 3, "settings": settings, **parameters})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Class folders with the pictures of ARRAYS."""
    root = tmp_path_factory.mktemp("pictures")
    for n, name in enumerate(LABELS):
        (root / name).mkdir(exist_ok=True)
        Image.fromarray(ARRAYS[n]).save(root / name / f"{n:02}.png")
    return root


@pytest.fixture(scope="module")
def paths(folder):
    return [folder / name / f"{n:02}.png" for n, name in enumerate(LABELS)]


class Painted(ImageClassifier):
    """Takes tables, as the checks of scikit-learn give: a row is painted as a line of greys."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.one_d_array = tags.input_tags.string = False
        assert tags.classifier_tags is not None
        tags.classifier_tags.poor_score = True  # one epoch
        return tags

    def fit(self, X, y=None):
        return super().fit(painted(X), y)

    def _answers(self, X):
        return super()._answers(painted(X))


def painted(table):
    try:
        numbers = np.asarray(table)
    except ValueError:
        return table
    if numbers.ndim != 2 or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
        return table
    grey = (np.tanh(numbers) * 127 + 128).astype(np.uint8)
    return np.repeat(grey[:, :, None, None], 3, axis=3)


ANY_SIZE = "pictures of any size will do, so nothing is wrong with another number of columns"
NO_TABLE = "a {} is no list of paths, array or folder; the error says what is, and not {}"
EXPECTED = {
    "check_n_features_in": "there is no n_features_in_: pictures have no number of features",
    "check_n_features_in_after_fitting": ANY_SIZE,
    "check_classifiers_train": f"all but its last part passes: {ANY_SIZE}",
    "check_transformer_general": f"all but its last part passes: {ANY_SIZE}",
    "check_complex_data": "the error says that arrays are uint8, not that complex ones are refused",
    "check_dtype_object": "arrays are uint8; those of objects are never turned into numbers",
    "check_estimators_empty_data_messages": "empty arrays are refused, without '0 feature(s)'",
    "check_estimators_nan_inf": "uint8 holds neither; floats are refused whatever is in them",
    "check_estimator_sparse_tag": NO_TABLE.format("sparse matrix", "'sparse'"),
    "check_estimator_sparse_array": NO_TABLE.format("sparse array", "'sparse'"),
    "check_estimator_sparse_matrix": NO_TABLE.format("sparse matrix", "'sparse'"),
    "check_fit2d_predict1d": "one row of a table is no picture, and 'Reshape your data' no help",
}
OFTEN = {
    "check_methods_subset_invariance": "the last bits of float32 sums depend on the batch",
    "check_array_api_input": "skipped by scikit-learn itself unless SCIPY_ARRAY_API is set",
}
"""May fail, and need not."""


def test_scikit_learns_own_checks_hold_but_for_those_that_need_tables(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)
    estimator = Painted(
        f"{__name__}:averages", recipe="course-report", image_size=32, epochs=1,
        settings={"batches.size": 64},
    )  # fmt: skip
    results = check_estimator(estimator, expected_failed_checks={**EXPECTED, **OFTEN}, on_skip=None)
    done = {(result["check_name"], result["status"]) for result in results}
    assert {name for name, status in done if status == "passed"}.isdisjoint(EXPECTED)
    assert len(done) > 45
    with pytest.warns(SkipTestWarning, match="two_d_array=False"):
        check_estimator(ImageClassifier())


def test_paths_arrays_and_a_folder_give_one_network_with_the_answers_of_predict(
    folder, paths, tmp_path
):
    network = quick(out=tmp_path / "run", random_state=3).fit(paths, LABELS)
    assert network.classes_.tolist() == ["ant", "bee", "cat"]
    assert network.record_.config["config"]["seed"] == 3
    assert network.record_.config["data"]["source"] == str(folder)
    said = api.predict(tmp_path / "run", paths, own_code=True)
    np.testing.assert_array_equal(network.predict_proba(paths), said.probs)
    np.testing.assert_array_equal(network.transform(paths), said.embeddings)
    assert network.predict(paths).tolist() == said.names
    assert network.score(paths, LABELS) == np.mean(said.names == LABELS)
    assert network.score(folder) == network.score(str(folder)) == network.score(paths, LABELS)
    in_order = np.argsort([str(path) for path in paths])
    np.testing.assert_array_equal(network.predict_proba(folder), said.probs[in_order])

    weights = (tmp_path / "run/model.safetensors").read_bytes()
    for pictures, labels in ((ARRAYS, LABELS), (list(ARRAYS), list(LABELS))):
        again = quick(random_state=3).fit(pictures, labels)
        assert (again.record_.folder / "model.safetensors").read_bytes() == weights
        np.testing.assert_allclose(again.predict_proba(pictures), said.probs, atol=1e-6)
    of_folder = quick(random_state=3).fit(folder)
    with_paths = quick(random_state=3).fit([paths[row] for row in in_order], LABELS[in_order])
    np.testing.assert_array_equal(of_folder.predict_proba(paths), with_paths.predict_proba(paths))
    with pytest.raises(RunError, match="already holds a run"):
        network.fit(paths, LABELS)
    with pytest.raises(DataError, match="no test images"):
        api.report(tmp_path / "run")


def test_many_pictures_come_in_batches_and_labels_keep_their_kind():
    many, numbers = np.concatenate([ARRAYS] * 4), np.array([10, 2, 30])[np.arange(96) % 3]
    network = quick().fit(many, numbers)
    assert network.classes_.tolist() == [2, 10, 30]
    assert network.classes_.dtype == numbers.dtype
    np.testing.assert_allclose(
        network.predict_proba(many), np.tile(network.predict_proba(ARRAYS), (4, 1)), atol=1e-6
    )
    assert network.score(many, numbers) > 0.9
    assert network.transform(many).shape == (96, 48)
    assert len(network.get_feature_names_out()) == 48
    two = quick(settings={"data.classes": "10,30"}).fit(many, numbers)
    assert two.classes_.tolist() == [10, 30]


def test_a_pickle_answers_where_the_record_and_the_first_estimator_are_gone(tmp_path):
    network = quick().fit(ARRAYS, LABELS)
    said, folder = network.predict_proba(ARRAYS), network.record_.folder
    joblib.dump(network, tmp_path / "network.joblib")
    pickled = pickle.dumps(network)
    del network
    gc.collect()
    assert not folder.exists()
    loaded = pickle.loads(pickled)
    np.testing.assert_array_equal(loaded.predict_proba(ARRAYS), said)
    np.testing.assert_array_equal(
        joblib.load(tmp_path / "network.joblib").predict_proba(ARRAYS), said
    )
    assert api.predict(loaded.record_.folder, [_saved(tmp_path)], own_code=True).names[0] == "cat"
    first = loaded.record_.folder
    loaded.fit(ARRAYS, LABELS)
    assert (first.exists(), loaded.record_.folder.exists()) == (False, True)
    fresh = clone(loaded)
    assert isinstance(fresh, ImageClassifier)
    with pytest.raises(NotFittedError):
        fresh.predict(ARRAYS)
    with pytest.raises(NotFittedError):
        pickle.loads(pickle.dumps(quick())).predict(ARRAYS)


def _saved(folder):
    picture(0, 99).save(folder / "new.png")
    return folder / "new.png"


def test_searches_and_pipelines_of_scikit_learn_take_it(paths, tmp_path):
    assert cross_val_score(quick(lr=0.1), paths, LABELS, cv=3).min() > 0.9
    search = GridSearchCV(quick(random_state=2), {"lr": [1e-6, 0.1]}, cv=2).fit(ARRAYS, LABELS)
    slow, fast = search.cv_results_["mean_test_score"]
    assert (slow < 0.6, fast > 0.9, search.best_params_) == (True, True, {"lr": 0.1})
    assert (search.predict(ARRAYS) == LABELS).mean() > 0.9
    before = make_pipeline(FunctionTransformer(np.flip), quick(lr=0.1)).fit(ARRAYS, LABELS)
    np.testing.assert_array_equal(before.predict(ARRAYS), before[1].predict(np.flip(ARRAYS)))
    after = make_pipeline(quick(), LogisticRegression()).fit(paths, LABELS)
    assert after.score(paths, LABELS) > 0.9


def test_the_seed_is_that_of_the_run_and_none_draws_one():
    def seed(state):
        return settings_of(quick(random_state=state)).seed

    assert (seed(7), seed(np.int64(7))) == (7, 7)
    assert seed(np.random.RandomState(1)) == seed(np.random.RandomState(1))
    assert seed(None) != seed(None)


def test_folds_give_a_temperature_and_without_them_it_is_one():
    wrong = NAMES[np.arange(24) // 3 % 3]
    plain = quick(lr=0.1).fit(ARRAYS, wrong)
    assert plain.record_.model["temperature"] == 1
    network = quick(lr=0.1, settings={"data.folds": 2}).fit(ARRAYS, wrong)
    described = network.record_.model
    assert described["temperature_from"] == {"images": 24, "source": "folds", "why_not": ""}
    assert described["temperature"] > 1.1
    warm = plain.predict_proba(ARRAYS) ** (1 / described["temperature"])
    warm /= warm.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(network.predict_proba(ARRAYS), warm, atol=1e-5)


MIXED = [ARRAYS[0], ARRAYS[1, :20], *ARRAYS[2:]]


@pytest.mark.parametrize(
    ("pictures", "labels", "said"),
    [
        (ARRAYS / 255, LABELS, r"got float64 of shape \(24, 30, 40, 3\)"),
        (ARRAYS[..., 0], LABELS, r"got uint8 of shape \(24, 30, 40\)"),
        (ARRAYS[:0], LABELS[:0], r"got uint8 of shape \(0, 30, 40, 3\)"),
        ([], [], r"got float64 of shape \(0,\)"),
        (MIXED, LABELS, r"one size: X\[1\] is \(20, 40, 3\), X\[0\] \(30, 40, 3\)"),
        (["a.png", 3], ["a", "b"], r"got str as X\[0\]"),
        ([ARRAYS[0], "a.png"], ["a", "b"], r"got str as X\[1\]"),
        (3, LABELS, "got int"),
        (ARRAYS, LABELS[:9], "inconsistent numbers of samples"),
        (ARRAYS, ["cat"] * 24, "y has one class, cat"),
        (ARRAYS, np.linspace(0, 1, 24), "Unknown label type"),
        (ARRAYS, None, "requires y to be passed, but the target y is None"),
        ("no/such/folder", None, "no folder no/such/folder"),
    ],
)
def test_bad_input_is_named(pictures, labels, said):
    with pytest.raises(ValueError, match=said):
        quick().fit(pictures, labels)


def test_a_bad_picture_is_named_when_it_is_learnt_from_and_when_it_is_asked_for(paths, tmp_path):
    (tmp_path / "odd.png").write_text("no picture")
    for bad, why in ((tmp_path / "odd.png", "not an image"), (tmp_path / "gone.png", "No such")):
        with pytest.raises(DataError, match=f"{bad.name}: .*{why}"):
            quick().fit([*paths, bad], [*LABELS, "cat"])
    network = quick().fit(paths, LABELS)
    for bad, why in ((tmp_path / "odd.png", "not an image"), (tmp_path / "gone.png", "No such")):
        with pytest.raises(DataError, match=f"{bad}: .*{why}.* \\(and 1 more\\)"):
            network.predict([paths[0], bad, bad])
    with pytest.raises(DataError, match="got float64"):
        network.transform(ARRAYS / 255)
    with pytest.raises(DataError, match="requires y"):
        network.score(ARRAYS)


def test_a_folder_has_labels_of_its_own_and_no_splits(folder, split_folders, tmp_path):
    with pytest.raises(DataError, match="y must be None with a folder"):
        quick().fit(folder, LABELS)
    with pytest.raises(DataError, match=r"splits \(extra, test, train, val\); give .*/val"):
        quick().fit(split_folders)
    network = quick().fit(split_folders / "train")
    assert network.classes_.tolist() == ["ant", "bee", "cat", "dog"]
    with pytest.raises(DataError, match="has no image"):
        network.predict(tmp_path)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"settings": {"lr": 1}}, "settings holds 'lr'; give the parameter lr"),
        ({"settings": {"seed": 1}}, "give the parameter random_state"),
        ({"settings": {"optim.weightdecay": 1}}, "did you mean 'optim.weight_decay'"),
        ({"settings": {"data.val_fraction": 0.2}}, "holds nothing back"),
        ({"settings": {"keep": "best-val"}}, "needs val images"),
        ({"lr": "fast"}, "lr: input should be a valid number"),
        ({"model": "plane"}, "did you mean 'plain'"),
        ({"weights": 3}, "takes no --weights"),
    ],
)
def test_settings_that_do_not_fit_are_named_by_fit(parameters, said):
    with pytest.raises((ConfigError, DataError), match=said):
        quick(**parameters).fit(ARRAYS, LABELS)


def test_the_readme_shows_it_at_work(folder, tmp_path, monkeypatch):
    blocks = []
    for name in ("README.md", "README.zh-CN.md"):
        code = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text("utf-8"), re.DOTALL)
        blocks += [block for block in code if "ImageClassifier" in block]
    assert len(blocks) == 2
    assert len(set(blocks)) == 1
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, "pictures")
    for name in ("a.jpg", "b.jpg"):
        picture(0, 99).save(name)
    for path in sorted(Path("pictures").glob("*/*.png")):
        path.rename(path.with_suffix(".jpg"))
    small = quick().get_params()
    monkeypatch.setattr(
        smallset,
        "ImageClassifier",
        lambda **named: ImageClassifier(**{**named, **small}),
        raising=False,
    )
    known = {"smallset": smallset}
    exec(blocks[0], known)
    assert known["network"].predict(["a.jpg", "b.jpg"]).tolist() == ["cat", "cat"]


def test_the_card_of_its_record_shows_no_recall_of_what_it_learnt_from():
    network = quick().fit(ARRAYS, LABELS)  # its record lives as long
    card = write_card(network.record_, usage="", checked=[], inside=[])
    assert "It was measured on no image that it did not learn from." in card
    assert "| class |" not in card
