"""The best classifier that a data set gives in some minutes, chosen without its test images.

Networks at hand are measured, then judged by heads on their frozen features, out of fold; the best
are joined, the leader is fine-tuned, and joined with the best head unless one of the two alone is
clearly better on val (`finetune.chosen_of`); the winner is trained on train + val. Test is read at
the end, for two arms: the winner, and the plain choice that no search was needed for.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from smallset import contents
from smallset.choose.asked import SEARCH, asked_of, refuse_other, refuse_unread
from smallset.choose.candidates import (
    DELETE,
    Bench,
    Candidate,
    Notebook,
    choose_networks,
)
from smallset.choose.finetune import HELD_OUT, Tuner
from smallset.choose.fresh import FRESH, Fresh
from smallset.choose.race import HOPELESS, corrected_accuracy, race
from smallset.choose.scratch import JOINED, Scratch
from smallset.choose.spread import Spread
from smallset.compute import torch_as_it_was
from smallset.config import RunConfig, override
from smallset.errors import RunError
from smallset.files import holds_files, make_folder, write_json
from smallset.learn.join import join_runs
from smallset.learn.run import train_run
from smallset.models.probe import FOLDS
from smallset.paired import compare_all
from smallset.progress import Reporter, noting_once
from smallset.reading import read_arrays, read_json
from smallset.record.doubt import keep_held_out
from smallset.record.record import Record
from smallset.stats import Interval

MEMBERS = Path("members")  # in the record of joined networks
PLAIN_ORDER = ("efficientnet_lite0", "mobilenet_v2", "resnet18", "squeezenet1_1")
"""The plain choice is a head on the first of these that is at hand, else on the first network."""
MIRRORED = ", mirror images averaged"
TIED = 0.2
"""A single network with this share of the leader's chance to be the best counts as good as it."""


