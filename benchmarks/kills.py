"""Is a search for the best classifier that was killed, and gone on with, the one that was not?

    python benchmarks/kills.py [--kills 20] [--networks A,B] [--scratch] [--out FOLDER]

One search on generated pictures is left alone. Then others are killed at random moments (SIGKILL)
and started again, until all kills are spent; each must end with the same winner, the same best.json
but for times, and the same bytes. What the first one measured with the clock (milliseconds per
picture, affordable epochs) is given to the others: a slower moment may rightly choose otherwise.
With --scratch no weights are at hand, so networks are trained from scratch, at a time, and joined.
"""

import argparse
import json
import multiprocessing
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

import smallset.choose.best
import smallset.choose.candidates
import smallset.choose.scratch
import smallset.show.run_figures
import smallset.use.pages
from smallset import api
from smallset.config import RunConfig, override

DATA = "sample:shapes,scale=0.1"
SETTINGS = {"image_size": 64, "data.classes": "1-6", "figures.tsne": False}
MINUTES = 60.0  # so that no kill takes the time that something needs
CLOCK = ("costs", "mirror", "tuned", "refit", "joins", "fresh", "scratch")  # in search.json
FILES = ("model.safetensors", "model.json", "predictions.csv")


def main():
    """Print what each search left, and fail where one differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--networks", default="efficientnet_lite0,efficientnet_lite1")
    parser.add_argument("--scratch", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = options.out or Path(tempfile.mkdtemp(prefix="smallset-kills-"))
    networks, rng = options.networks.split(","), random.Random(options.seed)
    if options.scratch:
        networks, smallset.choose.candidates.weight_sources = [], list
        smallset.choose.scratch.RECIPES = (("quick", 1, 8),)  # four networks of eight epochs
    began, measured = time.monotonic(), {}
    child = start(folder / "whole", networks)
    while child.is_alive():
        measured = known(folder / "whole") or measured
        time.sleep(0.02)
    assert child.exitcode == 0
    whole, seconds = left_by(folder / "whole"), time.monotonic() - began
    print(f"left alone: {whole[0]['chosen']}, {seconds:.0f} s", flush=True)
    kills, search, differ = 0, 0, 0
    while kills < options.kills:
        out, search = folder / f"killed-{search}", search + 1
        (out / ".search").mkdir(parents=True)
        begun = {k: v for k, v in measured.items() if k in CLOCK}
        begun |= {"asked": measured["asked"], "spent": 0.0}
        (out / ".search/search.json").write_text(json.dumps(begun))
        places = []
        while True:
            child = start(out, networks)
            child.join(rng.uniform(0, 0.5 * seconds) if kills < options.kills else None)
            if not child.is_alive():
                break
            child.kill()
            child.join()
            kills += 1
            places.append(farthest(out))
        assert child.exitcode == 0, child.exitcode
        found = left_by(out)
        same = [a == b for a, b in zip(whole, found, strict=True)]
        differ += not all(same)
        said = dict(zip(("best.json", *FILES), same, strict=True))
        print(f"{out.name}: killed in {', '.join(places) or 'nothing'}; same: {said}", flush=True)
    print(f"{kills} kills in {search} searches, {differ} of them with another end")
    if options.out is None:
        shutil.rmtree(folder)
    return 1 if differ else 0


def start(out, networks):
    """Start a search, or go on with it, in a process that need not import what this one has."""
    child = multiprocessing.get_context("fork").Process(target=find, args=(out, networks))
    child.start()
    return child


def find(out, networks):
    """Search."""
    config = override(RunConfig(), SETTINGS)
    api.best(DATA, out=out, minutes=MINUTES, networks=networks, config=config)


def known(out):
    """Return what a search knows by now; None where it has not begun or is over."""
    try:
        return json.loads((out / ".search/search.json").read_text())
    except OSError:
        return None


def farthest(out):
    """Return the newest file that a search has written."""
    files = [path for path in out.rglob("*") if path.is_file()]
    newest = max(files, key=lambda path: path.stat().st_mtime_ns)
    return str(newest.relative_to(out))


def left_by(out):
    """Return what best.json says but for times, and the bytes of the record's files."""
    story = json.loads((out / "best.json").read_text())
    del story["seconds"], story["written"]  # the checksum is of the times too
    for candidate in story["candidates"]:
        del candidate["seconds"]
    return [story, *((out / name).read_bytes() for name in FILES)]


if __name__ == "__main__":
    sys.exit(main())
