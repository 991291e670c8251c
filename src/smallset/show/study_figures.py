"""Draw the charts of a study from its summary."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np

from smallset.choose.tune import Tuned, parse_space
from smallset.compare.summary import Summary
from smallset.files import clear_unfinished, make_folder
from smallset.show.fonts import STYLE, choose_fonts
from smallset.show.run_figures import save_figure
from smallset.show.study_plots import (
    Point,
    accuracy_chart,
    arm_curves,
    arms_chart,
    forest_plot,
    search_chart,
)
from smallset.words import Lang, catalogue, translate

AXIS_NAMES = {
    "images": "training images", "lr": "learning rate", "optim.momentum": "momentum",
    "data.noise_rate": "share of wrong training labels", "optim.weight_decay": "weight decay",
}  # fmt: skip

SHARES = ("data.noise_rate", "data.train_fraction")
"""Settings that a chart shows in percent."""


def draw_study(summary: Summary, *, lang: Lang = "en") -> None:
    """Draw arms, comparisons, curves and the study's own charts into its figures folder.

    Raises:
        RunError: If a figure cannot be written.
    """
    if not summary.arms:
        return
    folder = make_folder(summary.folder / "figures")
    clear_unfinished(folder)
    title = summary.spec.headings[0].say(lang)
    arms = {arm.name: arm for arm in summary.arms}
    texts = [*arms, title, *(label for chart in summary.spec.charts for label in chart.curves)]
    texts += catalogue().values() if lang == "zh" else ()
    figures = {}
    with mpl.rc_context({"font.family": choose_fonts(texts).families, **STYLE}):
        seeds = {a.name: (a.accuracy, a.correct.mean(axis=1).tolist()) for a in summary.arms}
        figures["arms"] = arms_chart(seeds, title=title, num_images=summary.num_images, lang=lang)
        if summary.comparisons:
            figures["forest"] = forest_plot(summary.comparisons, title=title, lang=lang)
        histories = {a.name: _even([r.history for r in a.records]) for a in summary.arms}
        figures["curves"] = arm_curves(histories, title=title, lang=lang)
        for chart in summary.spec.charts:
            curves = {
                translate(label, lang): [
                    Point(arms[n].at(chart), arms[n].accuracy) for n in names if n in arms
                ]
                for label, names in chart.curves.items()
            }
            curves = {label: points for label, points in curves.items() if points}
            if len({point.x for points in curves.values() for point in points}) > 1:
                figures[chart.name] = accuracy_chart(
                    curves, title=translate(chart.title, lang),
                    x_label=AXIS_NAMES.get(chart.x, chart.x), log=chart.log, lang=lang,
                    percents=chart.x in SHARES,
                )  # fmt: skip
        for name, figure in figures.items():
            save_figure(figure, folder / f"{name}.png")


def _even(histories: list[list[dict]]) -> list[list[dict]]:
    """Cut the seeds' histories to one length; a stage that was added later would differ."""
    shortest = int(np.min([len(history) for history in histories]))
    return [history[:shortest] for history in histories]


def draw_search(tuned: Tuned, search: Mapping[str, str]) -> None:
    """Draw the trials of a search over the first two numbers that it varied, if there are two.

    Raises:
        RunError: If the figure cannot be written.
    """
    spaces = {name: parse_space(text) for name, text in search.items()}
    names = [name for name, space in spaces.items() if not space.choices][:2]
    if len(names) < 2:
        return
    shown = [trial for trial in tuned.trials if trial.val_accuracy is not None]
    # The start may lie at 0, which a logarithmic axis has not: it stands at the edge then.
    least = [spaces[name].low for name in names]
    rows = [
        (
            max(float(trial.settings[names[0]]), least[0]),
            max(float(trial.settings[names[1]]), least[1]),
            trial.val_accuracy or 0.0,
            trial.state == "complete",
        )
        for trial in shown
    ]
    figure = search_chart(
        rows, names=(AXIS_NAMES.get(names[0], names[0]), AXIS_NAMES.get(names[1], names[1])),
        log=(spaces[names[0]].log, spaces[names[1]].log),
        best=[t.number for t in shown].index(tuned.best.number),
        title=f"{len(tuned.trials)} trials",
    )  # fmt: skip
    save_figure(figure, make_folder(tuned.folder / "figures") / "search.png")