class Search:
    """A search for the best classifier; one that was stopped goes on where it was.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        folder: Where the winner's record goes.
        minutes: Wall time in all, of all starts together.
        networks: "NAME" or "NAME=WEIGHT FILE"; empty for all whose weights are here.
        config: What `READ` names; nothing else may be set.
        spread: Judges the networks at a time; None for one after the other.
        workers: Networks that are trained from scratch at a time; None for as many as there are
            processors.

    Raises:
        ConfigError: If a network is unknown, or not pretrained, or a setting is not read.
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
        spread: Spread | None = None,
        workers: int | None = None,
    ) -> None:
        refuse_unread(config)
        self.spread = spread
        self.data, self.folder, self.config = data, folder, config
        self.reporter = reporter = noting_once(reporter)  # its runs say the same of the data
        self.work, self.story = folder / SEARCH, folder / "best.json"
        asked = asked_of(data, minutes, networks, config)
        if self.story.exists():  # it is written when all else is in its place
            refuse_other(folder, read_json(self.story, contents.Best)["asked"], asked)
            return
        if holds_files(folder) and not (self.work / "search.json").exists():
            raise RunError(f"{folder} is not empty, and holds no search; give another --out")
        chosen = choose_networks(networks)
        self.notebook = Notebook(self.work, asked, minutes)
        self.bench = Bench(data, chosen, config, self.notebook, reporter)
        self.scratch = Scratch(self.bench, self.work, workers)

    def run(self) -> tuple[Record, dict[str, Any]]:
        """Search, train the winner, and read test once.

        Returns:
            The winner's record, and what best.json says.
        """
        if not self.story.exists():
            file = self.work / "best.json"
            if not file.exists():
                write_json(file, self._search())
            story = read_json(file, contents.Best)
            # A kill may fall between any two of these; then the next start moves what is left.
            record = self.work / story.pop("place")
            for path in sorted(record.iterdir(), key=lambda path: path.name == "result.json"):
                path.rename(self.folder / path.name)
            write_json(self.story, story)
        shutil.rmtree(self.work, ignore_errors=True)
        return Record(self.folder), read_json(self.story, contents.Best)

    def _search(self) -> dict[str, Any]:
        with torch_as_it_was(self.config.compute.threads):
            story = self._choose() if self.bench.networks else self.scratch.story()
        record = with_held_out(self._winner(story), story, self.bench, self.work)
        if self.bench.folds:  # there is no test, or it stays locked
            story |= {"test": None, "plain": None}
        else:
            story["test"] = _share(record)
        if story["plain"]:
            story |= self._beside_plain(record, story)
        return {
            **story,
            "asked": self.notebook.known["asked"],
            "place": record.folder.name,
            "seconds": round(self.notebook.seconds - self.notebook.left(), 1),
        }

    def _beside_plain(self, record: Record, story: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the plain choice has on test, and how far the winner is from it."""
        settings, members = story["plain"]["settings"], record.folder / MEMBERS
        if story["settings"] == settings and "joined" not in story and "members" not in story:
            return {"plain": {**story["plain"], "is_chosen": True, "test": _share(record)}}
        is_member = "members" in story
        plain = Record(members / "0") if is_member else self._train("plain", settings)
        found = {"test": _share(plain), "command": plain.command()}
        return {"plain": story["plain"] | found, "against_plain": _compared(record, plain)}

    def _choose(self) -> dict[str, Any]:
        pool, bench = self.bench.open(), self.bench
        costs, left_out = bench.measure()
        if self.spread is not None:
            bench.families()  # once, before several look for them
            self.spread(bench, str(self.data), list(costs))
        looked = [bench.look(name, costs[name]) for name in sorted(costs, key=lambda n: costs[n])]
        singles = [each for each in looked if each.accuracy is not None]
        ranked = sorted(singles, key=lambda each: (-(each.accuracy or 0), each.cost))
        for few in (ranked[:n] for n in (2, 3) if len(ranked) >= n):
            name = "+".join(each.name for each in few)
            looked.append(bench.look(name, sum(each.cost for each in few)))
        done = [each for each in looked if each.accuracy is not None]
        left_out = [*(each for each in looked if each.accuracy is None), *left_out]
        right = np.stack([bench.right(each.name) for each in done])
        cost = np.array([each.cost for each in done])
        standing = race(right, cost)
        estimate = corrected_accuracy(right, cost, folds=bench.folds or FOLDS)
        raced = [
            replace(
                each, chance=float(chance), state="raced" if alive else "dropped",
                why="" if alive else f"under {HOPELESS:.0%} chance to be the best",
            )
            for each, chance, alive in zip(done, standing.chance, standing.alive, strict=True)
        ]  # fmt: skip
        winner, naive = raced[int(standing.best)], float(standing.accuracy[standing.best])
        less = f", {estimate.value:.1%} less the price of choosing"
        self.reporter.line(
            f"{winner.name} leads: {naive:.1%} out of fold{less if estimate.value < naive else ''}"
        )
        leader = cheapest_of_the_best(ranked, [bench.right(each.name) for each in ranked])
        winner, mirror = bench.try_mirror(winner)
        fresh = Fresh(bench, self.work, self._train)
        tried = fresh.train_one(winner)
        tuner = Tuner(bench, self.work, self._train)
        tuned = tuner.tune(leader, winner)
        plain = next((name for name in PLAIN_ORDER if name in costs), next(iter(costs)))
        story: dict[str, Any] = {
            "minutes": self.notebook.seconds / 60,
            "images": {"train + val": len(pool.of("train")), "test": len(pool.of("test"))},
            "folds": bench.folds,
            "classes": list(pool.images.classes),
            "candidates": [asdict(each) for each in [*raced, *left_out]],
            "chosen": winner.name, "naive": naive, "estimate": estimate._asdict(),
            "estimate_of": winner.name, "mirror": mirror,
            "settings": bench.head_settings(winner.name, mirror=winner.name == bench.mirrored),
            "finetune": tuned,
            "fresh": fresh.judge(tried, tuner.said, winner) if tried else None,
            "plain": {"name": plain, "settings": bench.head_settings(plain)},
        }  # fmt: skip
        decide(story, leader, winner, bench, self.work, right, cost)
        return story

    def _winner(self, story: dict[str, Any]) -> Record:
        """Train what was chosen, unless that was done."""
        settings, tuned = story["settings"], story["finetune"]
        if "members" in story:
            return self._join(self.scratch.members(str(self.data)))
        places = {"tuned": tuned, FRESH: story.get("fresh")}
        here = (each for each, found in places.items() if found and found["settings"] == settings)
        place = next(here, "winner") if "data.train_on" not in settings else "winner"
        if "joined" not in story:
            return self._train(place, settings)
        # The temperatures are those that were fitted on val before: now val may have been learnt.
        members = {"tuned": (place, settings), "head": ("head", story["joined"])}
        return self._join(members, tuned["choice"]["temperatures"])

    def _join(
        self,
        members: Mapping[str, tuple[str, dict[str, Any]]],
        temperatures: Sequence[float] | None = None,
    ) -> Record:
        """Train networks on the same images, and join them.

        Args:
            members: Place in the work folder and settings of each, by its name in the record.
            temperatures: Of each; None fits them on val.
        """
        record = Record(self.work / JOINED)
        if not record.is_complete:
            join_runs(
                [self._train(*member).folder for member in members.values()],
                record.folder,
                temperatures=temperatures,
                places=[self.folder / MEMBERS / name for name in members],
                device=self.config.compute.device,
                figures=self.config.figures,
                reporter=replace(self.reporter, close=lambda: None),
            )
        for name, (place, _) in members.items():
            if not (record.folder / MEMBERS / name).exists():
                make_folder(record.folder / MEMBERS)
                (self.work / place).rename(record.folder / MEMBERS / name)
        return record

    def _train(self, place: str, settings: dict[str, Any]) -> Record:
        record = Record(self.work / place)
        if record.is_complete:
            return record
        config = override(self.config, settings)
        reporter = replace(self.reporter, close=lambda: None)
        return train_run(
            self.data, config, record.folder, resume=record.has_begun, reporter=reporter
        )


