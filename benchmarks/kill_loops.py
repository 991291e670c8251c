"""Do commands that are killed, or whose disk is full, go on to the bytes of those that were not?

    python benchmarks/kill_loops.py [--kills 100] [--fulls 100] [--kinds train,clean]
                                    [--runtime FOLDER]

Each kind of command runs twice undisturbed, which must give the same bytes but for what `but_times`
names. Then it is killed (SIGKILL) at random moments, uniform over the time that it takes, and
started again, until all tries are spent. At the end of each series OUT and the cache must hold the
same files, bit for bit, nothing else, and DATA must be untouched.

OUT and the cache lie on a tmpfs (Linux; root, or user namespaces). Then its size is drawn between
what is there at the start and at the end. A command that finds it full must end with
status 1 or 2 and one message that names what is full and what to do, and leave nothing half-made;
with room again it must end as if nothing had been.
"""

import argparse
import ctypes
import gc
import importlib
import io
import json
import multiprocessing
import os
import pkgutil
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torchvision import models as zoo

import smallset
from smallset import cli
from smallset.clean.review import Review, alone
from smallset.data.shapes import SHAPES, TEXTURES, draw_shape
from smallset.errors import SmallsetError
from smallset.use import shards

NETWORK = "shufflenet_v2_x0_5"
SPLITS = {"train": 8, "val": 3, "test": 5}
STUDY = """
title = "Rates"
about = "Two rates."
seeds = 1
baseline = "low"
draw_runs = true
[base]
recipe = "course-report"
image_size = 32
epochs = 2
batches = {size = 8}
figures = {tsne = false, report = false}
[arms]
low = {lr = 0.01}
high = {lr = 0.02}
"""
HALF = re.compile(r"^(\.writing-|\.taken-|\.export-|\.lock$|\.review$|\.features$|.*\.alive$)")
"""Names of what no command may leave behind that was not killed."""
OVER = re.compile(r"is there already|is not empty; give another")
"""What a command says that was killed when it had done everything."""


class Kind(NamedTuple):
    """A kind of command."""

    run: Callable[["World"], list[str] | Callable[[], None]]
    """Returns the words of the command line, given how far it is, or a function to call."""
    before: Callable[["World"], list[str]] | None = None
    """Returns the words of a command that is done before, undisturbed."""


class World:
    """What a command reads (DATA) and writes (OUT and the cache), always at the same place."""

    def __init__(self, root, place, runtime):
        self.data, self.weights, self.study = (
            root / "data",
            root / "weights.pth",
            root / "rates.toml",
        )
        self.log, self.kept, self.runtime = root / "log", root / "kept", runtime
        self.place, self.out, self.cache = place, place / "out", place / "cache"

    def make(self):
        """Make the data, a file of weights and a study."""
        rng, classes = np.random.default_rng(0), [f"{s}-{t}" for s in SHAPES for t in TEXTURES][::9]
        for split, count in SPLITS.items():
            for name in classes:
                (self.data / split / name).mkdir(parents=True)
                for number in range(count):
                    pixels = draw_shape(*name.split("-"), size=32, rng=rng)
                    Image.fromarray(pixels).save(self.data / split / name / f"{number}.png")
        torch.manual_seed(0)
        torch.save(zoo.get_model(NETWORK, weights=None).state_dict(), self.weights)
        self.study.write_text(STUDY)

    def reset(self):
        """Put OUT and the cache back to where a command begins."""
        for name in ("out", "cache"):
            shutil.rmtree(self.place / name, ignore_errors=True)
            if (self.kept / name).exists():
                shutil.copytree(self.kept / name, self.place / name)
            else:
                (self.place / name).mkdir()

    def left(self):
        """Return what lies in OUT and the cache: bytes by place, None for folders."""
        return {
            str(path.relative_to(self.place)): None if path.is_dir() else but_times(path)
            for path in sorted(self.place.rglob("*"))
        }

    def given(self):
        """Return what the user has, times of change among it."""
        paths = [*sorted(self.data.rglob("*")), self.weights, self.study]
        return [(p, p.stat().st_mtime_ns, b"" if p.is_dir() else p.read_bytes()) for p in paths]


