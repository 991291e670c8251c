"""A classifier for scikit-learn: its conventions around what smallset trains and answers."""

import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray
from PIL import Image
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
)
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags, assert_all_finite, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from smallset.config import RunConfig, override
from smallset.data.given import Folder, class_folders, list_given, look_at, pictures_below
from smallset.data.listing import ImageSet
from smallset.data.pictures import resize
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import given_path
from smallset.learn.plan import Planner
from smallset.learn.run import train_runs
from smallset.models.forward import BATCH_SIZE
from smallset.record.record import Record
from smallset.use.predictor import Predictor

PARAMETERS = {
    "model": "model",
    "weights": "weights",
    "recipe": "recipe",
    "epochs": "epochs",
    "lr": "lr",
    "image_size": "image_size",
    "seed": "random_state",
    "compute.device": "device",
}
"""Settings of a run that have a parameter of their own, and its name."""
UNREAD = ("figures.", "data.val_fraction", "data.test_fraction", "data.split_seed")


class ImageClassifier(
    ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, BaseEstimator
):
    """Trains as ``smallset train`` and answers as ``smallset predict``, where scikit-learn asks.

    Pictures (`X`) are a list of paths, one uint8 array (N, height, width, 3) in RGB, or a folder:
    for `fit` and `score` one of class folders, which are the labels, so `y` stays None.

    `fit` learns from all pictures that it is given. What it reaches is measured on other pictures,
    by `score` or ``cross_val_score``; keep="best-val", which would need some, is refused. The
    temperature of the probabilities is 1, unless ``settings={"data.folds": 5}`` trains five more
    networks, each of which judges the pictures that it did not see.

    Args:
        model: A name that ``smallset models`` lists, "timm:NAME", or "their.module:function".
        weights: "auto", "none" (random) or a weight file.
        recipe: This and all settings are as in `RunConfig`, which has their units.
        epochs: Passes over the pictures. None leaves it to the recipe, as for the next two.
        lr: Peak learning rate.
        image_size: Side in px to which pictures are brought.
        random_state: Seed of the run. A RandomState draws it; None draws another at every `fit`.
        device: Where it computes: "auto", "cpu", "cuda" or "mps".
        out: Folder of the record, which must be empty: for one `fit`, not for a search. None takes
            a temporary folder that goes when the estimator goes.
        settings: Further settings by dotted name, such as ``{"optim.weight_decay": 0.01}``.

    Attributes:
        classes_: Labels, sorted; the columns of `predict_proba`.
        record_: The `Record` of the run. ``record_.result["findings"]`` says what was noticed in
            the pictures. A pickled estimator holds its files, and unpacks them into a temporary
            folder. Files of arrays are gone after `fit`; paths are files of the user's.

    There is no ``n_features_in_``: pictures of any size will do.

    Example:
        >>> import smallset
        >>> from sklearn.model_selection import cross_val_score
        >>> network = smallset.ImageClassifier(model="mobilenet_v2")
        >>> cross_val_score(network, paths, labels)  # doctest: +SKIP
        array([1.   , 0.986, 1.   , 1.   , 1.   ])
    """

    @no_type_check  # whatever it is given, `fit` looks at it: scikit-learn wants it so
    def __init__(
        self,
        model: str = "plain",
        *,
        weights: Folder = "auto",
        recipe: str = "auto",
        epochs: int | None = None,
        lr: float | None = None,
        image_size: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
        device: str = "auto",
        out: Folder | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.weights = weights
        self.recipe = recipe
        self.epochs = epochs
        self.lr = lr
        self.image_size = image_size
        self.random_state = random_state
        self.device = device
        self.out = out
        self.settings = settings

    def fit(self, X: Any, y: Any = None) -> "ImageClassifier":
        """Train a network, and leave its record.

        Args:
            X: Pictures, of two classes or more.
            y: Label of each; None with a folder.

        Raises:
            ConfigError: If settings do not fit.
            DataError: If a picture cannot be read, or `X` or `y` is not what it should be.
            RunError: If the loss grows without end, or `out` holds something.
        """
        config = settings_of(self)
        folder, clear = _temporary(self) if self.out is None else (Path(self.out), None)
        with tempfile.TemporaryDirectory(prefix="smallset-") as aside:
            images, classes = _labelled(X, y, Path(aside))
            source = DataSource(images, judged_splits=("train",))
            plan = Planner(source).plan(config)
            [record] = train_runs(source, [(plan, given_path(folder))])
        if isinstance(record, RunError):
            raise record
        if (clear_before := vars(self).get("_clear")) is not None:
            clear_before()
        kept = [images.classes.index(name) for name in record.model["classes"]]
        self.classes_: ndarray = classes[kept]
        self.record_ = record
        self._clear: Callable[[], object] | None = clear
        self._predictor: Predictor | None = None
        self._network()  # now, as to predict must change no attribute
        return self

    def predict(self, X: Any) -> ndarray:
        """Return the most probable label of each picture.

        Raises:
            DataError: If a picture cannot be read; the message names it.
        """
        best = self.predict_proba(X).argmax(axis=1)
        return self.classes_[best]

    def predict_proba(self, X: Any) -> Float[ndarray, "n classes"]:
        """Return the probability of each label, as ``smallset predict`` does for `record_`.

        Raises:
            DataError: If a picture cannot be read; the message names it.
        """
        return self._answers(X)[0]

    def transform(self, X: Any) -> Float[ndarray, "n dim"]:
        """Return the embedding of each picture: what the last layer sees.

        Raises:
            DataError: If a picture cannot be read; the message names it.
        """
        return self._answers(X)[1]

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the share of pictures whose label is predicted.

        Args:
            X: Pictures, other than those of `fit`.
            y: Label of each; None with a folder.
            sample_weight: What each picture counts.

        Raises:
            DataError: If a picture cannot be read, or `X` or `y` is not what it should be.
        """
        if not isinstance(X, Folder):
            if y is None:
                raise DataError(MISSING)
            return float(super().score(X, y, sample_weight))
        images, classes = _labelled(X, y, Path())
        said = self.predict([str(images.root / path) for path in images.paths])
        named = classes[images.labels]
        return float(accuracy_score(named, said.astype(str), sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.one_d_array = tags.input_tags.string = True  # paths
        tags.input_tags.two_d_array = False
        assert tags.transformer_tags is not None
        tags.transformer_tags.preserves_dtype = []  # float32, whatever comes in
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = {**vars(self)}
        if "record_" in state:
            for name in ("record_", "_predictor", "_clear"):
                del state[name]
            files = [path for path in self.record_.folder.iterdir() if path.is_file()]
            state["_files"] = {path.name: path.read_bytes() for path in files}
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        files = vars(self).pop("_files", None)
        if files is not None:
            folder, self._clear = _temporary(self)
            for name, content in files.items():
                (folder / name).write_bytes(content)
            self.record_, self._predictor = Record(folder), None

    @property
    def _n_features_out(self) -> int | None:
        return self._network().dim

    def _network(self) -> Predictor:
        check_is_fitted(self, "record_")
        if self._predictor is None:
            # Code of the user's own was named by the user, or lies in a pickle that was trusted.
            self._predictor = Predictor(
                self.record_, device=self.device, embeddings=True, own_code=True
            )
        return self._predictor

    def _answers(self, X: Any) -> tuple[Float[ndarray, "n classes"], Float[ndarray, "n dim"]]:
        """Return probabilities and embeddings."""
        network = self._network()
        given = pictures_below(X) if isinstance(X, Folder) else look_at(X)
        if isinstance(given, list):
            [block] = network.blocks(given, [range(len(given))])
            bad = [f"{path}: {why}" for path, why in zip(given, block.errors, strict=True) if why]
            if bad:
                more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
                raise DataError(f"a picture cannot be read: {bad[0]}{more}")
            assert block.embeddings is not None
            return block.probs, block.embeddings
        return _answers_to_arrays(network, given)


def settings_of(estimator: ImageClassifier) -> RunConfig:
    """Return the settings of the run that `fit` would be; what is None stays open.

    Raises:
        ConfigError: If one is unknown, mistyped, out of range, given twice or not read.
    """
    further = dict(estimator.settings or {})
    for name in further:
        if name in PARAMETERS:
            raise ConfigError(
                f"settings holds {name!r}; give the parameter {PARAMETERS[name]} instead"
            )
        if name.startswith(UNREAD):
            raise ConfigError(f"{name} is not read: fit draws nothing and holds nothing back")
    own = {name: getattr(estimator, parameter) for name, parameter in PARAMETERS.items()}
    own["weights"] = str(estimator.weights)
    if not isinstance(estimator.random_state, int | np.integer):
        own["seed"] = check_random_state(estimator.random_state).randint(2**31)
    given = {name: value for name, value in own.items() if value is not None}
    return override(RunConfig(), {**given, **further})


def _answers_to_arrays(
    network: Predictor, pictures: UInt8[ndarray, "n height width 3"]
) -> tuple[Float[ndarray, "n classes"], Float[ndarray, "n dim"]]:
    side, policy = network.preprocessing.size, network.preprocessing.resize
    answers = [
        network.answer(np.stack([resize(Image.fromarray(each), side, policy) for each in batch]))
        for batch in np.split(pictures, range(BATCH_SIZE, len(pictures), BATCH_SIZE))
    ]
    probs, embeddings = zip(*answers, strict=True)
    return np.concatenate(probs), np.concatenate(embeddings)


MISSING = (
    "this requires y to be passed, but the target y is None: only a folder of class folders has "
    "labels of its own"
)


def _labelled(X: Any, y: Any, aside: Path) -> tuple[ImageSet, ndarray]:
    """Return training images, and the labels that their classes stand for.

    Args:
        aside: A folder for files of arrays.
    """
    if isinstance(X, Folder):
        if y is not None:
            raise DataError(f"y must be None with a folder: its labels are the folders in {X}")
        images = class_folders(X)
        return images, np.array(images.classes)
    if y is None:
        raise DataError(MISSING)
    given = look_at(X)
    check_consistent_length(given, y)
    assert_all_finite(np.asarray(y), input_name="y")
    check_classification_targets(y)
    classes, labels = np.unique(column_or_1d(y, warn=True), return_inverse=True)
    if len(classes) < 2:
        raise DataError(f"y has one class, {classes[0]}; training needs two or more")
    return list_given(given, labels, [str(each) for each in classes], aside), classes


def _temporary(owner: object) -> tuple[Path, Callable[[], object]]:
    """Return a new folder that goes when its owner goes, and what removes it before."""
    folder = Path(tempfile.mkdtemp(prefix="smallset-"))
    return folder, weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
