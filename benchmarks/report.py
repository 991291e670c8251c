"""How long the page of a run takes, how large it is, and how soon it answers.

    python benchmarks/report.py RUN [--rounds 3] [--points 10000 --dim 25088]

RUN is a record. Each build is a process of its own, as on the command line; the page is then opened
in headless Chromium from file://, offline. With --points, PCA and t-SNE of as many random features
in clusters are timed instead (SPEED.md: 10,000 x 25,088).
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def build(run):
    """Seconds of `smallset report`, start-up included."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "smallset", "report", str(run), "--quiet"], check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - started


def open_page(page):
    """Seconds until a click on the confusion matrix shows images, and until charts are drawn."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        shown = browser.new_page(viewport={"width": 1440, "height": 900})
        shown.goto(page.as_uri(), wait_until="commit")
        answers = "document.documentElement.dataset.ready ? performance.now() : 0"
        charts = "document.querySelector('.chart > svg, .chart > canvas') ? performance.now() : 0"
        # Charts are drawn where they are seen.
        shown.wait_for_selector(".chart", state="attached")
        shown.evaluate("document.querySelector('.chart').scrollIntoView()")
        first = drawn = 0.0
        while not first or not drawn:
            first = first or shown.evaluate(answers)
            drawn = drawn or shown.evaluate(charts)
            shown.wait_for_timeout(20)
        browser.close()
    return first / 1000, drawn / 1000


def lay_out(run):
    """Seconds that t-SNE takes of it."""
    from smallset.record.record import Record
    from smallset.show.embed import principal_axes, tsne

    record = Record(run)
    axes = principal_axes(record.embeddings("train"), record.embeddings("test"))
    started = time.perf_counter()
    tsne(axes)
    return time.perf_counter() - started


def embed(points, dim):
    import numpy as np

    from smallset.show.embed import principal_axes, tsne

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(35, dim)).astype(np.float16)
    labels = rng.integers(0, 35, points)
    features = centres[labels]
    for start in range(0, points, 500):
        noise = rng.normal(size=(len(features[start : start + 500]), dim)) * 3
        features[start : start + 500] += noise.astype(np.float16)
    cut = points * 6 // 10
    began = time.perf_counter()
    axes = principal_axes(features[:cut], features[cut:])
    middle = time.perf_counter()
    tsne(axes)
    ended = time.perf_counter()
    print(f"{points} x {dim}: PCA to 50 {middle - began:.1f} s, t-SNE {ended - middle:.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int)
    parser.add_argument("--dim", type=int, default=25_088)
    arguments = parser.parse_args()
    if arguments.points:
        embed(arguments.points, arguments.dim)
        return
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        shutil.copytree(arguments.run, run)
        rows, page = [], run / "report.html"
        for _ in range(arguments.rounds):
            seconds = build(run)
            rows.append((seconds, lay_out(run), *open_page(page)))
        names = ("built in", "of which t-SNE", "answers after", "charts after")
        for name, values in zip(names, zip(*rows, strict=True), strict=True):
            low, high = min(values), max(values)
            print(f"{name} {statistics.median(values):.2f} s ({low:.2f} - {high:.2f})")
        print(f"size {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