def but_times(path):
    """Return the bytes of a file, without the times of a clock that some name."""
    content = path.read_bytes()
    if path.name == "epochs.jsonl":
        lines = [json.loads(line) for line in content.splitlines()]
        return json.dumps([line | {"seconds": 0} for line in lines])
    if path.name == "result.json":
        result = json.loads(content)
        # The checksum of epochs.jsonl, whose lines name seconds, and that of this file.
        del result["seconds"], result["files"]["epochs.jsonl"], result["written"]
        return json.dumps(result)
    if path.name == "history.jsonl":  # of a review: a step that was killed may be there twice
        steps = [json.loads(line) for line in content.splitlines() if line.endswith(b"}")]
        return json.dumps(sorted({json.dumps(s | {"time": 0}, sort_keys=True) for s in steps}))
    return content


def train(*words):
    """Return a kind that trains, and goes on with --resume where there is something to resume."""

    def run(world):
        out = world.out / "run"
        resume = ["--resume"] if (out / "config.json").exists() else []
        size = ["--image-size", "32", "--set", "figures.tsne=false"]
        size += [] if "head" in words else ["--set", "batches.size=8"]
        weights = ["--weights", str(world.weights)] if "--model" in words else []
        named = ["train", str(world.data), "--out", str(out)]
        return [*named, *words, *size, *weights, *resume]

    return run


def study(way):
    """Return a kind that runs a study."""
    return lambda world: [
        "study", str(world.study), "--data", str(world.data), "--out", str(world.out / "study"),
        "--execute", way,
    ]  # fmt: skip


def clean(world, judge="self"):
    """Judge labels, of which some were made wrong."""
    out = str(world.out / "clean")
    return ["clean", str(world.data), "--out", out, "--with", judge, "--noise", "0.2"]


def review(world):
    """Decide on every image, in order, as the page does."""

    def decide():
        folder = world.out / "clean"
        with alone(folder):
            desk = Review(folder, "ann")
            classes = sorted({row.given for row in desk.rows()})
            for number, row in enumerate(desk.rows()):
                if row.by != "ann":
                    choice = ("keep", "relabel", "drop")[number % 3]
                    desk.decide(number, choice, classes[number % 4], seen=row.state)

    return decide


def predict(world):
    """Predict into three files."""
    files = ["--out", "p.csv", "--embeddings", "p.npz", "--page", "p.html"]
    files = [word if word[:2] == "--" else str(world.out / word) for word in files]
    return ["predict", str(world.out / "run"), str(world.data), *files]


def export(form):
    """Return a kind that exports."""

    def run(world):
        words = ["export", str(world.out / "run"), "--out", str(world.out / form)]
        runtime = ["--runtime", str(world.runtime)] if form == "page" else []
        return [*words, "--format", form, *runtime]

    return run


SHORT = ("--recipe", "course-report", "--epochs")
NO_PAGE = ("--set", "figures.report=false")
PLAIN = train(*SHORT, "2", *NO_PAGE)
NET = ("--model", NETWORK, *NO_PAGE)
KINDS = {
    "train": Kind(train(*SHORT, "3", "--set", "keep=best-val", *NO_PAGE)),
    "head": Kind(train(*NET, "--recipe", "head")),
    "folds": Kind(train(*SHORT, "2", "--folds", "3", *NO_PAGE)),
    "finetune": Kind(train(*NET, "--recipe", "finetune", "--epochs", "2")),
    "study": Kind(study("serial")),
    "study in processes": Kind(study("processes")),
    "clean": Kind(clean),
    "clean by features": Kind(lambda world: clean(world, f"{NETWORK}={world.weights}")),
    "review": Kind(review, clean),
    "weights import": Kind(
        lambda world: ["weights", "import", str(world.weights), "--model", NETWORK]
    ),
    "decoded pictures": Kind(lambda world: ["check", str(world.data)]),
    "near copies": Kind(lambda world: ["check", str(world.data), "--deep"]),
    "drawn samples": Kind(lambda _: ["check", "sample:shapes,size=32,scale=0.001"]),
    "predict": Kind(predict, PLAIN),
    "export onnx": Kind(export("onnx"), PLAIN),
    "export page": Kind(export("page"), PLAIN),
}


