"""Does an exported page say in Firefox and in Chromium what `predict` says of the test images?

    python benchmarks/browsers.py RUN DATA --runtime FOLDER [--pictures N] [--firefox PATH]

RUN is a record, DATA the folder that it was trained on, FOLDER holds onnxruntime-web. `smallset
export RUN --format page` writes the page; each browser opens it from file://, without a network,
and is given the test pictures (N of them, evenly chosen) by its file field. Its table of answers is
compared with what `smallset predict` says of the same files.

Firefox is driven by WebDriver BiDi, which needs `pip install websockets`; Chromium by playwright.
"""

import argparse
import csv
import itertools
import json
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright
from websockets.sync.client import connect  # pyright: ignore[reportMissingImports]

from smallset import Record, api

WAIT = 1800


def until(told, seconds=WAIT):
    """Wait until `told()` is true."""
    end = time.monotonic() + seconds
    while not told():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.2)


def free_port():
    """Return the number of a port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def listens(port):
    """Return whether somebody listens on a port."""
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


class Firefox:
    """A Firefox with one tab."""

    def __init__(self, program, profile):
        port = free_port()
        words = ["--headless", "--no-remote", "--profile", str(profile)]
        self.process = subprocess.Popen(
            [program, *words, f"--remote-debugging-port={port}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.numbers, self.open_ones = itertools.count(1), ExitStack()
        until(lambda: listens(port), 60)
        self.pipe = self.open_ones.enter_context(
            connect(f"ws://127.0.0.1:{port}/session", max_size=None)
        )
        said = self.ask("session.new", capabilities={})["capabilities"]
        self.name = f"{said['browserName']} {said['browserVersion']}"
        self.tab = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method, **params):
        """Send a command, and return its result."""
        number = next(self.numbers)
        self.pipe.send(json.dumps({"id": number, "method": method, "params": params}))
        while (said := json.loads(self.pipe.recv(timeout=WAIT))).get("id") != number:
            pass
        if said["type"] == "error":
            raise RuntimeError(said["message"])
        return said["result"]

    def open(self, url):
        """Open a page."""
        self.ask("browsingContext.navigate", context=self.tab, url=url, wait="complete")

    def evaluate(self, expression):
        """Return the value of an expression in the page."""
        said = self.ask(
            "script.evaluate", expression=expression, target={"context": self.tab},
            awaitPromise=True,
        )  # fmt: skip
        return said["result"].get("value")

    def give(self, files):
        """Put files into the page's field."""
        [field] = self.ask(
            "browsingContext.locateNodes", context=self.tab,
            locator={"type": "css", "value": "#files"},
        )["nodes"]  # fmt: skip
        self.ask(
            "input.setFiles", context=self.tab, element={"sharedId": field["sharedId"]},
            files=files,
        )  # fmt: skip

    def close(self):
        """End it."""
        self.open_ones.close()
        self.process.terminate()
        self.process.wait()


class Chromium:
    """A Chromium with one tab."""

    def __init__(self, playwright):
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        self.browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        self.page = self.browser.new_page()
        self.name = f"chromium {self.browser.version}"
        self.open, self.evaluate = self.page.goto, self.page.evaluate

    def give(self, files):
        """Put files into the page's field."""
        self.page.set_input_files("#files", files)

    def close(self):
        """End it."""
        self.browser.close()


@contextmanager
def browsers(firefox):
    """Give a function for each browser that starts it."""
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as profile:
        yield (lambda: Firefox(firefox, profile), lambda: Chromium(playwright))


def main():
    """Export the page, show all pictures to both browsers, and say how far they are apart."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--runtime", type=Path, required=True)
    parser.add_argument("--pictures", type=int, default=10**9)
    parser.add_argument("--firefox", default=shutil.which("firefox") or "firefox")
    options = parser.parse_args()
    made = Record(options.run).predictions
    rows = np.flatnonzero(made.splits == "test")
    rows = rows[:: max(1, len(rows) // options.pictures)]
    files = [str((options.data / made.paths[row]).resolve()) for row in rows]
    asked = api.predict(options.run, files).probs
    with tempfile.TemporaryDirectory() as folder, browsers(options.firefox) as all_browsers:
        out = Path(folder) / "page"
        api.export(options.run, out=out, file_format="page", runtime=options.runtime)
        [page] = out.glob("*.html")
        print(f"{platform.platform()}; page of {page.stat().st_size / 1e6:.1f} MB")
        said = {}
        for start in all_browsers:
            browser = start()
            began = time.perf_counter()
            browser.open(page.as_uri())
            until(lambda: browser.evaluate("document.documentElement.dataset.ready") == "yes")  # noqa: B023
            ready = time.perf_counter() - began
            own = float(browser.evaluate("document.documentElement.dataset.apart"))
            began = time.perf_counter()
            browser.give(files)
            done = "Number(document.documentElement.dataset.done || 0)"
            until(lambda: browser.evaluate(done) == len(files))  # noqa: B023
            speed = len(files) / (time.perf_counter() - began)
            lines = list(csv.DictReader(browser.evaluate("table()").splitlines()))
            name = browser.name
            browser.close()
            probs = np.array([[float(line[each]) for each in list(line)[-len(made.classes):]]
                              for line in lines])  # fmt: skip
            said[name] = probs
            apart = np.abs(probs - asked).max(axis=1)
            same = (probs.argmax(axis=1) == asked.argmax(axis=1)).sum()
            right = (probs.argmax(axis=1) == made.labels[rows]).mean()
            print(
                f"{name}: ready after {ready:.1f} s, own example within {own:.1g}, "
                f"{speed:.1f} pictures/s; apart at most {apart.max():.2g}, median "
                f"{np.median(apart):.1g}, 99 % under {np.quantile(apart, 0.99):.2g}; same class "
                f"{same} of {len(rows)}; accuracy {right:.2%}",
                flush=True,
            )
        first, second = said.values()
        print(f"the browsers differ by at most {np.abs(first - second).max():.2g}")


if __name__ == "__main__":
    main()
