"""What can be chosen, and how good each is out of fold: networks at hand, alone and joined.

Whatever was found stays in a folder, so that a search that was stopped goes on where it was.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from smallset import contents
from smallset.choose.asked import refuse_other
from smallset.choose.timing import milliseconds
from smallset.config import RunConfig, override
from smallset.data.prepare import DataSource, Prepared, families_of, squares_of
from smallset.errors import ConfigError
from smallset.files import clear_unfinished, make_folder, write_arrays, write_json
from smallset.learn.plan import Plan, Planner
from smallset.learn.run import build_run
from smallset.learn.settle import settle
from smallset.learn.stages import Run
from smallset.models.blocks import has_attention
from smallset.models.probe import FOLDS, fit_head, held_out
from smallset.models.registry import outline, resolve_weights, weight_sources
from smallset.progress import Reporter
from smallset.reading import read_arrays, read_json
from smallset.record.measures import difference, log_losses, temperature, tempered

DELETE = "delete the folder of the search, or that file, and search again"
FROM_SCRATCH = ("strong", "quick")
"""Recipes where no weights are at hand, the best first; beside pretrained networks the last one."""
SHARE_OF_FEATURES = 0.4  # of the time, for looking at the pictures through all networks
SHARE_OF_MIRROR = 0.15  # of the time that is left, for looking at the mirror images, too


@dataclass(frozen=True)
class Candidate:
    """What could be chosen."""

    name: str
    """Networks joined by "+"."""
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
    is_of_one_size: bool = False
    """Whether its network takes images of one size alone, as vision transformers do."""

    @property
    def parts(self) -> list[str]:
        """Return its networks."""
        return self.name.split("+")


class Notebook:
    """What a search knows, in a folder that outlives it, and its clock.

    Args:
        asked: What it was asked for; another search must not go on from this one.
        minutes: Wall time in all, of all starts together.

    Raises:
        RunError: If the folder holds another search.
    """

    def __init__(self, folder: Path, asked: dict[str, Any], minutes: float) -> None:
        self.folder = make_folder(folder)
        clear_unfinished(folder)
        self.file = folder / "search.json"
        if not self.file.exists():
            write_json(self.file, {"asked": asked, "spent": 0.0})
        self.known = read_json(self.file, contents.Search, fix=DELETE)
        refuse_other(folder.parent, self.known["asked"], asked)
        self.seconds = 60.0 * minutes
        self.began = time.monotonic() - self.known["spent"]

    def left(self) -> float:
        """Return the seconds that are left, and write down how many are spent."""
        spent = time.monotonic() - self.began
        self.remember(spent=spent)
        return self.seconds - spent

    def remember(self, **known: Any) -> None:
        """Write something down."""
        self.known |= known
        write_json(self.file, self.known)


class Heads:
    """Heads on the features of frozen networks, judged out of fold.

    Args:
        networks: Setting of weights by name.
        config: Settings that every run of the search has.
        folder: Where what was found stays.
    """

    def __init__(
        self,
        data: str | Path,
        networks: dict[str, str],
        config: RunConfig,
        folder: Path,
        reporter: Reporter,
    ) -> None:
        self.networks, self.config = networks, config
        self.folder, self.reporter = folder, reporter
        self.train_on, self.folds = "train+val", 0
        self.mirrored = ""  # the candidate whose head averages a picture and its mirror image
        asked = [(self.head_settings(name), True) for name in networks]
        scratch = FROM_SCRATCH[-1:] if networks else FROM_SCRATCH
        asked += [({"recipe": recipe}, False) for recipe in scratch]
        squares = [  # a picture is decoded once for all
            square
            for each, is_pretrained in asked
            for square in squares_of(settle(override(config, each), is_pretrained=is_pretrained))
        ]
        self.source = DataSource(data, reporter, also=squares)
        self.planner = Planner(self.source, usual_folds=True)
        self.vectors: dict[str, Float[ndarray, "n d"]] = {}

    def open(self) -> Prepared:
        """Return the images that are chosen by, as the first network sees them: train and val."""
        name = next(iter(self.networks))
        first = self.planner.plan(override(self.config, self.settings(name)))
        self.folds = first.config.data.folds or 0
        if self.folds or not len(first.data.of("val")):
            self.train_on = "train"
        return self.plan(name).data

    def settings(self, name: str) -> dict[str, Any]:
        """Return the settings that say which networks a candidate has."""
        weights = [self.networks[each] for each in name.split("+")]
        return {"model": name, "weights": "+".join(weights)}

    def head_settings(self, name: str, *, mirror: bool = False) -> dict[str, Any]:
        """Return the settings of a head on a candidate, fitted to all images that may be used.

        Args:
            mirror: Whether it averages a picture and its mirror image.
        """
        twice = {"mirror": True} if mirror else {}
        return {**self.settings(name), "recipe": "head", "data.train_on": self.train_on, **twice}

    def plan(self, name: str, *, mirror: bool = False) -> Plan:
        """Return the plan of such a head."""
        settings = self.head_settings(name, mirror=mirror)
        plan = partial(self.planner.plan, override(self.config, settings))
        return self.source.once("best", [name, str(mirror)], plan)

    def judge(self, name: str) -> None:
        """Predict the images by a head on one network, or on several joined ones, out of fold."""
        if self.file(name).exists():
            return
        began, parts = time.monotonic(), name.split("+")
        data = self.plan(parts[0]).data
        found = held_out(
            [self.features(part, mirror=name == self.mirrored) for part in parts],
            data.given_labels[data.of("train")],
            num_classes=len(data.images.classes),
            seed=self.config.seed,
            groups=self.families(),
            folds=self.folds or FOLDS,
            balance=self.config.balance,
        )
        seconds = time.monotonic() - began
        write_arrays(self.file(name), probs=found.probs, seconds=np.array(seconds))

    def probs(self, name: str) -> Float[ndarray, "n classes"]:
        """Return the out-of-fold probabilities of a candidate that was looked at."""
        return read_arrays(self.file(name), "probs", fix=DELETE)["probs"]

    def right(self, name: str) -> Bool[ndarray, " n"]:
        """Return which images a candidate that was looked at is right about, out of fold."""
        data = self.plan(name.split("+")[0]).data
        return self.probs(name).argmax(axis=1) == data.given_labels[data.of("train")]

    def places(self, name: str, data: Prepared, split: str) -> Int[ndarray, " m"]:
        """Return where the images of a split stand among those that are chosen by.

        Args:
            data: With train and val apart.
        """
        pool = self.plan(name.split("+")[0]).data
        at = {pool.images.paths[row]: n for n, row in enumerate(pool.of("train").tolist())}
        return np.array([at[data.images.paths[row]] for row in data.of(split)])

    def as_trained(
        self, name: str, data: Prepared, *, others_refit: bool
    ) -> Float[ndarray, "n classes"]:
        """Return what a head says of images that it had not learnt, to be compared with others.

        A head learns val in the end, whatever time is left. Where the others will not, it is judged
        by heads on other folds of train and val, too, and the smaller log-loss is taken: those
        learn from fewer images and axes than the one at the end, and can look worse than it is.

        Args:
            data: With train and val apart, but for folds.
            others_refit: Whether what it is compared with will learn val, too.
        """
        if self.folds:
            return self.probs(name)
        of_train = self.probs_on_val(name, data)
        if others_refit:
            return of_train
        of_folds = self.probs(name)[self.places(name, data, "val")]
        labels = data.given_labels[data.of("val")]

        def loss(said: Float[ndarray, "n classes"]) -> float:
            logs = tempered(said, temperature(said, labels))
            return float(log_losses(logs, labels).mean())

        return min(of_train, of_folds, key=loss)

    def probs_on_val(self, name: str, data: Prepared) -> Float[ndarray, "n classes"]:
        """Return what a head fitted to train alone says of the val images.

        Args:
            data: With train and val apart.
        """
        rows = {split: self.places(name, data, split) for split in ("train", "val")}
        mirror, names = name == self.mirrored, self.families()
        blocks = [self.features(part, mirror=mirror) for part in name.split("+")]
        vectors = np.concatenate(blocks, axis=1)
        labels = {split: data.given_labels[data.of(split)] for split in rows}
        head = fit_head(
            vectors[rows["train"]], labels["train"], num_classes=len(data.images.classes),
            seed=self.config.seed, groups=[names[int(row)] for row in rows["train"]],
            balance=self.config.balance,
        )  # fmt: skip
        logits = torch.from_numpy(vectors[rows["val"]]) @ head.weight.T + head.bias
        return logits.double().softmax(dim=1).numpy()

    def features(self, name: str, *, mirror: bool = False) -> Float[ndarray, "n d"]:
        """Return what a network makes of train and val, from the folder or computed now.

        Args:
            mirror: Of the pictures and their mirror images, averaged.
        """
        known = f"{name}.mirror" if mirror else name
        file = self._path(f"{known}.features")
        if known not in self.vectors and not file.exists():
            vectors = self.build(name, mirror=mirror).inputs.vectors("train")
            write_arrays(file, vectors=vectors)
        if known not in self.vectors:
            self.vectors[known] = read_arrays(file, "vectors", fix=DELETE)["vectors"]
        return self.vectors[known]

    def build(self, name: str, *, mirror: bool = False) -> Run:
        """Return a run of a head on a candidate that has not begun."""
        plan = self.plan(name, mirror=mirror)
        return build_run(plan, self.folder / "looking", self.reporter)

    def families(self) -> list[str]:
        """Return a name per image that those which belong together share."""
        data = self.plan(next(iter(self.networks))).data
        find = partial(families_of, data, self.config.data, self.reporter)
        return self.source.once("families", [], find)

    def file(self, name: str) -> Path:
        """Return where it is written what the head on a candidate said."""
        return self._path(f"{name}.mirror" if name == self.mirrored else name)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name.replace(':', '-').replace('/', '-')}.npz"


class Bench(Heads):
    """Heads against the clock.

    Args:
        notebook: What the search knows, and its clock; see `Heads` for the others.
    """

    def __init__(
        self,
        data: str | Path,
        networks: dict[str, str],
        config: RunConfig,
        notebook: Notebook,
        reporter: Reporter,
    ) -> None:
        super().__init__(data, networks, config, notebook.folder, reporter)
        self.notebook = notebook

    def measure(self) -> tuple[dict[str, float], list[Candidate]]:
        """Time each network on a few pictures.

        Returns:
            The milliseconds per picture of the networks that there is time for, and the others.
        """
        if "costs" not in self.notebook.known:
            costs = {}
            for number, name in enumerate(self.networks, start=1):
                costs[name] = milliseconds(self.build(name))
                self.reporter.counted("timing", number, len(self.networks), "networks")
            self.notebook.remember(costs=costs)
        costs: dict[str, float] = self.notebook.known["costs"]
        pictures = len(self.plan(next(iter(costs))).data.images)
        spent, taken, others = 0.0, {}, []
        for name in sorted(costs, key=lambda each: costs[each]):
            needed = costs[name] * pictures / 1000
            fits = not taken or spent + needed < SHARE_OF_FEATURES * self.notebook.seconds
            self.reporter.line(
                f"  {name:<24} {needed:7.1f} s for {pictures:,} pictures  "
                f"{'taken' if fits else 'left out for time'}"
            )
            if fits:
                spent, taken[name] = spent + needed, costs[name]
            else:
                why = f"all pictures would take {needed:.0f} s"
                others.append(Candidate(name, costs[name], state="left out", why=why))
        return taken, others

    def try_mirror(self, winner: Candidate) -> tuple[Candidate, dict[str, Any] | None]:
        """See whether the best head is better with mirror images, which cost a second look.

        Returns:
            The head that is taken, and what was found, as best.json has it; None where nothing was
            tried: there is little time, or each image is to be judged by one kind of head.
        """
        known = self.notebook.known
        if "mirror" not in known:
            needed = winner.cost * len(self.plan(winner.parts[0]).data.images) / 1000
            self.notebook.remember(mirror=needed < SHARE_OF_MIRROR * self.notebook.left())
        if self.folds or not known["mirror"]:
            return winner, None
        data = self.plan(winner.parts[0]).data
        labels = data.given_labels[data.of("train")]
        said = [self.probs(winner.name)]
        self.mirrored = winner.name
        self.judge(winner.name)
        said.append(self.probs(winner.name))
        losses = [log_losses(tempered(each, temperature(each, labels)), labels) for each in said]
        more, error = difference(losses[1], losses[0])
        once, twice = (float(each.mean()) for each in losses)
        kept = more < -error
        self.reporter.line(
            f"log-loss {twice:.4f} with mirror images averaged, {once:.4f} without, out of fold: "
            f"{'kept' if kept else 'not kept'}"
        )
        if not kept:
            self.mirrored = ""
        taken = replace(winner, cost=2 * winner.cost) if kept else winner
        return taken, {"kept": kept, "once": once, "twice": twice, "error": error}

    def look(self, name: str, cost: float) -> Candidate:
        """Judge a head on one network, or on several joined ones, if there is time."""
        late = self.notebook.left() < 0.2 * self.notebook.seconds
        if late and self.vectors and not self.file(name).exists():
            return Candidate(name, cost, state="left out", why="no time was left")
        self.judge(name)
        seconds = float(read_arrays(self.file(name), "seconds", fix=DELETE)["seconds"])
        accuracy = float(self.right(name).mean())
        self.reporter.line(f"{name}: {accuracy:.1%} out of fold  ({seconds:.0f} s)")
        first = name.split("+")[0]
        size = self.plan(first).config.image_size or 224
        fixed = has_attention(outline(first, 2, size).features)
        return Candidate(name, cost, round(seconds, 1), accuracy, is_of_one_size=fixed)


def choose_networks(asked: Sequence[str]) -> dict[str, str]:
    """Return the setting of weights of each network that may be chosen.

    Args:
        asked: "NAME" or "NAME=WEIGHT FILE"; empty for all whose weights are on this machine.

    Raises:
        ConfigError: If a network is unknown, or not pretrained.
        DataError: If its weights are not at hand.
    """
    if not asked:
        return {source.name: "auto" for source in weight_sources() if source.state == "here"}
    networks: dict[str, str] = {}
    for text in asked:
        name, _, file = (part.strip() for part in text.partition("="))
        if "+" in name or name in networks:
            raise ConfigError(f"each network is named once and alone, got {text!r}")
        networks[name] = file or "auto"
        if not resolve_weights(name, networks[name]).is_pretrained:
            raise ConfigError(f"{name!r} has no pretrained weights; name a network that has")
    return networks
