"""The page of one run: every number down to the images behind it."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from smallset.config import RunConfig
from smallset.files import write_atomic
from smallset.findings.facts import Facts, Finding, read_facts
from smallset.findings.finders import KINDS, by_cause, find
from smallset.findings.next_step import next_steps
from smallset.groups import AugmentConfig, FigureConfig
from smallset.record.command import best_command
from smallset.record.doubt import read_temperature
from smallset.record.explained import Explained
from smallset.record.looks import looks_at_test, runs_beside
from smallset.record.measures import (
    balanced,
    calibration,
    held_out_share,
    least_sure,
    worst_mistakes,
)
from smallset.record.predictions import Predictions
from smallset.record.record import Record
from smallset.settings import flat
from smallset.show.embed import neighbour_accuracy, principal_axes, tsne
from smallset.show.report.class_table import class_rows
from smallset.show.report.how_good import accuracies_beside, headline, time_taken
from smallset.show.report.render import render
from smallset.show.report.search_section import search_section
from smallset.show.report.thumbnails import Pictures, fit_thumbnails, webp
from smallset.show.report.trust import trust
from smallset.show.run_figures import chosen_classes
from smallset.stats import directions
from smallset.words import Lang, Text, text

SPLITS = ("train", "val", "test")
NUM_SHOWN = 24  # images in a gallery of the worst
NEAREST = 4  # training images shown beside a picture
TOP = 5  # probabilities kept per image


def write_run_page(
    record: Record,
    pictures: Pictures | None,
    explained: Explained | None,
    *,
    findings: Sequence[Finding] | None = None,
    at_hand: Sequence[str] = (),
    lang: Lang,
    budget_mb: float = 15.0,
    notes: Sequence[Text] = (),
) -> Path:
    """Write report.html into a record.

    Args:
        pictures: Its images; None makes a page without them.
        explained: What its network says; None leaves those panels out.
        findings: Of the run, where they are known; None looks for them.
        at_hand: Pretrained networks whose weights are here.
        budget_mb: The file stays under this, in 10^6 bytes; thumbnails become smaller for it.
        notes: What else a reader should know, such as why something was left out.

    Raises:
        ConfigError: If the budget is too small for a page without images.
        DataError: If a file of the record is missing.
        RunError: If the page cannot be written.
    """
    facts = read_facts(record)
    predictions = facts.predictions
    causes = by_cause(find(facts) if findings is None else findings)
    order = _most_wanted(facts)
    chosen, are_confused = chosen_classes(
        FigureConfig.model_validate(facts.settings["figures"]), predictions
    )
    data: dict[str, Any] = {
        "classes": predictions.classes,
        "images": _images(predictions),
        "history": record.history,
        "accuracy": record.result["test_accuracy"],
        "order": _similar_order(predictions.confusion("test")),
        "worst": worst_mistakes(predictions, NUM_SHOWN),
        "unsure": least_sure(predictions, NUM_SHOWN),
        "findingImages": [finding.images for cause in causes for finding in cause],
        "chosen": chosen,
        "planes": _planes(facts),
        "near": _nearest(facts),
        "calibration": _calibration(facts),
        "search": search["points"] if (search := search_section(record)) else None,
        "trust": trust(predictions, read_temperature(record.model).value, facts.folds),
    }
    beside = runs_beside(record)
    looks = looks_at_test(beside)
    left_out = [*notes, *([looks] if looks else [])]
    cams = _cams(predictions, pictures, explained)
    context = _context(record, facts) | {
        "causes": causes,
        "steps": next_steps(record, causes, at_hand=at_hand, beside=beside),
        "lines": accuracies_beside(
            record, beside, images=len(facts.test), chance=facts.predictions.chance
        ),
        "has_curves": len(record.history) > 1,
        "has_val_curve": any(each.get("val_loss") is not None for each in record.history),
        "cams": cams,
        "has_planes": data["planes"] is not None,
        "are_confused": are_confused,
        "has_trust": data["trust"] is not None,
        "cam_side": explained.side if explained else 0,
        "views": _views(predictions, pictures, explained),
    }
    if pictures is not None:
        empty = render("run.html", lang=lang, data=data | {"thumbs": {}}, left_out=[], **context)
        made, more = fit_thumbnails(pictures.shown, order, page=empty, budget_mb=budget_mb)
        data["thumbs"] = made
        left_out += more
    page = render("run.html", lang=lang, data=data, left_out=left_out, **context)
    path = record.folder / "report.html"
    write_atomic(path, page)
    return path


def _most_wanted(facts: Facts) -> list[int]:
    """Return all rows, in the order in which a page would miss their images."""
    wrong_train = facts.train[~facts.right[facts.train]]
    right_train = facts.train[facts.right[facts.train]]
    rows = [facts.test, wrong_train, facts.rows("val"), right_train]
    return np.concatenate(rows).tolist()


def _images(predictions: Predictions) -> dict[str, Any]:
    probs = predictions.probs
    top = np.argsort(-probs, axis=1, kind="stable")[:, :TOP]
    return {
        "path": predictions.paths,
        "split": [SPLITS.index(split) for split in predictions.splits],
        "label": predictions.labels,
        "given": predictions.given_labels,
        "predicted": predictions.predicted,
        "top": [
            [[int(k), round(float(probs[row, k]), 6)] for k in best] for row, best in enumerate(top)
        ],
    }


def _similar_order(counts: Int[ndarray, "classes classes"]) -> list[int]:
    """Return the classes so that those confused with each other stand side by side."""
    if len(counts) < 3:
        return list(range(len(counts)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    apart = 1 - (shares + shares.T) / 2
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree).tolist()


def _planes(facts: Facts) -> dict[str, Any] | None:
    learnt = facts.embeddings["train"]
    if len(learnt) < 3 or not np.ptp(learnt.astype(np.float32), axis=0).any():
        return None
    # With folds, all images were learnt from: one cloud, and no neighbours that are new to it.
    predictions, test = facts.predictions, facts.embeddings["test"]
    parts = (predictions.learnt, facts.test[:0] if predictions.of_folds else facts.test)
    labels = [predictions.labels[rows] for rows in parts]
    axes = principal_axes(learnt, test)
    full = neighbour_accuracy(learnt, labels[0], test, labels[1]) if len(test) else None
    planes = {"pca": axes.plane} | (
        {"tsne": tsne(axes)} if facts.settings["figures"]["tsne"] else {}
    )
    shown = {}
    for name, plane in planes.items():
        points: list[list[float] | None] = [None] * len(predictions.ids)
        # Four digits: a thousandth of the picture is less than a pixel.
        scale = max(float(np.abs(each).max(initial=1e-12)) for each in (plane.train, plane.test))
        for rows, at in zip(parts, (plane.train, plane.test), strict=True):
            for row, point in zip(rows, np.round(at / scale, 4).tolist(), strict=True):
                points[row] = point
        flat = None
        if len(test):
            flat = neighbour_accuracy(plane.train, labels[0], plane.test, labels[1])
        shown[name] = {"points": points, "explained": plane.explained, "full": full, "flat": flat}
    return shown


def _nearest(facts: Facts) -> dict[int, list[int]]:
    """Return, for each row that is no training image, the training images that are most like it.

    Alike is what the network sees: the cosine between embeddings.
    """
    if facts.predictions.of_folds or not len(facts.train):
        return {}
    known = directions(facts.embeddings["train"].astype(np.float32))
    found: dict[int, list[int]] = {}
    for split in ("val", "test"):
        rows, vectors = facts.rows(split), facts.embeddings.get(split)
        for start in range(0, len(rows) if vectors is not None else 0, 1000):
            assert vectors is not None
            alike = directions(vectors[start : start + 1000].astype(np.float32)) @ known.T
            best = np.argsort(-alike, axis=1, kind="stable")[:, :NEAREST]
            at = rows[start : start + 1000].tolist()
            found |= dict(zip(at, facts.train[best].tolist(), strict=True))
    return found


def _calibration(facts: Facts) -> dict[str, Any]:
    confidence = facts.predictions.probs[facts.test].max(axis=1)
    right = facts.right[facts.test]
    seen = calibration(confidence, right)
    place = np.minimum((confidence * 10).astype(int), 9)
    bounds = [
        held_out_share(int(right[place == n].sum()), int(count), folds=facts.folds)
        if count
        else None
        for n, count in enumerate(seen.counts)
    ]
    return {
        "confidence": [None if np.isnan(v) else float(v) for v in seen.confidence],
        "accuracy": [None if np.isnan(v) else float(v) for v in seen.accuracy],
        "counts": seen.counts,
        "high": [b.high if b else None for b in bounds],
        "low": [b.low if b else None for b in bounds],
        "error": seen.error,
    }


def _cams(
    predictions: Predictions, pictures: Pictures | None, explained: Explained | None
) -> list[dict[str, Any]]:
    if pictures is None or explained is None or explained.predicted is None:
        return []
    assert explained.true is not None
    cams = []
    for n, row in enumerate(explained.rows):
        image = pictures.of([row])[0]
        maps = [image, *(_over(image, looks[n]) for looks in (explained.predicted, explained.true))]
        p, label = predictions.probs[row], int(predictions.labels[row])
        cams.append({
            "row": row,
            "path": predictions.paths[row],
            "pictures": [webp(each, size=160) for each in maps],
            "predicted": predictions.classes[int(p.argmax())],
            "label": predictions.classes[label],
            "right": int(p.argmax()) == label,
            "p": float(p.max()),
            "p_label": float(p[label]),
        })  # fmt: skip
    return cams


def _over(
    image: UInt8[ndarray, "size size 3"], looks: Float[ndarray, "size size"]
) -> UInt8[ndarray, "size size 3"]:
    """Lay a map over an image: dark where nothing spoke for the class, yellow where most did."""
    heat = mpl.colormaps["inferno"](looks)[..., :3] * 255
    grey = image.mean(axis=2, keepdims=True)
    return (0.45 * grey + 0.55 * heat).round().astype(np.uint8)


def _views(
    predictions: Predictions, pictures: Pictures | None, explained: Explained | None
) -> list[dict[str, Any]]:
    if pictures is None or explained is None:
        return []
    shown = []
    for n, row in enumerate(explained.view_rows):
        images = [pictures.of([row])[0]]
        images += [] if explained.views is None else list(explained.views[:, n])
        shown.append(
            {"path": predictions.paths[row], "pictures": [webp(i, size=112) for i in images]}
        )
    return shown


READ_BY_JOINED = ("model", "mirror", "image_size", "data.", "compute.", "figures.")
"""Settings that joined runs have in common; the others are in the members' own records."""


def _about(record: Record) -> Text:
    settings = record.config["config"]
    if record.joined is not None:
        members = record.joined["members"]
        return text("{size} px, {count} runs joined: their logits averaged, each over its "
                    "temperature", size=settings["image_size"], count=len(members))  # fmt: skip
    size, seed = settings["image_size"], settings["seed"]
    if settings["head"] == "probe" and settings["trains"] == "classifier":
        return text("{size} px, a probe on the frozen network, seed {seed}", size=size, seed=seed)
    return text(
        "{size} px, {epochs} epochs, learning rate {lr:g}, seed {seed}",
        size=size,
        epochs=settings["epochs"],
        lr=settings["lr"],
        seed=seed,
    )


def _context(record: Record, facts: Facts) -> dict[str, Any]:
    """Return what the template asks for beside images and findings."""
    config, result, predictions = record.config, record.result, facts.predictions
    settings = config["config"]
    right = facts.right[facts.test].astype(np.float64)
    confidence = predictions.probs[facts.test].max(axis=1)
    default = flat(RunConfig().model_dump(mode="json"))
    folds, images = result.get("folds"), config["data"]["images"]
    search, seen = search_section(record), headline(record)
    assert seen  # a page is of a run with test images, or of folds
    return {
        "name": " · ".join([
            settings["model"], *([] if record.joined else [settings["loss"]]),
            Path(config["data"]["source"]).name,
        ]),
        "about": _about(record),
        "joined": record.joined,
        "accuracy": seen.accuracy,
        "measured": float(right.mean()),
        "folds": folds,
        "test_images": len(facts.test),
        "classes": predictions.classes,
        "chance": predictions.chance,
        "splits": [
            (split, result[f"{split}_accuracy"], images[split] or len(facts.rows(split)))
            for split in SPLITS
        ],
        "took": time_taken(record, search),
        "search": search,
        "even": balanced(predictions),
        "num_checks": len(KINDS),
        "notes": result["findings"],
        "class_rows": class_rows(facts, folds["folds"] if folds else 0),
        "judged_on": facts.judged.split,
        "calibration": calibration(confidence, facts.right[facts.test]),
        "mean_confidence": float(confidence.mean()),
        "image_size": settings["image_size"],
        "resize": settings["data"]["resize"],
        "augments": AugmentConfig(**settings["augment"]).is_on,
        "command": record.command(exact=True),
        "search_command": best_command(search["story"]["asked"]) if search else None,
        "settings": [
            (k, _shown(v), v != default[k]) for k, v in flat(settings).items()
            if record.joined is None or k.startswith(READ_BY_JOINED)
        ],
        "described": [
            *((Text("{package}", {"package": k}), v) for k, v in config["versions"].items()),
            (text("commit"), config["commit"]), (text("device"), config["device"]),
            (text("data"), config["data"]["source"]),
            (text("fingerprint"), config["data"]["fingerprint"]),
            (text("weights"), config["weights"]),
            *([(text("start"), config["start"])] if config["start"] else []),
            (text("digest"), config["digest"]),
            (text("skipped"), ", ".join(config["data"]["skipped"]) or 0),
            (text("wrong labels"), config["data"]["wrong_labels"]),
        ],
        "version": version("smallset"),
    }  # fmt: skip


def _shown(value: Any) -> str:
    return "none" if value is None else str(value) or "\N{EN DASH}"
