"""A fuzzer: damage a file at a random place, and run what reads it.

SMALLSET_DAMAGE_TRIES=2000 pytest tests/test_damage.py takes half an hour; a few tries run always.
SMALLSET_DAMAGE_FIRST is the seed of the first.
"""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from support import damaged, picture, random_weights

from smallset import api
from smallset.clean.review import Review
from smallset.compare.summary import summarise
from smallset.config import RunConfig, override
from smallset.data.read import read_data
from smallset.errors import SmallsetError
from smallset.files import cache_dir
from smallset.learn.join import join_runs
from smallset.learn.run import train_run
from smallset.models.features import weights_hash
from smallset.models.registry import build_model, check_weights
from smallset.models.weights import import_weights
from smallset.progress import Reporter

TRIES = int(os.environ.get("SMALLSET_DAMAGE_TRIES", "13"))
NETWORK = "shufflenet_v2_x0_5"
FIRST = int(os.environ.get("SMALLSET_DAMAGE_FIRST", "0"))
SECONDS = 60
STUDY = """
title = "Rates"
about = "Two rates."
seeds = 1
baseline = "low"
[base]
recipe = "course-report"
image_size = 32
epochs = 1
"batches" = {size = 8}
figures = {tsne = false, report = false}
[arms]
low = {lr = 0.01}
high = {lr = 0.02}
"""


class World:
    """User files and all that smallset makes of them, in one folder."""

    def __init__(self, root, tiny):
        self.root, self.tiny, self._said = root, tiny, {}
        self.data, self.manifest = root / "user/data", root / "user/data/all.csv"
        self.study, self.out = root / "user/rates.toml", root / "out"
        frozen = {"model": NETWORK, "image_size": 64, "figures.tsne": False}
        self.head = override(RunConfig(), {**frozen, "figures.report": False})

    def make(self):
        """Make everything once."""
        lines, number = ["path,label,split"], 0
        for split, count in {"train": 4, "val": 2, "test": 2}.items():
            for label, name in enumerate(["ant", "bee", "cat"]):
                (self.data / split / name).mkdir(parents=True)
                for n in range(count):
                    number += 1
                    place = f"{split}/{name}/{n}.{'png' if n % 2 else 'jpg'}"
                    picture(label, number).save(self.data / place)
                    lines.append(f"{place},{name},{split}")
        self.manifest.write_text("\n".join(lines) + "\n")
        self.study.write_text(STUDY)
        made = random_weights(NETWORK, self.root)
        import_weights(made.rename(self.root / "user/weights.pth"), NETWORK)
        train_run(self.data, self.tiny(), self.root / "run")
        train_run(self.data, self.head, self.root / "head")
        train_run(self.data, override(self.head, {"seed": 1}), self.root / "other")

        def stop(line):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train_run(self.data, self.tiny(), self.root / "begun", reporter=Reporter(epoch=stop))
        api.clean(self.data, out=self.root / "clean", nets=["self"], config=self.tiny())
        api.study(str(self.study), self.data, out=self.root / "study", execute="serial")

    def said(self, command):
        """Return what a command says where nothing is damaged."""
        if command not in self._said:
            self._said[command] = getattr(self, command)()
            restore(self.root)
        return self._said[command]

    # What each command says, as far as it must not change by damage.

    def check(self):
        images, problems = api.check(self.data, self.tiny())
        return repr((images, [problem.message for problem in problems]))

    def check_manifest(self):
        return repr(api.check(self.manifest, self.tiny())[0])

    def train(self):
        return numbers(train_run(self.data, self.tiny(), self.out))

    def train_head(self):
        return numbers(train_run(self.data, self.head, self.out))

    def train_manifest(self):
        return numbers(train_run(self.manifest, self.tiny(), self.out))

    def resume(self):
        return numbers(train_run(self.data, self.tiny(), self.root / "begun", resume=True))

    def report(self):
        return api.report(self.root / "run", without_images=True, lang="en")[0].read_bytes()

    def predict(self):
        return api.predict(self.root / "run", sorted(self.data.rglob("*.png"))).probs.tobytes()

    def join(self):
        runs = [self.root / "head", self.root / "other"]
        return numbers(join_runs(runs, self.out, temperatures=[1.0, 1.0]))

    def study_again(self):
        api.study(str(self.study), self.data, out=self.root / "study", execute="serial")
        return (self.root / "study/summary.csv").read_bytes()

    def summary(self):
        summarise(self.root / "study")
        return (self.root / "study/comparisons.csv").read_bytes()

    def report_cleaning(self):
        api.report(self.root / "clean", without_images=True, lang="en")

    def read_cleaning(self):
        images = read_data(self.root / "clean")
        return repr((images.paths, images.labels.tolist()))

    def review(self):
        from smallset.use.review_server import Album

        Review(self.root / "clean", "ann").undo()
        Album(self.root / "clean", None)

    def clean(self):
        api.clean(self.data, out=self.out, nets=["self"], config=self.tiny())
        return (self.out / "labels.csv").read_bytes()

    def models(self):
        model = build_model(NETWORK, 3, image_size=64, weights="auto", seed=0)
        return weights_hash(model.features)

    def verify(self):
        check_weights(NETWORK, str(self.root / "user/weights.pth"))


