"""Which changed copies `smallset check --deep` finds, what else it says, and how long it takes.

    python benchmarks/copies.py DATA [--per-kind 32]

Copies of pictures of DATA, each changed in one of many ways, are put beside links to all of DATA in
a new folder with a cache of its own, and that is checked. Other pairs that it names are those of
DATA itself, or false.
"""

import argparse
import io
import itertools
import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from smallset.api import check
from smallset.config import RunConfig
from smallset.progress import Reporter

Change = Callable[[Image.Image], Image.Image]
TURN = Image.Transpose


def saved_again(picture: Image.Image) -> Image.Image:
    """Save as a poor JPEG."""
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=30)
    return Image.open(content).convert("RGB")


def part(left: float, top: float, right: float, bottom: float) -> Change:
    """Cut these shares of the sides off."""

    def cut(picture: Image.Image) -> Image.Image:
        w, h = picture.size
        return picture.crop(
            (round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h))
        )

    return cut


def padded(across: float, down: float, colour: str) -> Change:
    """Add bars of these shares of the sides, left and right, above and below."""

    def pad(picture: Image.Image) -> Image.Image:
        w, h = picture.size
        bars = (round(across * w), round(down * h))
        return ImageOps.expand(picture, bars, colour)

    return pad


def captioned(picture: Image.Image) -> Image.Image:
    """Write across a corner."""
    picture = picture.copy()
    w, h = picture.size
    ImageDraw.Draw(picture).rectangle((0.5 * w, 0.86 * h, w, h), fill="white")
    return picture


CHANGES: dict[str, Change] = {
    "saved again": saved_again,
    "resized": lambda p: p.resize((round(0.6 * p.width), round(0.45 * p.height))),
    "brighter": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "darker": lambda p: ImageEnhance.Brightness(p).enhance(0.6),
    "grey": lambda p: ImageOps.grayscale(p).convert("RGB"),
    "blurred": lambda p: p.filter(ImageFilter.GaussianBlur(p.width / 120)),
    "captioned": captioned,
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "rotated 90": lambda p: p.transpose(TURN.ROTATE_90),
    "rotated 180": lambda p: p.transpose(TURN.ROTATE_180),
    "rotated 270": lambda p: p.transpose(TURN.ROTATE_270),
    "transposed": lambda p: p.transpose(TURN.TRANSPOSE),
    "cut 5 %": part(0.05, 0.05, 0.05, 0.05),
    "cut 10 %": part(0.1, 0.1, 0.1, 0.1),
    "cut at a corner": part(0, 0, 0.25, 0.25),
    "cut at a side": part(0.1, 0, 0, 0),
    "cut, mirrored": lambda p: ImageOps.mirror(part(0.02, 0.13, 0.13, 0.02)(p)),
    "cut, rotated": lambda p: part(0.1, 0.1, 0.1, 0.1)(p).transpose(TURN.ROTATE_90),
    "padded above": padded(0, 0.3, "black"),
    "padded beside": padded(0.25, 0, "white"),
    "padded around": padded(0.15, 0.15, "grey"),
    "padded, saved": lambda p: saved_again(padded(0, 0.3, "black")(p)),
    "padded, rotated": lambda p: padded(0, 0.3, "black")(p).transpose(TURN.ROTATE_90),
}


def inject(data: Path, folder: Path, per_kind: int) -> dict[str, tuple[str, str]]:
    """Return, per copy, its original and how it was changed; paths within the new folder."""
    files = sorted(path for path in data.glob("*/*/*") if path.is_file())
    for file in files:
        link = folder / file.relative_to(data)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file)
    chosen = random.Random(0).sample(files, min(per_kind * len(CHANGES), len(files)))
    made: dict[str, tuple[str, str]] = {}
    for number, file in enumerate(chosen):
        kind = list(CHANGES)[number % len(CHANGES)]
        name = file.relative_to(data).with_name(f"copy-{number}.png")
        with Image.open(file) as picture:
            CHANGES[kind](picture.convert("RGB")).save(folder / name)
        made[name.as_posix()] = (file.relative_to(data).as_posix(), kind)
    return made


def main() -> None:
    """Print recall by kind of change, other pairs, and seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--per-kind", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 for all")
    options = parser.parse_args()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as place:
        os.environ["SMALLSET_CACHE"] = f"{place}/cache"
        folder = Path(place) / "data"
        made = inject(options.data.resolve(), folder, options.per_kind)
        marks = [("start", time.perf_counter())]

        def counted(what: str, done: int, total: int) -> None:
            if done == total:
                marks.append((what, time.perf_counter()))

        reporter = Reporter(counted=counted)
        check(folder, RunConfig(), reporter=reporter)
        plain = time.perf_counter()
        _, problems = check(folder, RunConfig(), deep=True, reporter=reporter)
        seconds = time.perf_counter() - plain
    found: Counter[str] = Counter()
    others: list[str] = []
    for problem in problems:
        if not problem.kind.startswith("near-") or problem.kind == "near-leaks":
            continue
        first, second = problem.message.rsplit(": ", 1)[1].split(", ")
        hits = [
            made[b][1] for a, b in ((first, second), (second, first)) if made.get(b, "")[:1] == (a,)
        ]
        found.update(hits)
        others += [] if hits else [problem.message]
    total = Counter(kind for _, kind in made.values())
    for kind in CHANGES:
        print(f"{kind:16} {found[kind]:3} of {total[kind]}")
    print(f"{'all':16} {found.total():3} of {total.total()}")
    print(f"{len(others)} other pairs:", *others, sep="\n  ")
    for (_, before), (what, at) in itertools.pairwise(marks):
        print(f"{what}: {at - before:.1f} s")
    print(f"check before --deep {plain - marks[0][1]:.1f} s, --deep beside it {seconds:.1f} s")


if __name__ == "__main__":
    main()
