"""Draw the figures of a run from its record."""

import warnings
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from smallset.data.listing import parse_classes
from smallset.files import clear_unfinished, make_folder, write_atomic
from smallset.groups import FigureConfig
from smallset.record.predictions import Predictions
from smallset.record.record import Record
from smallset.show.embed import Plane, principal_axes, tsne
from smallset.show.fonts import STYLE, choose_fonts
from smallset.show.run_plots import confusion_matrix, feature_scatter, training_curves
from smallset.words import Lang, Text, catalogue, language, text, translate

FEW = 6  # three pairs
MOST_CLASSES = 10  # more colours than this cannot be told apart


def draw_run(record: Record, config: FigureConfig) -> list[str]:
    """Draw every figure of a run into its folder `figures`.

    Args:
        config: Which classes the feature pictures show, and whether t-SNE is drawn.

    Returns:
        What a user should know, such as characters that no installed font has.

    Raises:
        ConfigError: If the chosen classes are not in the record.
        RunError: If a figure cannot be written.
    """
    folder = make_folder(record.folder / "figures")
    clear_unfinished(folder)
    predictions, lang = record.predictions, language(config.lang)
    fonts = choose_fonts([*predictions.classes, *(catalogue().values() if lang == "zh" else ())])
    notes = [fonts.note] if fonts.note else []
    with (
        mpl.rc_context({"font.family": fonts.families, **STYLE}),
        warnings.catch_warnings(),
    ):
        # The note above says it once; matplotlib would say it for each character and figure.
        warnings.filterwarnings("ignore", message=r"Glyph \d+ .* missing from font")
        if record.history:  # joined runs have none
            _draw_curves(record, folder, lang)
        for split in ("train", "test"):
            accuracy = predictions.accuracy(split)
            if accuracy is None:  # the images of folds are scored only by runs that are new to them
                continue
            total = int((predictions.splits == split).sum())
            title = text(
                "{split}: {share:.1%} of {count} images right",
                split=translate(split, lang), share=accuracy, count=total,
            ).say(lang)  # fmt: skip
            figure = confusion_matrix(
                predictions.confusion(split), predictions.classes, title=title, lang=lang
            )
            save_figure(figure, folder / f"confusion-{split}.png")
        notes += _draw_features(record, config, folder)
    return notes


def _draw_curves(record: Record, folder: Path, lang: Lang) -> None:
    config = record.config["config"]
    named = f"{config['model']}, {config['loss']}, {config['image_size']} px"
    title = text("{run}, seed {seed}", run=named, seed=config["seed"]).say(lang)
    figure = training_curves(record.history, record.result["test_accuracy"], title=title, lang=lang)
    save_figure(figure, folder / "curves.png")


def _draw_features(record: Record, config: FigureConfig, folder: Path) -> list[str]:
    predictions = record.predictions
    classes = predictions.classes
    chosen, are_confused = chosen_classes(config, predictions)
    vectors, labels = {}, {}
    scored = np.flatnonzero((predictions.splits == "test") & (not predictions.of_folds))
    for split, rows in (("train", predictions.learnt), ("test", scored)):
        keep = np.isin(predictions.labels[rows], chosen)
        vectors[split] = record.embeddings(split)[keep]
        labels[split] = predictions.labels[rows][keep]
    if len(vectors["train"]) < 3 or not (len(vectors["test"]) or predictions.of_folds):
        return ["too few images of the chosen classes for feature pictures"]
    if not np.ptp(vectors["train"].astype(np.float32), axis=0).any():
        return ["all embeddings of train are equal: the features collapsed; no feature pictures"]

    lang = language(config.lang)
    which = {"some": len(chosen), "all": len(classes)}
    axes = principal_axes(vectors["train"], vectors["test"])
    plane = axes.plane
    shown = text("{some} of {all} classes", **which)
    if are_confused:
        shown = text("the {some} of {all} classes that are confused most", **which)
    title = text("PCA of the features, {shown}", shown=shown)
    if plane.explained is not None:
        title = text("{title}, {share:.0%} of the variance of train", title=title,
                     share=plane.explained)  # fmt: skip
    pictures: dict[str, tuple[Plane, Text]] = {"pca": (plane, title)}
    if config.tsne:
        title = text("t-SNE of the features, {shown}, train and test together", shown=shown)
        pictures["tsne"] = tsne(axes), title
    for name, (points, title) in pictures.items():
        figure = feature_scatter(
            points,
            labels["train"],
            labels["test"],
            classes,
            chosen=chosen,
            title=title.say(lang),
            lang=lang,
        )
        save_figure(figure, folder / f"{name}.png")
    return []


def chosen_classes(config: FigureConfig, predictions: Predictions) -> tuple[list[int], bool]:
    """Return the classes that feature pictures show, and whether they are the most confused.

    Those asked for; else all, where their colours can be told apart; else the pairs that are taken
    for each other most often on test, or on val where nothing is test.

    Raises:
        ConfigError: If a class that is asked for is not among them.
    """
    asked = parse_classes(config.classes, predictions.classes)
    if config.classes or len(asked) <= MOST_CLASSES:
        return asked, False
    split = "test" if (predictions.splits == "test").any() else "val"
    wrong = predictions.confusion(split)
    wrong = np.triu(wrong + wrong.T, 1)
    worst = np.argsort(-wrong, axis=None, kind="stable")[: np.count_nonzero(wrong)]
    pairs = np.stack(np.unravel_index(worst, wrong.shape), 1).ravel()
    found = list(dict.fromkeys(pairs.tolist()))[:FEW]
    return (sorted(found), True) if len(found) == FEW else (asked[:FEW], False)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=130)
    write_atomic(path, content.getvalue())