def start(world, what):
    """Fork a process that does something, and return its id: it need not import anything."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        os.setsid()
        log = os.open(world.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if callable(what):
            what()
            status = 0
        else:
            sys.argv = ["smallset", *what]
            cli.main()
    except SmallsetError as error:  # as the command line says it
        print(f"smallset: {error}")
        status = 2
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def ended(child, seconds):
    """Return the status of a process; None if it was killed after some seconds. None waits."""
    until = time.monotonic() + (600 if seconds is None else seconds)
    status = None
    while status is None and time.monotonic() < until:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        else:
            time.sleep(0.004)
    if status is None:
        assert seconds is not None, "it hangs"
        os.kill(child, signal.SIGKILL)
    with suppress(ChildProcessError):  # its workers, which end with it
        while True:
            os.waitpid(-child, 0)
    return status


def complaint(world, what, status, *, may_be_over=False):
    """Return what is wrong with the end of a command that nothing disturbed; empty if nothing."""
    said = world.log.read_text(errors="replace")
    is_right = status == 0 or (status == 1 and what[0] in ("clean", "check"))
    is_right = is_right or (may_be_over and status == 2 and OVER.search(said))
    return "" if is_right else f"status {status}: {said[-600:]}"


def differences(before, after):
    """Return where two states of the world differ, one line for each place."""
    found = [f"left behind: {name}" for name in after.keys() - before.keys()]
    found += [f"gone: {name}" for name in before.keys() - after.keys()]
    return sorted(
        found + [f"other bytes: {n}" for n in before.keys() & after if before[n] != after[n]]
    )


class Loop:
    """Tries of one kind."""

    def __init__(self, world, name, rng, limit):
        self.world, self.kind, self.rng, self.limit = world, KINDS[name], rng, limit
        self.whole, self.given, self.seconds, self.wrong = {}, world.given(), 0.0, []
        self.series = 0

    def undisturbed(self):
        """Do it twice, and see that the bytes are the same."""
        world = self.world
        shutil.rmtree(world.kept, ignore_errors=True)
        world.reset()
        warm(world, self.kind)
        gc.collect()
        gc.freeze()  # a collection in a child would copy every page of this process
        world.reset()
        if self.kind.before is not None:
            self.go_on(self.kind.before)
            for name in ("out", "cache"):
                shutil.copytree(world.place / name, world.kept / name)
        self.start = used(world.place)
        for again in (False, True):
            world.reset()
            began = time.monotonic()
            self.go_on(self.kind.run)
            self.seconds = time.monotonic() - began
            if again:
                self.wrong += differences(self.whole, world.left())
            self.whole = world.left()
        self.end = used(world.place)
        if self.wrong:
            raise SystemExit(f"two undisturbed ones differ: {self.wrong}")

    def go_on(self, run, kills=(), *, may_be_over=False):
        """Do it, killed after each of some seconds; return how often it was killed."""
        for number, seconds in enumerate((*kills, None)):
            what = run(self.world)
            status = ended(start(self.world, what), seconds)
            if status is not None:
                over = may_be_over or number > 0
                if why := complaint(self.world, what, status, may_be_over=over):
                    self.wrong.append(f"series {self.series}, after {number} kills: {why}")
                return number
        raise AssertionError

    def compare(self):
        """See that all is as if nothing had been."""
        found = differences(self.whole, self.world.left())
        if self.world.given() != self.given:
            found.append("DATA changed")
        self.wrong += [f"series {self.series}: {each}" for each in found]
        self.series += 1

    def kill(self, tries):
        """Kill it, and go on with it, until all tries are spent; return how often it was killed."""
        spent, until = 0, time.monotonic() + self.limit
        while spent < tries and time.monotonic() < until:
            self.world.reset()
            moments = [self.rng.uniform(0, self.seconds) for _ in range(tries - spent)]
            spent += self.go_on(self.kind.run, moments)
            self.compare()
        return spent

    def fill(self, tries):
        """Give it too little room, then enough; return how often the disk was full."""
        world, spent, until = self.world, 0, time.monotonic() + self.limit
        most = self.end + (self.end - self.start) // 8
        while spent < tries and time.monotonic() < until:
            world.reset()
            resize(world.place, self.rng.randrange(self.start, most))
            status = ended(start(world, self.kind.run(world)), None)
            said = world.log.read_text(errors="replace")
            resize(world.place, LARGE)
            if "No space left" in said or status not in (0, 1):
                spent += 1
                self.wrong += [f"full {spent}: {each}" for each in self.complaints(status, said)]
            self.go_on(self.kind.run, may_be_over=True)
            self.compare()
        return spent

    def complaints(self, status, said):
        """Return what is wrong with the end of a command that found the disk full."""
        found = [str(p) for p in self.world.place.rglob("*") if HALF.match(p.name)]
        if "Traceback" in said or status not in (1, 2):
            found.append(f"status {status}: {said[-1500:]}")
        elif str(self.world.place) not in said or "free some room" not in said:
            found.append(f"the message lacks the place or what to do: {said[-300:]}")
        return found


LARGE = 1 << 30


def used(place):
    """Return the bytes of a disk that are taken."""
    at = os.statvfs(place)
    return (at.f_blocks - at.f_bfree) * at.f_frsize


def resize(place, size):
    """Give a tmpfs another size."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(place)], check=True)