TARGETS = {  # what is damaged, below the world, and who reads it
    "user/data/*/*/*": ("check", "train"),
    "user/data/all.csv": ("check_manifest", "train_manifest"),
    "user/rates.toml": ("study_again",),
    "user/weights.pth": ("verify",),
    "cache/decoded/*/*/*": ("train", "check", "clean"),
    "cache/features/*/*": ("train_head", "clean"),
    "cache/weights/*": ("models", "train_head"),
    "run/*.*": ("report", "predict"),
    "head/*.*": ("join",),
    "begun/*.*": ("resume",),
    "study/study.json": ("study_again", "summary"),
    "study/*/seed-0/*.*": ("study_again", "summary"),
    "clean/*.*": ("report_cleaning", "read_cleaning", "review"),
}


def numbers(record):
    return (record.folder / "predictions.csv").read_bytes()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    def tiny(**settings):
        base = {"recipe": "course-report", "image_size": 32, "epochs": 2, "batches.size": 8}
        base |= {"figures.tsne": False, "figures.report": False}
        return override(RunConfig(), {**base, **settings})

    root = tmp_path_factory.mktemp("damage") / "world"
    (root / "user").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALLSET_CACHE", str(root / "cache"))
        world = World(root, tiny)
        world.make()
        shutil.copytree(root, root.with_name("whole"))
        yield world


def restore(root):
    shutil.rmtree(root)
    shutil.copytree(root.with_name("whole"), root)


def user_files(world):
    return {path: path.read_bytes() for path in (world.root / "user").rglob("*") if path.is_file()}


def too_long(*_):
    raise TimeoutError(f"over {SECONDS} s")


def one_try(world, seed):
    """Damage one file, run one command; return what went wrong."""
    rng = np.random.default_rng([18, seed])
    pattern = list(TARGETS)[seed % len(TARGETS)]
    files = [p for p in sorted(world.root.glob(pattern)) if p.is_file() and p.suffix != ".html"]
    path = files[rng.integers(len(files))]
    command = TARGETS[pattern][rng.integers(len(TARGETS[pattern]))]
    said = world.said(command)
    path.write_bytes(damaged(path.read_bytes(), rng))
    user, where = user_files(world), f"{seed}: {path.relative_to(world.root)}, {command}"
    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        found = getattr(world, command)()
    except SmallsetError as error:
        # A setting that became another one makes another study, which the folder does not hold.
        is_other = path.suffix == ".toml" and "holds a run with other settings" in str(error)
        if path.name not in str(error) and not is_other:
            return f"{where}: the message does not name it: {error}"
    except BaseException as error:  # noqa: BLE001  what a user would see as a traceback
        return f"{where}: {type(error).__name__}: {error}"
    else:
        # Of damaged user files the numbers may be others: they are what the user has.
        if found != said and not pattern.startswith("user"):
            return f"{where}: other numbers"
    finally:
        signal.alarm(0)
    return f"{where}: a user file changed" if user_files(world) != user else None


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm")
def test_damage_anywhere_is_one_message_or_the_same_numbers(world, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(world.root / "cache"))
    assert cache_dir() == Path(world.root / "cache")
    wrong = []
    for seed in range(FIRST, FIRST + TRIES):
        restore(world.root)
        wrong.append(one_try(world, seed))
    assert [each for each in wrong if each] == []
