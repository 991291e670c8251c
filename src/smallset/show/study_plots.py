"""Charts of a study: arrays in, figure out. Nothing here reads files."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, NullFormatter, PercentFormatter

from smallset.compare.summary import Comparison
from smallset.show.run_plots import CLASS_COLOURS
from smallset.stats import Interval
from smallset.words import Lang, text, translate

VERDICT_COLOURS = {
    "better": "#0072B2", "worse": "#D55E00", "these two networks differ": "#7A4E9E",
    "cannot tell": "#7F7F7F",
}  # fmt: skip
LINES = ("-", "--", ":", "-.")


class Point(NamedTuple):
    """One arm on a curve."""

    x: float
    accuracy: Interval


def _axes(width: float, height: float, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes: Any = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
    return figure, axes


def arms_chart(
    arms: Mapping[str, tuple[Interval, Sequence[float]]],
    *,
    title: str,
    num_images: int,
    lang: Lang = "en",
) -> Figure:
    """Draw the test accuracy of every arm with its interval, and each seed as a dot.

    Args:
        arms: By name: the interval over images and seeds, and the accuracy of each seed.
    """
    figure, [axis] = _axes(8.2, 1.5 + 0.34 * len(arms))
    for row, (interval, seeds) in enumerate(arms.values()):
        axis.plot([interval.low, interval.high], [row, row], color="#0072B2", linewidth=2.2)
        axis.plot(interval.value, row, "o", color="#0072B2", markersize=7)
        axis.plot(seeds, [row + 0.24] * len(seeds), "|", color="0.35", markersize=6)
        axis.annotate(
            f"{interval.value:.1%}", (interval.high, row), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axis.set_yticks(range(len(arms)), arms)
    axis.set_ylim(len(arms) - 0.4, -0.6)
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axis.margins(x=0.12)
    label = text(
        "test accuracy on {images:,} images: mean, 95% interval, and each seed", images=num_images
    )
    axis.set_xlabel(label.say(lang))
    axis.set_title(title, fontsize=11)
    return figure


def forest_plot(comparisons: Sequence[Comparison], *, title: str, lang: Lang = "en") -> Figure:
    """Draw paired differences with their intervals; right of 0 the first of the two is better."""
    say = partial(translate, lang=lang)
    figure, [axis] = _axes(9.4, 1.7 + 0.36 * len(comparisons))
    axis.axvline(0, color="0.4", linewidth=1)
    for row, result in enumerate(each.result for each in comparisons):
        points = Interval(*(100 * value for value in result.difference))
        colour = VERDICT_COLOURS[result.verdict]
        shown = 100 * result.detectable
        axis.barh(row, 2 * shown, left=-shown, height=0.62, color="0.93", zorder=0)
        axis.plot([points.low, points.high], [row, row], color=colour, linewidth=2.2)
        axis.plot(points.value, row, "o", color=colour, markersize=7)
        value = f"{points.value:+.1f}".replace("-", "\N{MINUS SIGN}")  # as the axis has it
        axis.text(
            1.02, row, f"{value}  {say(result.verdict)}", color=colour, va="center",
            fontsize=9, transform=axis.get_yaxis_transform(),
        )  # fmt: skip
    axis.set_yticks(
        range(len(comparisons)),
        [f"{each.arm}  {say('against')}  {each.against}" for each in comparisons],
    )
    axis.set_ylim(len(comparisons) - 0.4, -0.6)
    axis.margins(x=0.06)
    axis.set_xlabel(
        say("difference in test accuracy, points, 95% interval (grey: missed more than once in "
            "five)")
    )  # fmt: skip
    axis.set_title(title, fontsize=11)
    return figure


def accuracy_chart(
    curves: Mapping[str, Sequence[Point]],
    *,
    title: str,
    x_label: str,
    log: bool,
    percents: bool = False,
    lang: Lang = "en",
) -> Figure:
    """Draw test accuracy against a number the arms differ in, one curve per label.

    Args:
        percents: The number is a share, and said in percent.
    """
    say = partial(translate, lang=lang)
    figure, [axis] = _axes(7.4, 4.6)
    places = sorted({point.x for points in curves.values() for point in points})
    # Curves stand a little beside each other, so that their intervals can be told apart.
    step = 0.012 * (np.log(places[-1] / places[0]) if log else places[-1] - places[0])
    for number, (label, points) in enumerate(curves.items()):
        ordered = sorted(points)
        shift = (number - (len(curves) - 1) / 2) * step
        xs = [p.x * np.exp(shift) if log else p.x + shift for p in ordered]
        values = np.array([p.accuracy for p in ordered])
        axis.errorbar(
            xs, values[:, 0], yerr=[values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]],
            marker="o", capsize=3, linewidth=1.6, label=label,
            color=CLASS_COLOURS[number % len(CLASS_COLOURS)],
            linestyle=LINES[number // len(CLASS_COLOURS) % len(LINES)],
        )  # fmt: skip
    if log:
        axis.set_xscale("log")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_xticks(
        places, [f"{100 * place:g}%" if percents else f"{place:,g}" for place in places]
    )
    axis.minorticks_off()
    axis.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axis.set(xlabel=say(x_label), ylabel=say("test accuracy, 95% interval"))
    axis.set_title(title, fontsize=11)
    if len(curves) > 1:
        axis.legend(frameon=False)
    return figure


def arm_curves(
    arms: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], *, title: str, lang: Lang = "en"
) -> Figure:
    """Draw the accuracy of every arm per epoch, train and val; lines are means over seeds.

    Losses of different kinds have different units, so they are not drawn here.

    Args:
        arms: By name, the lines of epochs.jsonl of each seed.
    """
    say = partial(translate, lang=lang)
    has_val = any(
        line["val_accuracy"] is not None for runs in arms.values() for r in runs for line in r
    )
    splits = ("train", "val") if has_val else ("train",)
    figure, axes = _axes(5.2 * len(splits) + 2.6, 4.8, len(splits))
    for axis, split in zip(axes, splits, strict=True):
        for number, (name, runs) in enumerate(arms.items()):
            values = [[line[f"{split}_accuracy"] for line in run] for run in runs]
            if any(value is None for run in values for value in run):
                continue
            table = np.array(values, dtype=float)
            colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
            style = LINES[number // len(CLASS_COLOURS) % len(LINES)]
            axis.plot(table.mean(axis=0), color=colour, linestyle=style, label=name)
            if len(table) > 1:
                epochs = np.arange(table.shape[1])
                low, high = table.min(axis=0), table.max(axis=0)
                axis.fill_between(epochs, low, high, color=colour, alpha=0.15, linewidth=0)
        axis.yaxis.set_major_formatter(PercentFormatter(1))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set(xlabel=say("epoch, stage after stage"), ylim=(0, 1.02))
        title_of = say("{split}: mean and range of the seeds").format(split=say(split))
        axis.set_title(title_of, fontsize=10)
    axes[0].set_ylabel(say("share of images right"))
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(title, fontsize=11)
    return figure


def search_chart(
    trials: Sequence[tuple[float, float, float, bool]],
    *,
    names: tuple[str, str],
    log: tuple[bool, bool],
    best: int,
    title: str,
) -> Figure:
    """Draw a search over two numbers: each trial a dot, coloured by its accuracy on val.

    Args:
        trials: Value of the first and the second number, accuracy on val, and whether the trial
            came to its end (those that were stopped early are drawn small).
    """
    figure, [axis] = _axes(7.0, 4.8)
    whole = np.array([complete for *_, complete in trials])
    xs, ys, accuracies = np.array([trial[:3] for trial in trials]).T
    limits = {"vmin": accuracies.min(), "vmax": accuracies.max(), "cmap": "viridis"}
    for chosen, size, label in ((~whole, 28, "stopped early"), (whole, 90, "trained to the end")):
        points = axis.scatter(
            xs[chosen], ys[chosen], c=accuracies[chosen], s=size, edgecolors="white",
            linewidths=0.5, label=label, **limits,
        )  # fmt: skip
    axis.scatter(
        xs[best], ys[best], s=260, facecolors="none", edgecolors="#D55E00", linewidths=2,
        label=f"best: {accuracies[best]:.1%}",
    )  # fmt: skip
    for logs, scale, ticks in (
        (log[0], axis.set_xscale, axis.xaxis), (log[1], axis.set_yscale, axis.yaxis),
    ):  # fmt: skip
        if logs:
            scale("log")
            ticks.set_major_formatter(LogFormatter())  # its usual one writes in TeX
            ticks.set_minor_formatter(NullFormatter())
    axis.set(xlabel=names[0], ylabel=names[1])
    axis.set_title(title, fontsize=11)
    bar = figure.colorbar(points, ax=axis, format=PercentFormatter(1))
    bar.set_label("accuracy on val, mean over seeds")
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure
