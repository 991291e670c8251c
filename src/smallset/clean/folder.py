"""Clean a data set: features of its images, what is found in them, and the folder that is left."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from smallset.clean.decide import Cleaning
from smallset.clean.find import Found, find_wrong_labels
from smallset.config import RunConfig, override
from smallset.data.cleaned import COLUMNS
from smallset.data.manifest import csv_text
from smallset.errors import ConfigError, RunError
from smallset.learn.plan import Plan, Planner
from smallset.learn.progress import Reporter
from smallset.learn.record import write_json
from smallset.learn.run import build_run, torch_as_it_was
from smallset.paths import make_folder, write_atomic


def clean_folder(
    data: str | Path,
    nets: Sequence[str],
    out: Path,
    *,
    config: RunConfig,
    reporter: Reporter,
) -> Found:
    """Judge the training labels of a data set, and leave labels.csv and clean.json.

    Args:
        data: As `smallset.data.read.read_data` takes it; its files are never changed.
        nets: Pretrained networks, as "NAME" or "NAME=WEIGHT FILE"; their features are joined.
        out: The folder to write; must not hold a cleaning yet.
        config: Its `data` group says which images are judged: those that it trains on.
        reporter: Told of progress.

    Raises:
        ConfigError: If a network is unknown, not pretrained, or named twice.
        DataError: If the data is not fit, or weights cannot be had.
        RunError: If the folder cannot be written, or holds files.
    """
    if out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out} holds files already; give another --out")
    planner = Planner(data, reporter)
    plans = [_plan(planner, net, config) for net in nets]
    names = [plan.config.model for plan in plans]
    if len(set(names)) < len(names):
        raise ConfigError(f"--with names a network twice: {', '.join(names)}")
    with torch_as_it_was(config.compute.threads):
        blocks = [_features(plan, out, reporter) for plan in plans]
        prepared = plans[0].data
        rows = prepared.of("train")
        labels = prepared.given_labels[rows]
        found = find_wrong_labels(
            blocks, labels, num_classes=len(prepared.images.classes), seed=config.seed,
            told=lambda done, total: reporter.counted(
                "judging labels", done * len(labels) // total, len(labels)
            ),
        )  # fmt: skip
    make_folder(out)
    table = _table(found, plans[0], rows)
    write_atomic(out / "labels.csv", csv_text([list(COLUMNS), *table]))
    # Written last: a folder with it is whole.
    write_json(out / "clean.json", _about(found, plans, data))
    return found


def _plan(planner: Planner, net: str, config: RunConfig) -> Plan:
    name, _, file = net.partition("=")
    settings = {"model": name.strip()} | ({"weights": file.strip()} if file else {})
    own = override(config, settings)
    # Features come from the whole network behind the last layer, whatever `config` trains.
    plan = planner.plan(own.model_copy(update={"image_size": None, "start_from": ""}))
    if plan.config.trains != "classifier":
        raise ConfigError(f"--with takes pretrained networks, {name!r} has no pretrained weights")
    return plan


def _features(plan: Plan, out: Path, reporter: Reporter) -> Float[ndarray, "n d"]:
    """Return the frozen features of the training images, from the cache or computed now."""
    run = build_run(plan, out, reporter, out)
    array = run.source("train", cached=True).array
    return np.asarray(array).reshape(len(array), -1)


def _chosen(found: Found) -> Cleaning | None:
    return None if found.chosen is None else found.chosen.cleaning


def _table(found: Found, plan: Plan, rows: ndarray) -> list[list[str]]:
    """Return the rows of labels.csv, the least probable labels first."""
    prepared, classes = plan.data, plan.data.images.classes
    labels = prepared.given_labels[rows]
    right = found.posterior.of_given(labels)
    others = found.posterior.probs.copy()
    others[np.arange(len(labels)), labels] = -1
    cleaning, ids = _chosen(found), prepared.ids("train")
    table: list[list[str]] = []
    for n in np.argsort(right, kind="stable"):
        decision = "keep" if cleaning is None else str(cleaning.decisions[n])
        suggested = others[n].argmax() if right[n] < 0.5 or decision != "keep" else labels[n]
        table.append([
            prepared.images.paths[rows[n]], ids[n], classes[labels[n]], classes[suggested],
            f"{right[n]:.6g}", decision, "smallset",
        ])  # fmt: skip
    return table


def _about(found: Found, plans: Sequence[Plan], data: str | Path) -> Mapping[str, Any]:
    """Return the content of clean.json."""
    labels = plans[0].data.given_labels[plans[0].data.of("train")]
    right = found.posterior.of_given(labels)
    flagged = right < 0.5
    wrong = float((1 - right).sum())
    caught = float((1 - right[flagged]).sum())
    cleaning = _chosen(found)
    decisions = [] if cleaning is None else list(cleaning.decisions)
    return {
        "data": str(Path(data).expanduser().absolute()) if Path(data).exists() else str(data),
        "fingerprint": plans[0].described["data"]["fingerprint"],
        "noise": {
            "rate": plans[0].config.data.noise_rate, "seed": plans[0].config.data.noise_seed,
        },
        "images": len(labels),
        "with": [plan.config.model for plan in plans],
        "weights": [plan.described["weights"] for plan in plans],
        "versions": plans[0].described["versions"],
        "rate": found.posterior.rate._asdict(),
        "joint_rate": found.joint_rate,
        "lopsided": found.is_lopsided,
        "rounds": found.rounds,
        "suspects": int(flagged.sum()),
        "expected_precision": caught / max(int(flagged.sum()), 1),
        "expected_recall": caught / max(wrong, 1e-12),
        "gate": [
            {"cleaning": each.cleaning.name, "gain": each.gain._asdict()} for each in found.judged
        ],
        "chosen": None if cleaning is None else cleaning.name,
        "relabelled": decisions.count("relabel"),
        "dropped": decisions.count("drop"),
    }  # fmt: skip
