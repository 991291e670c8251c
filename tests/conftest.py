import os
import shutil

import pytest
from support import picture, random_weights

from smallset.config import RunConfig, override


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(shared_cache, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(shared_cache))


@pytest.fixture(scope="session")
def split_folders(tmp_path_factory):
    """Four classes in train, val, test and extra; every picture differs."""
    root = tmp_path_factory.mktemp("pictures")
    number = 0
    for split, count in {"train": 8, "val": 3, "test": 5, "extra": 2}.items():
        for label, name in enumerate(["ant", "bee", "cat", "dog"]):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                number += 1
                picture(label, number).save(root / split / name / f"{n}.png")
    return root


@pytest.fixture(scope="session")
def tiny():
    """Settings of a run that takes a second: tiny(lr=0.1, **{"optim.momentum": 0.9})."""

    def build(**settings):
        base = {"recipe": "course-report", "image_size": 32, "epochs": 2}
        base |= {} if settings.get("batches.kind") == "pk" else {"batches.size": 8}
        base |= {"figures.tsne": False, "figures.report": False}
        return override(RunConfig(), {**base, **settings})

    return build


@pytest.fixture(scope="session")
def squeeze_file(tmp_path_factory):
    return random_weights("squeezenet1_1", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def browser():
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        # Where CI runs it must be there: .ci/run installs it.
        assert not os.environ.get("CI"), "no chromium"
        pytest.skip("no chromium (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser):
    """Open a page offline; whatever the browser complains about fails the test."""
    complaints, contexts = [], []

    def go(path, width=1440, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type != "log" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.on("request", lambda r: r.url.startswith(("file:", "data:", "blob:"))
                or complaints.append(r.url))  # fmt: skip
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready=yes]")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
