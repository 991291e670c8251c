"""Tables on a terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from smallset.compare.spec import StudySpec
from smallset.compare.takes import takes
from smallset.data.listing import ImageSet
from smallset.groups import SPLITS

if TYPE_CHECKING:
    from smallset.compare.summary import Summary


def data_table(images: ImageSet, title: str) -> Table:
    """Return the number of images of each class in each split."""
    present = [split for split in SPLITS if (images.splits == split).any()]
    counts = [images.counts(split) for split in present]
    table = Table("#", "class", *present, title=title)
    for column in table.columns[2:]:
        column.justify = "right"
    for number, name in enumerate(images.classes):
        table.add_row(str(number + 1), Text(name), *(str(count[number]) for count in counts))
    table.add_section()
    table.add_row("", "all", *(str(count.sum()) for count in counts))
    return table


def studies_table(studies: Mapping[str, StudySpec], seeds: int | None) -> Table:
    """Return the built-in studies, a line each.

    Args:
        seeds: Runs per arm; None takes the studies' own number.
    """
    table = Table("study", "what it compares", "arms x seeds", "report")
    # A line each: what a study compares is cut where the terminal ends, and nothing else.
    cut = table.columns[1]
    table.expand, cut.ratio, cut.no_wrap, cut.overflow = True, 1, True, "ellipsis"
    for name, spec in studies.items():
        size = f"{len(spec.arms)} x {seeds or spec.seeds}"
        section = re.match(r"[\d., ]*", spec.report)
        table.add_row(
            name, Text(spec.about.strip()), size, section[0].strip(" ,") if section else ""
        )
    return table


def study_lines(
    name: str, spec: StudySpec, seeds: int | None, overrides: Mapping[str, Any]
) -> list[str]:
    """Return what a study is, in a few lines.

    Args:
        spec: With the arms that are asked for.
        seeds: Runs per arm; None takes the study's own number.
        overrides: Dotted settings laid over those of every arm.
    """
    seeds = seeds or spec.seeds
    return [
        f"{spec.title}. {spec.about}",
        *([f"course report: {spec.report}"] if spec.report else []),
        f"arms:  {', '.join(spec.arms)}",
        f"seeds: {seeds}; baseline: {spec.baseline}",
        f"takes: {takes(spec, seeds=seeds, overrides=overrides)}",
        f"smallset study {name} --data DATA",
    ]


def arms_table(summary: "Summary") -> Table:
    """Return the accuracies of the arms of a study; where classes are uneven, balanced ones too."""
    title = f"{summary.num_images:,} test images"
    even = ("balanced",) if summary.is_uneven else ()
    columns = ("arm", "seeds", "train", "val", "test", "95% interval", *even, "luck, points")
    table = Table(*columns, title=title)
    for arm in summary.arms:
        shares = [arm.mean("train"), arm.mean("val"), arm.accuracy.value]
        cells = ["" if share is None else f"{share:.1%}" for share in shares]
        interval = f"{arm.accuracy.low:.1%} to {arm.accuracy.high:.1%}"
        luck = f"{100 * arm.luck.sd:.1f}" if arm.luck else ""
        shown = (f"{arm.balanced:.1%}",) if even else ()
        table.add_row(Text(arm.name), str(len(arm.seeds)), *cells, interval, *shown, luck)
    return table


def comparisons_table(summary: "Summary") -> Table:
    """Return the paired differences of a study."""
    columns = ("arm", "points, 95% interval", "p, corrected", "verdict")
    title = "paired on the same images and seeds; intervals and p values hold together"
    table = Table(*columns, "can be found; would settle it", title=title, show_lines=True)
    for arm, against, _, found in summary.comparisons:
        value, low, high = (100 * each for each in found.difference)
        counts = ((found.needed_seeds, "seeds"), (found.needed_images, "images"))
        needed = " or ".join(f"{count:,} {what}" for count, what in counts if count is not None)
        if found.equal_within is not None:
            needed = f"practically equal: within {100 * found.equal_within:.1f}"
        settles = f"{100 * found.detectable:.1f} points or more\n{needed}".rstrip()
        table.add_row(
            Text(f"{arm}\nagainst {against}"),
            f"{value:+.1f}\n({low:+.1f} to {high:+.1f})",
            f"{found.p_corrected:.2g}",
            found.verdict,
            settles if found.discordant else "right about the same images",
        )
    return table


def layers_table(
    layers: Sequence[Any], *, title: str, classes: int, total: int, head: int
) -> Table:
    """Return the layers of a network.

    Args:
        layers: As `smallset.models.layers.layer_table` returns them.
    """
    table = Table("layer", "kind", "output shape", "parameters", title=title)
    table.columns[3].justify = "right"
    for layer in layers:
        shape = " x ".join(map(str, layer.output_shape))
        table.add_row(layer.name, layer.kind, shape, f"{layer.num_parameters:,}")
    table.add_section()
    other = total - sum(layer.num_parameters for layer in layers)
    if other:
        table.add_row("(outside layers)", "", "", f"{other:,}")
    table.add_row("all", "", f"{classes} classes", f"{total:,}")
    table.add_row("of these, classifier part", "", "", f"{head:,}")
    return table
