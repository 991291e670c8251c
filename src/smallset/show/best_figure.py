"""The chart of a search: how right each candidate is against what one picture costs."""

import textwrap
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter, ScalarFormatter

from smallset.files import make_folder
from smallset.show.fonts import STYLE, choose_fonts
from smallset.show.run_figures import save_figure
from smallset.stats import share_interval
from smallset.words import Lang, text, translate

LEADS, RACED, DROPPED = "#0072B2", "#56B4E9", "0.65"


def draw_best(story: Mapping[str, Any], folder: Path, lang: Lang = "en") -> None:
    """Draw best.png into the figures folder of the winner's record.

    Args:
        story: Content of best.json; nothing is drawn where nothing was raced.

    Raises:
        RunError: If the figure cannot be written.
    """
    if not story["candidates"]:
        return
    names = [each["name"] for each in story["candidates"]]
    with mpl.rc_context({"font.family": choose_fonts(names).families, **STYLE}):
        save_figure(
            candidates_chart(story, lang=lang), make_folder(folder / "figures") / "best.png"
        )


def candidates_chart(story: Mapping[str, Any], *, lang: Lang = "en") -> Figure:
    """Draw every candidate that was raced, with the interval of its out-of-fold accuracy."""
    say = partial(translate, lang=lang)
    raced = [each for each in story["candidates"] if each["accuracy"] is not None]
    raced.sort(key=lambda each: each["accuracy"])
    figure = Figure(figsize=(8.6, 1.6 + 0.42 * len(raced)), layout="constrained")
    axis, costs = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    images = story["images"]["train + val"]
    for row, each in enumerate(raced):
        colour = DROPPED if each["state"] == "dropped" else RACED
        colour = LEADS if row == len(raced) - 1 else colour
        right = round(each["accuracy"] * images)
        value, low, high = share_interval(right, images)
        axis.plot([low, high], [row, row], color=colour, linewidth=2.2)
        axis.plot(value, row, "o", color=colour, markersize=7)
        said = text("{share:.1%}   best in {chance:.0%}", share=value, chance=each["chance"])
        axis.annotate(
            said.say(lang), (high, row), xytext=(6, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
        costs.barh(row, each["cost"], height=0.5, color=colour)
        costs.annotate(
            f"{each['cost']:.0f} ms", (each["cost"], row), xytext=(4, 0),
            textcoords="offset points", va="center", fontsize=8,
        )  # fmt: skip
    axis.set_yticks(range(len(raced)), [_short(each["name"]) for each in raced])
    axis.set_ylim(-0.7, len(raced) - 0.3)
    low = max(axis.dataLim.x0 - 0.01, 0.0)
    axis.set_xlim(low, 1.0 + 0.3 * (1 - low))
    axis.set_xticks([tick for tick in axis.get_xticks() if low <= tick <= 1])
    axis.xaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    axis.set_title(say("right out of fold, with 95% interval"), fontsize=9)
    costs.set_title(say("time for one picture"), fontsize=9)
    costs.set_xlim(0, 1.35 * max(each["cost"] for each in raced))
    costs.xaxis.set_major_formatter(ScalarFormatter())
    for one in (axis, costs):
        one.spines[["top", "right"]].set_visible(False)
        one.grid(color="0.92", axis="x")
        one.set_axisbelow(True)
    costs.tick_params(left=False)
    estimate = story["estimate"]
    said = text(
        "{chosen}: {naive:.1%} as measured, {value:.1%} ({low:.1%} to {high:.1%}) after the "
        "price of choosing",
        chosen=story["estimate_of"],
        naive=story["naive"],
        **{name: np.clip(value, 0, 1) for name, value in estimate.items()},
    ).say(lang)
    title = textwrap.fill(said, 92, break_long_words=False, break_on_hyphens=False)
    figure.suptitle(title, fontsize=10, fontweight="bold", x=0.01, ha="left")
    return figure


def _short(name: str) -> str:
    return name.replace("+", " +\n")
