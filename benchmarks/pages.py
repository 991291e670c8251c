"""Does everything that can be touched on a page answer, in all eight ways that it is read?

    python benchmarks/pages.py PAGE.html [PAGE.html ...]

Each page is opened from file://, offline, at 1440 and 390 px, light and dark, English and
Chinese. Every section is unfolded; every button, heading of a table, choice, slider, cell of a
matrix, point and tab is then clicked, moved to its ends or gone over by keyboard, dialogs
included. Faults are what the console complains of, a request to anywhere, and what axe-core finds
at the end. English on a Chinese page is one too, but for what a user said (--given).
"""

import argparse
import itertools
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from accessible import OPEN_ALL, faults

CONTROLS = "main button, main select, main input, main summary, header button, nav button"
MOST = 60
"""Of buttons of one kind, such as the images of a gallery, so many are clicked, evenly chosen."""
CHARTS = "main [role=group][tabindex], main canvas, main [role=grid]"


def kind_of(control: Locator) -> str:
    """Return what distinguishes kinds of controls: tag, classes, role, and what holds it."""
    return control.evaluate(
        "e => [e.tagName, e.type || '', e.className.baseVal ?? e.className, "
        "e.getAttribute('role') || '', e.closest('section')?.id || ''].join(' ')"
    )


def chosen(page: Page) -> Iterator[Locator]:
    """Give the controls that are there, at most `MOST` of a kind."""
    by_kind: dict[str, list[Locator]] = {}
    for control in page.locator(CONTROLS).all():
        by_kind.setdefault(kind_of(control), []).append(control)
    for same in by_kind.values():
        step = max(1, len(same) // MOST)
        yield from same[::step]


def act(page: Page, control: Locator) -> bool:
    """Use a control; return whether there was anything to use."""
    if not control.is_visible() or not control.is_enabled():
        return False
    kind = control.evaluate("e => e.tagName + ' ' + (e.type || '')")
    if kind.startswith("SELECT"):
        values = control.locator("option").evaluate_all("all => all.map(o => o.value)")
        for value in [*values[:MOST], values[0]]:
            control.select_option(value)
    elif kind == "INPUT range":
        for key in ("Home", "End", "ArrowLeft", "PageUp"):
            control.press(key)
    elif kind in ("INPUT text", "INPUT search", "INPUT "):
        control.fill("a")
        control.fill("")
    else:
        control.click(timeout=10_000)
        if page.locator("dialog[open]").count():
            for key in ("ArrowRight", "ArrowLeft", "Escape"):
                page.keyboard.press(key)
            assert not page.locator("dialog[open]").count(), "a dialog stays open"
    return True


def go_over(page: Page, chart: Locator) -> None:
    """Move over a chart by pointer and by keyboard."""
    if not chart.is_visible():
        return
    chart.scroll_into_view_if_needed()
    box = chart.bounding_box()
    assert box is not None
    for x, y in itertools.product((0.1, 0.35, 0.6, 0.85), repeat=2):
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.keyboard.press("Escape")
    (chart if chart.get_attribute("tabindex") else chart.locator("[tabindex='0']").first).focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "Enter", "Escape"):
        page.keyboard.press(key)


def drive(page: Page, path: Path) -> tuple[int, float, list[object]]:
    """Use everything on a page in the way it is open; return actions, the slowest, and faults."""
    wrong: list[object] = []
    page.on("console", lambda m: wrong.append(m.text) if m.type != "log" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    own = ("file:", "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(own) else wrong.append(r.url))
    page.goto(path.resolve().as_uri())
    page.wait_for_selector("html[data-ready=yes]", timeout=60_000)
    page.evaluate(OPEN_ALL)
    count, slowest = 0, 0.0
    for control in chosen(page):
        began = time.perf_counter()
        try:
            count += act(page, control)
        except Exception as error:  # noqa: BLE001  every fault is told
            wrong.append((kind_of(control), str(error).splitlines()[0]))
            page.keyboard.press("Escape")
        slowest = max(slowest, time.perf_counter() - began)
        page.evaluate(OPEN_ALL)
    for chart in page.locator(CHARTS).all():
        go_over(page, chart)
        count += 1
    return count, slowest, wrong


def main() -> None:
    """Drive the pages, in every way."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--given", action="append", default=[], help="words of the user")
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        for path in options.pages:
            for width, light, lang in itertools.product(
                (1440, 390), ("light", "dark"), ("en", "zh")
            ):
                context = browser.new_context(
                    viewport={"width": width, "height": 900}, color_scheme=light,
                    locale="zh-CN" if lang == "zh" else "en-GB", offline=True,
                )  # fmt: skip
                page = context.new_page()
                count, slowest, wrong = drive(page, path)
                wrong += faults(page, ways=[(width, light, lang)], given=options.given)
                print(
                    f"{path}: {width} px, {light}, {lang}: {count} actions, the slowest "
                    f"{slowest:.2f} s, {len(wrong)} faults",
                    flush=True,
                )
                for each in wrong:
                    print("   ", each, flush=True)
                context.close()


if __name__ == "__main__":
    main()
