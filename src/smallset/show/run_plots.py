"""Arrays in, figure out. Nothing here reads files or knows what a run is."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Int
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from numpy import ndarray

from smallset.show.embed import Plane
from smallset.words import Lang, translate

TRAIN, VAL, TEST = "#0072B2", "#D55E00", "#009E73"  # Okabe & Ito: told apart by everyone
CLASS_COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9",
    "#D55E00", "#7F7F7F", "#8C6D1F", "#5B3A8E", "#B8B000",
)  # fmt: skip
MARKERS = "os^Dv"


def training_curves(
    history: Sequence[Mapping[str, Any]],
    test_accuracy: float | None,
    *,
    title: str,
    lang: Lang = "en",
) -> Figure:
    """Draw loss and accuracy per epoch, train and val, with the test accuracy as a line.

    Stages follow each other along the axis; losses of different stages get panels of their own,
    for they have different units.

    Args:
        test_accuracy: In [0, 1]; None draws no line.
    """
    say = partial(translate, lang=lang)
    stages = sorted({line["stage"] for line in history})
    panels = len(stages) + 1
    figure = Figure(figsize=(4.6 * panels, 3.9), layout="constrained")
    axes: Any = figure.subplots(1, panels)
    figure.suptitle(title, fontsize=11)

    for axis, stage in zip(axes[:-1], stages, strict=True):
        lines = [line for line in history if line["stage"] == stage]
        _curves(axis, [line["epoch"] for line in lines], lines, "loss", say)
        name = lines[0]["objective"]
        title = say("loss: {name}").format(name=name)
        axis.set(title=title, xlabel=say("epoch"), ylabel=say("loss"))
        axis.legend(frameon=False)
        # From 0, so that a loss that hardly moves looks like one; a point at the top stays whole.
        axis.set_ylim(0, axis.dataLim.y1 * 1.06)

    axis = axes[-1]
    times = list(range(len(history)))
    _curves(axis, times, history, "accuracy", say)
    if test_accuracy is not None:
        label = say("test, at the end: {share:.1%}").format(share=test_accuracy)
        axis.axhline(test_accuracy, color=TEST, linestyle="--", label=label)
    for boundary in [t for t in times[1:] if history[t]["stage"] != history[t - 1]["stage"]]:
        axis.axvline(boundary - 0.5, color="0.6", linewidth=1)
        axis.text(
            boundary - 0.6,
            0.5,
            say("next stage"),
            fontsize=7,
            color="0.4",
            ha="right",
            va="center",
            rotation=90,
        )
    counted = say("epoch") if len(stages) == 1 else say("epoch, stage after stage")
    axis.set(title=say("accuracy"), xlabel=counted, ylabel=say("share of images right"))
    axis.set_ylim(0, 1.02)
    axis.legend(frameon=False, loc="best")
    return figure


def _curves(
    axis: Any,
    times: Sequence[int],
    lines: Sequence[Mapping[str, Any]],
    what: str,
    say: Callable[[str], str],
) -> None:
    for split, colour in (("train", TRAIN), ("val", VAL)):
        values = [line[f"{split}_{what}"] for line in lines]
        if any(value is not None for value in values):
            values = [np.nan if value is None else value for value in values]
            marker = "." if len(values) < 60 else ""
            label = say("train, running mean") if split == "train" else say(split)
            axis.plot(times, values, color=colour, marker=marker, label=label)
    axis.grid(color="0.92")
    axis.spines[["top", "right"]].set_visible(False)
    axis.xaxis.get_major_locator().set_params(integer=True)


def confusion_matrix(
    counts: Int[ndarray, "classes classes"],
    classes: Sequence[str],
    *,
    title: str,
    lang: Lang = "en",
) -> Figure:
    """Draw a confusion matrix: one row per true class, shaded by the share of that class.

    Args:
        counts: counts[i, j]: images of class i predicted as j.
    """
    say = partial(translate, lang=lang)
    size = len(classes)
    side = min(max(4.5, 0.27 * size + 2.6), 24)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axis: Any = figure.subplots()
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    # The square root keeps a few confused images visible beside a dark diagonal.
    image = axis.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    font = 9 if size <= 12 else 7 if size <= 60 else 4
    if size <= 60:
        for i, j in np.argwhere(counts):
            colour = "white" if shares[i, j] > 0.35 else "black"
            axis.text(j, i, counts[i, j], ha="center", va="center", fontsize=font, color=colour)
    axis.set_xticks(range(size), classes, rotation=90, fontsize=font)
    axis.set_yticks(range(size), classes, fontsize=font)
    axis.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="0.93", linewidth=0.5)
    axis.tick_params(which="both", length=0)
    axis.set(xlabel=say("predicted"), ylabel=say("true class"))
    axis.set_title(title, fontsize=11)
    bar = figure.colorbar(image, ax=axis, shrink=0.6, pad=0.02, ticks=[0, 0.05, 0.2, 0.5, 1])
    bar.set_label(say("share of the true class"))
    return figure


def feature_scatter(
    plane: Plane,
    train_labels: Int[ndarray, " n"],
    test_labels: Int[ndarray, " m"],
    classes: Sequence[str],
    *,
    chosen: Sequence[int],
    title: str,
    lang: Lang = "en",
) -> Figure:
    """Draw train and test features side by side on the same axes, coloured by class.

    Where nothing is test, there is one panel.

    Args:
        chosen: The classes that are drawn, as positions in it.
    """
    say = partial(translate, lang=lang)
    columns = 1 if len(chosen) <= 20 else 2
    parts = [("train", plane.train, train_labels), ("test", plane.test, test_labels)]
    parts = parts if len(plane.test) else parts[:1]
    size = (5.2 * len(parts) + 1.6 * columns, 4.8)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes: Any = figure.subplots(1, len(parts), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (name, points, labels) in zip(axes, parts, strict=True):
        for number, label in enumerate(chosen):
            at = points[labels == label]
            axis.scatter(
                at[:, 0], at[:, 1], s=22, linewidths=0.3, edgecolors="white",
                color=CLASS_COLOURS[number % len(CLASS_COLOURS)],
                marker=MARKERS[number // len(CLASS_COLOURS) % len(MARKERS)],
                label=classes[label],
            )  # fmt: skip
        title = say("{split} ({count} images)").format(split=say(name), count=len(points))
        axis.set(title=title, xticks=[], yticks=[])
        axis.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(
        handles, names, loc="outside right center", frameon=False, fontsize=8, ncols=columns,
        markerscale=1.3,
    )  # fmt: skip
    return figure