def decide(
    story: dict[str, Any],
    leader: Candidate,
    winner: Candidate,
    bench: Bench,
    work: Path,
    right: Bool[ndarray, "candidates images"],
    cost: Float[ndarray, " candidates"],
) -> None:
    """Write into a story what is to be trained, and with folds what is to be expected of it.

    Args:
        story: As best.json has it, with what was tried; it is changed.
        leader: The network that was fine-tuned, if any was.
        winner: The best head.
        right: Which images each head is right about, out of fold.
        cost: Of each head.
    """  # fmt: skip
    tuned, head = story["finetune"], f"a head on {winner.name}"
    if winner.name == bench.mirrored:
        story["chosen"] += MIRRORED
        head += MIRRORED
    if story["fresh"] and story["fresh"]["kept"] and tuned:
        tuned["kept"] = False
    if bench.folds:  # these were judged as the heads were: more to choose among
        more = {"tuned": 2 * leader.cost} if tuned else {}  # a look at the mirror image too
        more |= {FRESH: story["fresh"]["cost"]} if story["fresh"] else {}
        found = [Record(work / place).predictions for place in more]
        right = np.stack([*right, *(each.predicted == each.given_labels for each in found)])
        cost = np.array([*cost, *more.values()])
        story |= _estimated(story, corrected_accuracy(right, cost, folds=bench.folds))
    if story["fresh"] and story["fresh"]["kept"]:
        story["settings"] = story["fresh"]["settings"]
        story["chosen"] = f"{story['fresh']['network']} from scratch"
    elif tuned and tuned["kept"]:
        alone, story["settings"] = story["settings"], tuned["settings"]
        story["chosen"] = f"fine-tuned {leader.name}"
        if tuned["choice"] and tuned["choice"]["chosen"] == "joined":
            story["chosen"] += f" & {head}"
            train_on = tuned["settings"].get("data.train_on", "train")
            story["joined"] = {**alone, "data.train_on": train_on}


def with_held_out(record: Record, story: Mapping[str, Any], bench: Bench, work: Path) -> Record:
    """Give a winner that learnt val, too, what was said of its images before it learnt them.

    Else nothing would tell what its probabilities are worth.

    Args:
        story: What was chosen, as best.json has it.
        work: Folder of the search.
    """
    if bench.folds or story["settings"].get("data.train_on") != bench.train_on:
        return record
    if story["settings"]["recipe"] != "head":
        found = read_arrays(work / HELD_OUT, "paths", "probs", fix=DELETE)
        return keep_held_out(record, found["paths"].tolist(), found["probs"], "val")
    data = bench.open()
    paths = [data.images.paths[row] for row in data.of("train")]
    return keep_held_out(record, paths, bench.probs(story["estimate_of"]), "train")


def cheapest_of_the_best(
    networks: Sequence[Candidate], right: Sequence[Bool[ndarray, " n"]]
) -> Candidate:
    """Return the cheapest network of those that chance may have ranked: it has most epochs.

    Args:
        right: Which images each is right about, out of fold.
    """
    chance = race(np.stack(right), np.array([each.cost for each in networks])).chance
    tied = [
        each for each, share in zip(networks, chance, strict=True) if share >= TIED * chance.max()
    ]
    return min(tied, key=lambda each: each.cost)


def _estimated(story: Mapping[str, Any], best: Interval) -> dict[str, Any]:
    """Return what is to be expected where log-loss chose between heads and trained networks.

    Args:
        best: What the most accurate of all can be expected to reach.
    """
    tuned, fresh, found = story["finetune"], story["fresh"], {}
    if fresh and fresh["kept"]:
        name = f"{fresh['network']} from scratch"
        found = {"naive": fresh["accuracy"], "estimate_of": name}
    elif tuned and tuned["kept"]:
        found = {"naive": tuned["tuned"], "estimate_of": f"fine-tuned {tuned['network']}"}
    # The most likely need not be the most accurate, and is not hoped to reach more than it did.
    off = min(found.get("naive", story["naive"]) - best.value, 0.0)
    return {**found, "estimate": {name: value + off for name, value in best._asdict().items()}}


def _share(record: Record) -> float:
    return float(record.result["test_accuracy"])


def _compared(record: Record, plain: Record) -> dict[str, Any]:
    """Compare two runs on the test images, paired."""
    right: list[ndarray] = []
    for each in (record, plain):
        predictions = each.predictions
        test = predictions.splits == "test"
        right.append((predictions.predicted == predictions.labels)[test][None].astype(np.float64))
    [result] = compare_all([(right[0], right[1])], [(None, None)])
    return {
        "difference": result.difference.value, "low": result.difference.low,
        "high": result.difference.high, "p": result.p, "verdict": result.verdict,
    }  # fmt: skip