def main():
    """Print a line per kind, and fail where one is not as it would be without."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--fulls", type=int, default=100)
    parser.add_argument(
        "--seconds", type=float, default=3600, help="for the kills of a kind at most"
    )
    parser.add_argument("--kinds", help="between commas; default: all")
    parser.add_argument("--runtime", type=Path, help="folder of onnxruntime-web, for the page")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if os.environ.get("IN_NAMESPACE") != "1":
        os.environ["IN_NAMESPACE"] = "1"  # what is mounted there, nobody else sees
        os.execvp("unshare", ["unshare", "-rm", sys.executable, *sys.argv])
    names = options.kinds.split(",") if options.kinds else list(KINDS)
    if options.runtime is None:
        names = [name for name in names if name != "export page"]
    _import_all()
    shards.SIZE = 8  # so that a prediction of few pictures has several parts
    ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: workers of a killed one become ours
    failed = False
    with tempfile.TemporaryDirectory(prefix="smallset-loops-") as root:
        place = Path(root) / "place"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "loops", str(place)]
        subprocess.run(mount, check=True)
        try:
            world = World(Path(root), place, options.runtime)
            world.make()
            os.environ["SMALLSET_CACHE"] = str(world.cache)
            for name in names:
                failed = _tried(world, name, options) or failed
        finally:
            subprocess.run(["umount", str(place)], check=True)
    return 1 if failed else 0


def _tried(world, name, options):
    """Try a kind, print what came of it, and return whether something was wrong."""
    began = time.monotonic()
    rng = random.Random(f"{options.seed} {name}")
    loop = Loop(world, name, rng, options.seconds)
    loop.undisturbed()
    kills, fulls = loop.kill(options.kills), loop.fill(options.fulls)
    print(
        f"{name}: {loop.seconds:.2f} s undisturbed; {kills} kills, {fulls} full disks; "
        f"{loop.series} ends compared; {len(loop.wrong)} faults; {time.monotonic() - began:.0f} s",
        flush=True,
    )
    for each in loop.wrong[:8]:
        print(f"    {each}", flush=True)
    return bool(loop.wrong)


def _import_all():
    """Import what commands need, so that none has to."""
    for module in pkgutil.walk_packages(smallset.__path__, "smallset."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):
                importlib.import_module(module.name)
    for name in ("onnxruntime", "onnxscript", "torch.onnx", "sklearn.manifold"):
        importlib.import_module(name)
    torch.set_num_threads(1)
    Figure.savefig = _save_titles
    fork = multiprocessing.get_context("fork")  # workers that are spawned would import for seconds
    multiprocessing.get_context = lambda _: fork


def _save_titles(self, fname, **_):
    """Write what a figure says, for drawing it would be three quarters of the time of a kind."""
    fname.write("; ".join(axes.get_title() for axes in self.axes).encode())


def warm(world, kind):
    """Do it in this process, so that what Python's libraries do at their first use is done."""
    for run in (kind.before, kind.run):
        what = None if run is None else run(world)
        if callable(what):
            what()
        elif what is not None:
            sys.argv = ["smallset", *what]
            quiet = redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO())
            with suppress(SystemExit), quiet[0], quiet[1]:
                cli.main()


if __name__ == "__main__":
    sys.exit(main())
