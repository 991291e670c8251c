"""axe-core on a page, English in Chinese, and fingers: in the ways that the page is read."""

from functools import cache
from importlib.resources import files

WAYS = (
    (1440, "light", "en"), (390, "dark", "zh"), (1440, "dark", "zh"), (390, "light", "en"),
)  # fmt: skip
"""Widths in px, lights and languages; the last two are of new pairs of them."""

# WCAG 2.1 A and AA, and what axe calls best practice. No rule is off; that of contrast, which
# takes four fifths of the time, is asked once in each light: no colour hangs on the language.
AXE = """async ([place, asksContrast]) => {
  const { violations, incomplete } = await axe.run(place, {
    runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"],
    rules: { "color-contrast": { enabled: asksContrast } },
    resultTypes: ["violations", "incomplete"],
  });
  // Text on a gradient is not judged, and is no violation.
  const unjudged = incomplete.filter(({ id }) => id === "color-contrast").map((each) => ({
    ...each, nodes: each.nodes.filter(({ any }) => any[0]?.data?.messageKey === "bgGradient") }));
  return [...violations, ...unjudged].flatMap(({ id, nodes }) =>
    nodes.map(({ html, any, all, none }) =>
      [id, html.slice(0, 160), [...any, ...all, ...none].map((each) => each.message)[0]]));
}"""
# A run of three English words; class names, paths and what names a licence have no such.
ENGLISH = """(place) => {
  const found = [], walk = document.createTreeWalker(document.querySelector(place), 4);
  for (let node; (node = walk.nextNode());) {
    const said = node.textContent.trim();
    if (/[A-Za-z]{2,} [a-z]{2,} [a-z]{2,}/.test(said)
        && !node.parentElement.closest("script, style, pre, code, [lang='en'], .en")
        && node.parentElement.checkVisibility())
      found.push(["english", said.slice(0, 160)]);
  }
  return found;
}"""
# What is too small for a finger, and a page that moves sideways; a link in a sentence is as it is.
PHONE = """(place) => {
  const found = [], wide = document.documentElement.scrollWidth;
  if (wide > innerWidth) found.push(["sideways", `${wide} px in ${innerWidth}`]);
  const controls = "a, button, select, input, summary";
  for (const each of document.querySelector(place).querySelectorAll(controls)) {
    const { width, height } = (each.closest("label") || each).getBoundingClientRect();
    if (each.closest("p") || each.type === "range" || !each.checkVisibility()) continue;
    if (width > 1 && Math.min(width, height) < 32)
      found.push(["small", each.outerHTML.slice(0, 160), `${width} x ${height} px`]);
  }
  return found;
}"""
OPEN_ALL = """() => {
  document.querySelectorAll("button.fold[aria-expanded=false]").forEach((each) => each.click());
  document.querySelectorAll("details").forEach((each) => (each.open = true));
}"""


@cache
def axe():
    return files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def faults(page, place="html", ways=WAYS, given=()):
    """Return what axe finds, English in Chinese, and what is small on a phone; all is open.

    What users said themselves, as in the file of a study, is `given`.
    """
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(axe())
    found, lights = [], set()
    for width, light, lang in ways:
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=light)
        if not page.get_attribute("html", "lang").startswith(lang):
            page.evaluate("document.getElementById('language').click()")  # a dialog may cover it
        page.evaluate(OPEN_ALL)
        said = page.evaluate(AXE, [place, light not in lights])
        # A dialog keeps the language that it was opened in; nobody can change it meanwhile.
        is_said_anew = lang == "zh" and place != "#closer"
        english = page.evaluate(ENGLISH, place) if is_said_anew else []
        said += [each for each in english if each[1] not in given]
        said += page.evaluate(PHONE, place) if width < 640 else []
        found += [((width, light, lang), *each) for each in said]
        lights.add(light)
    return found
