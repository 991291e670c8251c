"""The pages, driven in a browser as their readers would."""

import base64
import io
import json
import os
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from accessible import WAYS, faults
from PIL import Image
from support import edit_json, picture
from typer.testing import CliRunner

from smallset import api
from smallset.cli import app
from smallset.errors import ConfigError, DataError
from smallset.findings.facts import Finding
from smallset.findings.headline import headline
from smallset.findings.in_study import StudyFinding
from smallset.record.measures import tempered
from smallset.record.record import Record
from smallset.settings import flat
from smallset.show.report import class_table, study_page
from smallset.show.report.render import both, named, page_json, percent, probability
from smallset.show.report.run_page import least_sure, worst_mistakes, write_run_page
from smallset.show.report.search_section import _chosen, _estimated
from smallset.show.report.study_page import write_study_page
from smallset.show.report.thumbnails import find_pictures, thumbnails
from smallset.show.report.trust import trust
from smallset.stats import Interval
from smallset.words import text

CLASSES = [
    "<script>alert(1)<",
    "猫",
    "long_name_of_a_class_that_must_be_broken_somewhere",
    "dog & fox",
]
COUNTS = {"train": 8, "val": 3, "test": 6}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    root = tmp_path_factory.mktemp("odd names")
    for split, count in COUNTS.items():
        for label, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for n in range(count):
                number = 100 * list(COUNTS).index(split) + n
                picture(label, number, size=48).save(root / split / name / f"{n}.png")
    return root


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory, shared_cache):
    os.environ["SMALLSET_CACHE"] = str(shared_cache)
    out = tmp_path_factory.mktemp("runs") / "odd"
    settings = {
        "image_size": 32, "epochs": 3, "batches.size": 8, "loss": "triplet-cosine", "lr": 0.003,
        "augment.flip": True, "augment.rotation_degrees": 20, "data.noise_rate": 0.25,
        # With mirror images, or in bfloat16, nothing is mistaken, and mistakes are to be shown.
        "mirror": False, "compute.precision": "float32",
    }  # fmt: skip
    from smallset.config import RunConfig, override

    api.train(pictures, override(RunConfig(), settings), out=out)
    return Record(out)


@pytest.fixture(scope="module")
def study(pictures, tmp_path_factory, run):
    folder = tmp_path_factory.mktemp("study")
    spec = """
title = "Rates <b>"
about = "Two rates & a mean."
seeds = 2
baseline = "low"
[base]
recipe = "course-report"
image_size = 32
epochs = 2
batches.size = 8
[arms.low]
lr = 0.001
[arms.high]
lr = 0.05
[[charts]]
name = "rates"
title = "Accuracy against the rate"
x = "lr"
log = true
curves = { plain = ["low", "high"] }
"""
    (folder / "rates.toml").write_text(spec)
    return api.study(str(folder / "rates.toml"), pictures, out=folder / "out", execute="serial")


# What stands at the end of each line but the last.
LINE_ENDS = """(place) => {
  const ends = [], walk = document.createTreeWalker(place, 4);
  let top = null, line = "";
  for (let node; (node = walk.nextNode());)
    for (let n = 0; n < node.length; n++) {
      const range = document.createRange();
      range.setStart(node, n);
      range.setEnd(node, n + 1);
      const [box] = range.getClientRects();
      if (box && top !== null && box.top > top + 4) {
        ends.push(line);
        line = "";
      }
      if (box) top = box.top;
      line += node.data[n];
    }
  return ends;
}"""


def rows_of(record, split, label=None, said=None):
    p = record.predictions
    keep = p.splits == split
    keep = keep if label is None else keep & (p.labels == label)
    return np.flatnonzero(keep if said is None else keep & (p.predicted == said))


# -- The page of a run -----------------------------------------------------------------------------


def test_train_leaves_a_page_with_its_accuracy(run, visit):
    page = visit(run.folder / "report.html")
    assert page.locator("#accuracy").inner_text() == f"{run.result['test_accuracy']:.1%}"
    assert page.locator("#settings pre").inner_text() == run.command(exact=True)


def test_the_curve_of_trust_counts_the_answers_that_pass(run, visit):
    found, t = run.predictions, run.model["temperature"]
    test = found.splits == "test"
    sure = np.exp(tempered(found.probs[test], t)).max(axis=1)
    right = (found.predicted == found.labels)[test]
    said = trust(found, t, 0)
    assert said
    for limit, share, hits in zip(said["limit"], said["share"], said["right"], strict=True):
        best = np.argsort(-sure, kind="stable")[: round(share * len(sure))]
        assert (limit, hits) == pytest.approx((sure[best].min(), right[best].mean()), abs=1e-4)
    assert (said["share"][-1], said["right"][-1]) == pytest.approx((1, right.mean()), abs=1e-4)
    opened = said["right"][said["open"]]
    assert opened >= (1 + right.mean()) / 2 - 1e-4 or said["open"] == len(said["share"]) - 1
    page = visit(run.folder / "report.html")
    assert f"{opened:.1%} of these are right" in page.inner_text("#trusted")
    page.focus("#limit")
    page.keyboard.press("End")
    assert page.inner_text("#trusted").split(": ")[1].startswith("100% of the test images")
    assert f"{right.mean():.1%} of these" in page.inner_text("#trusted")
    assert trust(replace(found, splits=np.full(len(test), "val")), t, 0) is None


def test_every_cell_of_every_split_shows_the_images_behind_it(run, visit):
    page = visit(run.folder / "report.html")
    for split in COUNTS:
        page.click(f"#confusion-tools button[data-value='{['train', 'val', 'test'].index(split)}']")
        for i, row in enumerate(run.predictions.confusion(split)):
            for j, count in enumerate(row):
                cell = page.locator(f"#matrix-place td[data-i='{i}'][data-j='{j}']")
                assert cell.inner_text() == (str(count) if count else "")
                cell.click()
                tiles = page.locator("#cell-images .tile")
                shown = {int(tiles.nth(n).get_attribute("data-row")) for n in range(tiles.count())}
                assert shown == set(rows_of(run, split, i, j).tolist())


def test_a_cell_can_be_reached_and_opened_by_keys(run, visit):
    page = visit(run.folder / "report.html")
    page.locator("#matrix-place td[data-i='0'][data-j='0']").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    chosen = page.locator("#matrix-place td[aria-selected=true]")
    assert [chosen.get_attribute(f"data-{axis}") for axis in "ij"] == ["1", "1"]
    assert page.locator("#cell-images .tile").count() == len(rows_of(run, "test", 1, 1))


def test_an_image_opens_with_its_probabilities(run, visit):
    page = visit(run.folder / "report.html")
    row = worst_mistakes(run.predictions, 1)[0]
    page.locator("#worst .tile button").first.click()
    dialog = page.locator("#closer")
    assert run.predictions.paths[row] in dialog.inner_text()
    shares = dialog.locator(".bar span:last-child").all_inner_texts()
    top = np.sort(run.predictions.probs[row])[::-1][:5]
    assert shares == [probability(p) for p in top]
    # Of the original, not of the 32 px that the network saw.
    assert dialog.locator("img").first.evaluate("image => image.naturalWidth") == 160
    assert dialog.locator(".cams-row img").count() == 3  # it is among the worst
    page.keyboard.press("Escape")
    assert not dialog.is_visible()


def test_the_dialog_shows_what_was_learnt_that_is_most_like_it(run, visit):
    page = visit(run.folder / "report.html")
    row = worst_mistakes(run.predictions, 1)[0]
    page.locator("#worst .tile button").first.click()
    learnt = run.embeddings("train").astype(np.float32)
    at = np.flatnonzero(np.flatnonzero(run.predictions.splits == "test") == row)[0]
    own = run.embeddings("test").astype(np.float32)[at]
    alike = learnt @ own / np.linalg.norm(learnt, axis=1)
    wanted = np.flatnonzero(run.predictions.splits == "train")[np.argsort(-alike)[:4]]
    shown = page.locator("#closer [data-near]").evaluate_all("all => all.map(x => +x.dataset.near)")
    assert shown == wanted.tolist()


def test_arrow_keys_go_through_the_pictures_of_a_gallery(run, visit):
    page = visit(run.folder / "report.html")
    rows = least_sure(run.predictions, 3)
    page.locator("#unsure .tile button").first.click()
    dialog = page.locator("#closer")
    seen = [dialog.get_attribute("data-row")]
    for key in ("ArrowLeft", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
        seen.append(dialog.get_attribute("data-row"))
    assert seen == [str(rows[n]) for n in (0, 0, 1, 2, 1)]
    dialog.get_by_role("button", name="next").click()
    assert dialog.get_attribute("data-row") == str(rows[2])
    page.keyboard.press("Enter")  # the button keeps the focus
    assert dialog.get_attribute("data-row") == str(least_sure(run.predictions, 4)[3])
    for _ in rows:
        dialog.get_by_role("button", name="previous").click()
    assert dialog.get_attribute("data-row") == str(rows[0])
    first = dialog.get_by_role("button", name="previous")
    assert first.get_attribute("aria-disabled") == "true"
    assert dialog.get_by_role("button", name="next").get_attribute("aria-disabled") == "false"


def test_galleries_show_the_worst_and_the_least_sure(run, visit):
    page = visit(run.folder / "report.html")
    for place, expected in (("worst", worst_mistakes), ("unsure", least_sure)):
        shown = page.locator(f"#{place} .tile").evaluate_all("t => t.map(x => +x.dataset.row)")
        assert shown == expected(run.predictions, 24)


def points(page):
    return page.evaluate(
        "document.querySelector('#plane-chart canvas').spots.map(spot => spot.row)"
    )


def test_the_points_follow_the_chosen_classes_and_splits(run, visit):
    page = visit(run.folder / "report.html")
    page.locator("#plane-chart").scroll_into_view_if_needed()
    both_splits = {*rows_of(run, "train"), *rows_of(run, "test")}
    assert set(points(page)) == both_splits
    page.click("#no-classes")
    page.check("#class-list input[data-class='1']")
    assert set(points(page)) == {*rows_of(run, "train", 1), *rows_of(run, "test", 1)}
    page.click("#plane-tools button[data-value=test]")
    assert set(points(page)) == set(rows_of(run, "test", 1))
    page.click("#plane-tools button[data-value=given]")
    page.click("#plane-tools button[data-value=train]")
    given = run.predictions.given_labels
    assert set(points(page)) == {r for r in rows_of(run, "train") if given[r] == 1}


def test_pointing_at_a_point_shows_its_image(run, visit):
    page = visit(run.folder / "report.html")
    page.locator("#plane-chart").scroll_into_view_if_needed()
    page.click("#no-classes")
    page.check("#class-list input[data-class='1']")
    page.click("#plane-tools button[data-value=test]")
    canvas = page.locator("#plane-chart canvas")
    spots, box = canvas.evaluate("canvas => canvas.spots"), canvas.bounding_box()
    # The pointer finds what the painter painted: in the colour of its class, in the middle of it.
    for spot in spots:
        page.mouse.move(box["x"] + spot["left"], box["y"] + spot["top"])
        page.wait_for_selector(f"#hover .tile[data-row='{spot['row']}']")
    seen = page.evaluate(
        """([left, top]) => [...document.querySelector("#plane-chart canvas").getContext("2d")
            .getImageData(left, top, 1, 1).data]""",
        [spots[-1]["left"], spots[-1]["top"]],  # nothing is painted over the last
    )
    assert seen == [0, 114, 178, 255]
    spot = spots[-1]
    page.mouse.click(box["x"] + spot["left"], box["y"] + spot["top"])
    assert spot["row"] in rows_of(run, "test", 1)
    page.locator("dialog[open]").get_by_text(run.predictions.paths[spot["row"]]).wait_for()


def test_the_points_can_be_walked_moved_and_enlarged(run, visit):
    page = visit(run.folder / "report.html")
    canvas = page.locator("#plane-chart canvas")
    spots = canvas.evaluate("canvas => canvas.spots")
    canvas.press("ArrowRight")
    first = page.locator("#hover .tile").get_attribute("data-row")
    assert int(first) == spots[0]["row"]
    at = {spot["row"]: spot for spot in spots}

    def walk(key):
        canvas.press(f"Arrow{key}")
        return at[int(page.locator("#hover .tile").get_attribute("data-row"))]

    def ahead(here, side, sign):
        """The spots within 45 degrees of an arrow, the one to come first."""
        other = "top" if side == "left" else "left"
        found = []
        for spot in spots:
            along, aside = sign * (spot[side] - here[side]), abs(spot[other] - here[other])
            if along > 0.5 and aside <= along:
                found.append((along + aside, spot["row"]))
        return [row for _, row in sorted(found)]

    here, moved = spots[0], 0
    for key, side, sign in [("Left", "left", -1), ("Down", "top", 1), ("Right", "left", 1)] * 2:
        for _ in range(4):
            wanted = ahead(here, side, sign)
            before, here = here, walk(key)
            assert here["row"] == (wanted[0] if wanted else before["row"])
            moved += here is not before
    assert moved >= 3
    page.click("#plane-chart .zoom button >> nth=0")
    page.wait_for_function(
        "before => document.querySelector('#plane-chart canvas').spots[0].left !== before",
        arg=spots[0]["left"],
    )
    page.click("#plane-chart .zoom button >> nth=2")
    page.wait_for_function(
        "n => document.querySelector('#plane-chart canvas').spots.length === n", arg=len(spots)
    )
    assert canvas.evaluate("canvas => canvas.spots") == spots


def test_the_language_can_be_switched(run, visit):
    page = visit(run.folder / "report.html")
    heading = page.locator("#confusion h2")
    assert heading.inner_text() == "Confusion matrix"
    page.click("#language")
    assert heading.inner_text() == "混淆矩阵"
    assert page.locator("#confusion-tools button").first.inner_text() == "训练"
    page.locator("#accuracy-chart").scroll_into_view_if_needed()
    axis = page.locator("#accuracy-chart .name.x")
    axis.filter(has_text="轮次").wait_for()
    page.click("#language")
    assert heading.inner_text() == "Confusion matrix"
    axis.filter(has_text="epoch").wait_for()


def test_a_page_opens_in_the_language_asked_for(run, tmp_path, visit):
    shutil.copytree(run.folder, tmp_path / "zh")
    result = CliRunner().invoke(app, ["report", str(tmp_path / "zh"), "--lang", "zh", "--quiet"])
    assert result.exit_code == 0, result.output
    assert visit(tmp_path / "zh/report.html").locator("#findings h2").inner_text() == "发现"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_sticks_out_of_a_narrow_or_wide_page(run, visit, width, scheme):
    page = visit(run.folder / "report.html", width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ink, back = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, back)]
    assert (light[0] < light[1]) == (scheme == "light")


def test_all_charts_are_drawn_for_printing(run, visit):
    page = visit(run.folder / "report.html")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".chart").count() == page.locator(".chart > svg").count() >= 3


MANY = """count => [byId("class-table"), document.querySelector(".matrix")].forEach((table) => {
  const [body] = table.tBodies;
  while (body.rows.length < count) body.append(body.rows[body.rows.length % 4].cloneNode(true));
})"""


def test_a_page_of_many_classes_prints_on_two_sheets(run, visit):
    page = visit(run.folder / "report.html")
    page.evaluate(MANY, 35)
    sheets = re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", prefer_css_page_size=False))
    assert len(sheets) == 2
    # The cell that was chosen on the screen is not marked, and letters are those of a print.
    page.emulate_media(media="print")
    style = "getComputedStyle(document.querySelector('[aria-selected=true]')).outlineWidth"
    assert page.evaluate(style) == "0px"
    told = page.locator(".on-screen")  # what a click does
    assert [each.is_visible() for each in told.all()] == [False, False]
    assert page.evaluate("getComputedStyle(document.documentElement).fontSize").startswith("11.3")


def test_a_chart_holds_its_numbers_and_tells_of_them_by_keyboard(run, visit):
    page = visit(run.folder / "report.html")
    chart = page.locator("#accuracy-chart")
    shown = chart.evaluate("place => place.spec.series.map(each => each.y)")
    history = run.history
    assert shown[0] == pytest.approx([epoch["train_accuracy"] for epoch in history])
    chart.locator("svg[tabindex]").press("ArrowRight")
    told = chart.locator(".told")
    assert told.inner_text() == f"train, running mean, epoch 0: {shown[0][0]:.1%}"
    chart.locator("svg[tabindex]").press("ArrowRight")
    assert told.inner_text() == f"train, running mean, epoch 1: {shown[0][1]:.1%}"
    # It stands beside its point, which has a ring.
    said, ring = (chart.locator(each).bounding_box() for each in (".told", ".ring"))
    middle = ring["x"] + ring["width"] / 2
    assert said["x"] <= middle <= said["x"] + said["width"]
    gap = max(ring["y"] - said["y"] - said["height"], said["y"] - ring["y"] - ring["height"])
    assert 0 <= gap < 30
    # A name switches its line off and on; the last one stays.
    lines = chart.locator("svg[tabindex] g")
    names = chart.locator(".legend button")
    assert lines.count() == names.count() == 3
    for _ in range(2):
        for n in range(3):
            names.nth(n).click()
            names.nth(n).click()
    assert lines.count() == 3
    for n in range(3):
        names.nth(n).click()
    assert lines.count() == 1


def test_the_table_of_classes_sorts(run, visit):
    page = visit(run.folder / "report.html")
    cells = page.locator("#class-table tbody td:nth-child(2)")
    values = "cells => cells.map(cell => +cell.dataset.value)"
    worst_first = cells.evaluate_all(values)
    assert worst_first == pytest.approx(sorted(run.result["recall"].values()))
    page.locator("#class-table th button").nth(1).click()
    assert cells.evaluate_all(values) == worst_first[::-1]


def test_a_class_opens_its_mistakes_in_its_place_and_can_be_filtered(run, visit):
    page = visit(run.folder / "report.html")
    link = page.locator(".class-link[data-class='1']")
    link.scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    link.click()
    shown = page.locator("tr.opened .tile").evaluate_all("all => all.map(x => +x.dataset.row)")
    label = rows_of(run, "test", 1)
    assert set(shown) == set(label[run.predictions.predicted[label] != 1].tolist())
    assert page.evaluate("scrollY") == before
    link.click()
    assert page.locator("tr.opened").count() == 0
    assert page.locator(".class-link img").count() == len(CLASSES)
    page.fill("#class-filter", "DOG")
    assert page.locator(".class-link:visible").all_inner_texts() == ["dog & fox"]


def test_opened_classes_stay_open_below_their_own_lines(run, visit):
    page = visit(run.folder / "report.html")
    for k in (1, 3):
        page.click(f".class-link[data-class='{k}']")
    above = """all => all.map(
        line => +line.previousElementSibling.querySelector(".class-link").dataset.class)"""
    opened = page.locator("tr.opened")

    def shown():
        return set(opened.evaluate_all(above))

    assert shown() == {1, 3}
    page.click("#language")
    assert shown() == {1, 3}
    assert "被判为别的类别" in opened.first.inner_text()
    for column in (0, 0, 2):
        page.locator("#class-table th button").nth(column).click()
        assert shown() == {1, 3}
    page.set_viewport_size({"width": 390, "height": 844})
    page.click("nav a[href='#classes']")
    assert shown() == {1, 3}
    page.fill("#class-filter", "dog")
    assert shown() == {1}
    page.fill("#class-filter", "")
    assert shown() == {1, 3}
    page.click(".class-link[data-class='1']")
    assert shown() == {3}


def test_only_mistakes_and_the_list_of_pairs_leave_out_what_is_right(run, visit):
    page = visit(run.folder / "report.html")
    counts = run.predictions.confusion("test")
    wrong = counts - np.diag(counts.diagonal())
    page.click("#only-wrong")
    cells = page.locator("#matrix-place td[data-i]").all_inner_texts()
    assert cells == [str(n) if n else "" for n in wrong.ravel()]
    page.hover("#matrix-place td[data-i='1'][data-j='2']")
    assert page.inner_text("#matrix-said").startswith(
        f"{run.predictions.classes[1]} predicted as {run.predictions.classes[2]}: "
    )
    assert page.locator("th.lit").count() == 2
    page.click("#confusion-tools button[data-value=pairs]")
    said = page.locator(".pairs button").evaluate_all(
        "all => all.map(x => [x.dataset.i, x.dataset.j])"
    )
    listed = [int(wrong[int(i), int(j)]) for i, j in said]
    assert listed == sorted(wrong[wrong > 0].tolist(), reverse=True)
    page.locator(".pairs button").last.click()
    assert page.locator("#cell-images .tile").count() == listed[-1]


def test_where_nothing_is_mistaken_no_cell_is_shown(run, visit):
    page = visit(run.folder / "report.html")
    page.evaluate("I.predicted = I.label")
    page.click("#only-wrong")
    for view in ("matrix", "pairs"):
        page.click(f"#confusion-tools button[data-value={view}]")
        assert page.inner_text("#matrix-place") == "No mistakes."
        assert page.inner_text("#cell-title") == page.inner_text("#cell-images") == ""
        assert faults(page, "#confusion", WAYS[:1]) == []
    assert not page.locator("#matrix-intro").is_visible()
    assert not page.locator("#confusion-tools button[data-value=recall]").is_visible()


def test_a_long_list_is_shown_in_parts(run, visit):
    page = visit(run.folder / "report.html")
    page.evaluate(
        "inParts(byId('worst'), [...Array(250).keys()], 100, "
        "(part, before) => [make('ol', {start: before + 1}, ...part.map(n => make('li')))])"
    )
    for shown, more in ((100, ["150 more"]), (200, ["50 more"]), (250, [])):
        assert page.locator("#worst li").count() == shown
        assert page.locator("#worst button").all_inner_texts() == more
        if more:
            page.click("#worst button")
    assert page.locator("#worst ol").last.get_attribute("start") == "201"


def test_classes_are_called_memorised_by_val(run, visit, monkeypatch, tmp_path):
    def found(predictions, rows):
        return [0] if set(predictions.splits[rows]) == {"val"} else []

    assert "memorised?" not in visit(run.folder / "report.html").inner_text("#class-table")
    monkeypatch.setattr(class_table, "memorised_classes", found)
    shutil.copytree(run.folder, tmp_path / "run")
    page = visit(write_run_page(Record(tmp_path / "run"), None, None, findings=[], lang="en"))
    assert page.locator("#class-table .wrong").all_inner_texts() == ["yes"]
    assert "clearly worse on val" in page.inner_text("#classes")


def test_images_of_a_cell_stand_beside_it_on_a_wide_screen(run, visit):
    page = visit(run.folder / "report.html")
    matrix, images = (
        page.locator(place).bounding_box() for place in ("#matrix-place", "#cell-images")
    )
    assert matrix["x"] + matrix["width"] <= images["x"]
    assert images["y"] < matrix["y"] + matrix["height"]


def test_the_top_answers_how_good_and_what_next(run, visit):
    page = visit(run.folder / "report.html")
    lines = page.locator("#beside .line .n").all_inner_texts()
    assert lines[:2] == ["25.0%", f"{run.result['test_accuracy']:.1%}"]
    commands = page.locator("#next pre").all_inner_texts()
    assert 1 <= len(commands) == len(set(commands)) <= 3


def test_each_line_of_the_settings_says_something_in_either_language(run, visit):
    page = visit(run.folder / "report.html")
    page.click("#language")
    page.evaluate("document.querySelectorAll('#settings details').forEach(e => (e.open = true))")
    settings, described = page.locator("#settings table").all()
    cells = [cell.strip() for cell in settings.locator("td").all_inner_texts()]
    assert all(cells)
    names = described.locator("td:first-child").all_inner_texts()
    said = ("代码提交", "设备", "数据", "数据指纹", "权重", "摘要", "跳过的文件", "人为的错误标签")
    assert names == [*run.config["versions"], *said]


def test_sections_are_folded_on_a_phone_and_opened_by_their_links(run, visit):
    page = visit(run.folder / "report.html", width=390)
    assert not page.locator("#class-table").is_visible()
    page.click("#classes h2")
    assert page.locator("#class-table").is_visible()
    page.click("nav a[href='#confusion']")
    assert page.locator("#matrix-place").is_visible()
    assert not page.locator("#worst").is_visible()
    assert page.locator("#classes h2 button").get_attribute("aria-expanded") == "true"
    page.set_viewport_size({"width": 1440, "height": 900})
    assert page.locator("#classes h2").inner_text() == "Per class"
    assert page.locator("[data-fold] h2 button").count() == 0


class Texts(HTMLParser):
    """Counts the elements of a page."""

    def __init__(self, content):
        super().__init__()
        self.tags = Counter()
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1


def test_names_are_text_whatever_is_in_them(run, visit):
    page = visit(run.folder / "report.html")
    links = page.locator(".class-link").all_inner_texts()
    assert sorted(links) == sorted(run.predictions.classes)
    assert "<script>alert(1)<" in links
    # The page's own four scripts and no other: data, common, charts, run.
    assert Texts((run.folder / "report.html").read_text(encoding="utf-8")).tags["script"] == 4


def test_values_of_a_sentence_are_escaped():
    assert "&lt;b&gt;" in both(text("{names}", names="<b>"))


def test_a_minus_is_no_hyphen_and_chinese_sentences_have_no_space_between_them(study):
    inner = text("{points:+.1f} points of a-1", points=-2.5)
    assert 'lang="en">Up: \N{MINUS SIGN}2.5 points of a-1 (3.0)<' in both(
        text("Up: {inner} ({high:.1f})", inner=inner, high=3.0)
    )
    page = (study.folder / "report.html").read_text(encoding="utf-8")
    assert '。</span><span class="en" lang="en"> The most frequent class' in page
    assert not re.search(r"。</span>\s", page.replace("。</span>\n</p>", ""))


def test_a_name_breaks_after_a_plus_wherever_it_stands(run, visit, tmp_path):
    long = "lite0+mobilenet_v2+squeezenet1_1"
    broken = "lite0+<wbr>mobilenet_<wbr>v2+<wbr>squeezenet1_1"
    assert named(long) == broken
    assert (named("gce-10"), named("red_moth")) == ("gce-10", "red_<wbr>moth")
    assert both(text("{name} is 2 + 3, +1.4 points", name=long)).count("<wbr>") == 2 * 3
    shutil.copytree(run.folder, tmp_path / "runs/first")
    shutil.copytree(run.folder, tmp_path / "runs/second")
    settings = run.config["config"] | {"model": long}
    edit_json(tmp_path / "runs/first/config.json", config=settings)
    path = write_run_page(Record(tmp_path / "runs/second"), None, None, findings=[], lang="en")
    page = visit(path, width=390)
    assert page.evaluate("name => make('p', {}, ...named(name)).innerHTML", long) == broken
    name = page.locator("#beside .line .en", has_text="+")
    # The number beside it is of test, as those above it are, whatever val said.
    assert name.inner_text() == f"beside it, the run that val calls best: {long} (first)"
    shown = page.locator("#beside .line .n").all_inner_texts()
    assert shown[1] == shown[2] == f"{run.result['test_accuracy']:.1%}"
    # Each line of it ends where a part of the name does.
    ends = name.evaluate(LINE_ENDS)
    assert ends
    assert {end[-1] for end in ends} <= set("+_ ")


SHARES = {
    (0.9997, 1): ">\xa099.9%", (0.0003, 1): "<\xa00.1%", (0.9994, 1): "99.9%",
    (0.997, 0): ">\xa099%", (0.004, 0): "<\xa01%", (0.00001, 2): "<\xa00.01%",
    (1, 1): "100.0%", (0, 1): "0.0%", (0.5, 0): "50%",
}  # fmt: skip


def test_what_is_not_quite_all_reads_as_no_100_percent(run, visit):
    page = visit(run.folder / "report.html")
    for (share, digits), said in SHARES.items():
        assert percent(share, digits) == said
        assert page.evaluate("([share, digits]) => percent(share, digits)", [share, digits]) == said
    for p in (0.0, 1.0):  # as its file rounds what a network says
        assert probability(p) == page.evaluate("p => probability(p)", p) != percent(p)
    sentence = text("{p:.1%} of {lr:g}, {points:+.1%}", p=0.9997, lr=1e-5, points=-0.5)
    assert ">&gt;\xa099.9% of 1e-05, \N{MINUS SIGN}50.0%<" in both(sentence)


def test_a_limit_is_named_so_that_answers_can_be_at_it(run, visit):
    page = visit(run.folder / "report.html")
    page.evaluate("D.trust.limit[0] = 0.99997")
    page.focus("#limit")
    page.keyboard.press("Home")
    assert "Answers with 99.997% or more: " in page.inner_text("#trusted")
    sure = replace(run.predictions, probs=np.eye(len(CLASSES))[run.predictions.predicted])
    said = trust(sure, 0.01, 0)
    assert said
    assert max(said["limit"]) < 1


def test_a_label_cannot_end_the_script_it_stands_in():
    # No folder can be called so, but a label of a manifest can.
    name = "</script><script>alert(1)</script>&\u2028"
    content = page_json({"classes": [name]})
    assert not set("<>&\u2028") & set(content)
    assert json.loads(content) == {"classes": [name]}


def test_nothing_can_be_fetched(run):
    content = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in content
    assert not re.search(r"(src|href|url)\W{1,3}https?:", content)


def test_the_camera_and_the_views_are_pictures(run, visit):
    page = visit(run.folder / "report.html")
    figures = page.locator(".cam")
    assert figures.count() == len(
        {*worst_mistakes(run.predictions, 8), *least_sure(run.predictions, 4)}
    )
    widths = page.locator(".cam img, .views img").evaluate_all(
        "all => all.map(i => i.naturalWidth)"
    )
    assert set(widths) == {32}
    # One column as it comes in, seven as training saw it.
    views = page.locator(".views img").count()
    assert views > 0
    assert views % 8 == 0


def test_findings_show_their_images(run, tmp_path, visit, monkeypatch):
    rows = rows_of(run, "test").tolist()
    images = {"leak": rows[:3], "collapse": [], "overfitting": rows[5:7]}
    found = [
        Finding(kind, "problem", text("A finding."), text("Evidence."), None, tuple(own))
        for kind, own in images.items()
    ]
    monkeypatch.setattr("smallset.show.report.run_page.find", lambda _: found)
    shutil.copytree(run.folder, tmp_path / "run")
    [path] = api.report(tmp_path / "run", lang="en")
    page = visit(path)
    details = page.locator("details[data-rows]")
    assert details.count() == 2
    for n, own in enumerate([rows[:3], rows[5:7]]):
        details.nth(n).locator("summary").click()
        # Opening it is told to the page a moment after the click; this waits, and fails in the end.
        details.nth(n).locator(".tile").first.wait_for()
        assert details.nth(n).locator(".tile").count() == len(own)


def test_axe_finds_no_fault_in_the_page_of_a_run(run, visit):
    page = visit(run.folder / "report.html")
    page.click("#confusion-tools [data-value=pairs]")
    assert faults(page, "#confusion", WAYS[:1]) == []
    page.click("#confusion-tools [data-value=matrix]")
    # The light may change while the page is open, and nothing else.
    light, dark = (1440, "light", "en"), (1440, "dark", "en")
    assert faults(page, "#confusion", [light, dark]) == []
    page.click("#only-wrong")
    page.locator(".class-link").first.click()
    assert faults(page) == []
    page.locator("#worst .tile button").first.click()
    assert faults(page, "#closer", WAYS[:2]) == []


@pytest.mark.parametrize(
    ("kept", "chosen", "said"),
    [
        (False, "head", "a+b"),
        (True, "tuned", "微调的 a"),
        (True, "joined", "微调的 a 与 a+b 上的分类头"),
    ],
)
def test_the_name_of_what_was_chosen_is_said_in_both_languages(kept, chosen, said):
    tuned = {"kept": kept, "network": "a", "choice": {"chosen": chosen}}
    named = _chosen({"finetune": tuned, "chosen": "a+b", "estimate_of": "a+b"})
    assert text("{it}", it=named).say("zh") == said
    whole = text("Chosen in {minutes:.1f} of {asked:g} minutes: {chosen}.", chosen=named,
                 minutes=1, asked=2).say("zh")  # fmt: skip
    assert not re.search(r"[\u4e00-\u9fff] [\u4e00-\u9fff]", whole)
    name = _estimated({"finetune": tuned, "estimate_of": "fine-tuned a"})
    assert text("{it}", it=name).say("zh") == "微调的 a"
    assert _estimated({"finetune": tuned, "estimate_of": "a+b"}) == "a+b"


# -- Size, and what is not there -------------------------------------------------------------------


def test_a_page_keeps_to_its_budget_and_says_what_it_left_out(run):
    all_rows = list(range(len(run.predictions.ids)))
    pictures = find_pictures(run)
    sharp = thumbnails(pictures.shown, all_rows, most_bytes=1e6)
    seen = thumbnails(pictures, all_rows, most_bytes=1e6)  # as the network saw them
    for made, side in ((sharp, 160), (seen, 32)):
        assert list(made) == all_rows
        with Image.open(io.BytesIO(base64.b64decode(made[0]))) as shown:
            assert shown.size == (side, side)
    most, least = (sum(map(len, each.values())) for each in (sharp, seen))
    between = thumbnails(pictures.shown, all_rows, most_bytes=(most + least) / 2)
    assert list(between) == all_rows
    assert least < sum(map(len, between.values())) <= (most + least) / 2
    half = thumbnails(pictures.shown, all_rows, most_bytes=least / 2)
    assert 0 < len(half) < len(all_rows)
    assert sum(map(len, half.values())) <= least / 2
    [page] = api.report(run.folder, lang="en")
    budget = (page.stat().st_size - most + least / 2) / 1e6
    [page] = api.report(run.folder, budget_mb=budget, lang="en")
    assert page.stat().st_size <= 1e6 * budget
    assert re.search(r"\d+ of 68 images are not in this file", page.read_text(encoding="utf-8"))
    with pytest.raises(ConfigError, match=r"takes 0\.\d MB without any image"):
        api.report(run.folder, budget_mb=0.05)
    [page] = api.report(run.folder, lang="en")
    assert not re.search(r"\d of 68 images are not in", page.read_text(encoding="utf-8"))


def test_images_that_are_gone_are_named_with_the_way_out(run, pictures, tmp_path, monkeypatch):
    record = Record(tmp_path / "run")
    shutil.copytree(run.folder, record.folder)
    data = record.config["data"] | {"source": str(tmp_path / "gone")}
    edit_json(record.folder / "config.json", data=data)
    with pytest.raises(DataError, match=r"gone.*--data PLACE.*--without-images"):
        api.report(record.folder)
    [page] = api.report(record.folder, without_images=True)
    assert '"thumbs":{"' not in page.read_text(encoding="utf-8")
    [page] = api.report(record.folder, data=str(pictures))
    assert '"thumbs":{"' in page.read_text(encoding="utf-8")


def test_an_image_that_changed_is_not_shown_as_what_was_scored(run, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "changed")
    picture(3, 999, size=48).save(tmp_path / "changed/test/猫/2.png")
    with pytest.raises(DataError, match=r"1 images .* have changed since, such as test/猫/2.png"):
        api.report(run.folder, data=str(tmp_path / "changed"))


def test_an_unknown_image_to_explain_is_named(run):
    with pytest.raises(ConfigError, match=r"no image 'test/猫/77\.png'"):
        api.report(run.folder, grad_cam=["test/猫/77.png"])
    api.report(run.folder, grad_cam=["test/猫/0.png"], lang="en")
    content = (run.folder / "report.html").read_text(encoding="utf-8")
    first = re.search(r"<figcaption>(.*?)<br>", content)
    assert first is not None
    assert first.group(1) == "test/猫/0.png"


# -- The page of a study ---------------------------------------------------------------------------


def test_a_study_leaves_a_page_with_its_arms(study, visit):
    page = visit(study.folder / "report.html")
    cells = page.locator("#arm-table tbody tr").evaluate_all(
        "rows => rows.map(row => [row.cells[0].innerText, +row.cells[1].dataset.value])"
    )
    best_first = sorted(study.arms, key=lambda arm: -arm.accuracy.value)
    assert [(name.split("\n")[0], share) for name, share in cells] == [
        (arm.name, pytest.approx(arm.accuracy.value)) for arm in best_first
    ]
    assert page.locator("h1").inner_text() == "Rates <b>"
    page.evaluate("document.querySelector('#settings details').open = true")
    lines = page.locator("#settings table code").all_inner_texts()
    assert lines == [
        f"{name} = {json.dumps(value)}"
        for settings in (study.spec.base, *study.spec.arms.values())
        for name, value in flat(settings).items()
    ]


def test_a_study_page_opens_with_its_answer_and_counts_with_a_subject(study, visit, tmp_path):
    page = visit(study.folder / "report.html")
    said = [each.say("en") for each in headline(study)]
    shown = page.locator("#headline > p").all_inner_texts()
    assert [line.replace("\N{MINUS SIGN}", "-") for line in shown[: len(said)]] == said
    assert page.locator("#headline > p b").all_inner_texts() == shown[:1]
    assert "compared pairs 1" in " ".join(page.inner_text("#headline .facts").split())
    assert "of these better" in " ".join(page.inner_text("#headline .facts").split())
    assert "Only some of its arms" not in page.inner_text("header")
    called = (*study.called, "--arms", "low,high")
    some = replace(study, folder=tmp_path, called=called)
    page = visit(write_study_page(some, None, lang="en"))
    names = ", ".join(study.spec.arms)
    assert f"Only some of its arms were run: {names}." in page.inner_text("body")


def test_the_verdict_of_an_arm_is_its_first_comparison(study, visit, tmp_path):
    [first] = study.comparisons
    more = (first, first._replace(against=first.arm))
    path = write_study_page(replace(study, folder=tmp_path, comparisons=more), None, lang="en")
    verdict = visit(path).locator("#arm-table tbody tr", has_text=first.arm).locator("td").nth(4)
    assert verdict.inner_text().endswith(f" {first.against}")


@pytest.mark.parametrize(("lines", "is_open"), [(12, True), (13, False)])
def test_long_lists_of_findings_are_folded(study, visit, tmp_path, monkeypatch, lines, is_open):
    said = tuple((f"arm-{n}", text("{n}", n=n)) for n in range(lines))
    found = StudyFinding("overfitting", "problem", text("Overfitting."), said, None)
    monkeypatch.setattr(study_page, "find_in_study", lambda _: [found])
    page = visit(write_study_page(replace(study, folder=tmp_path), None, lang="en"))
    assert page.locator("#findings li").count() == lines
    assert page.locator("#findings li").first.is_visible() == is_open


def test_what_is_found_in_a_study_is_printed(study, visit, tmp_path, monkeypatch):
    said = tuple((f"arm-{n}", text("{n} in all", n=n)) for n in range(20))
    found = StudyFinding("overfitting", "problem", text("Overfitting."), said, None)
    monkeypatch.setattr(study_page, "find_in_study", lambda _: [found])
    page = visit(write_study_page(replace(study, folder=tmp_path), None, lang="en"))
    assert not page.locator("#findings li").first.is_visible()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#findings li").last.is_visible()
    assert not page.locator("#findings summary").is_visible()
    assert not page.locator("#settings details").first.is_visible()


def test_two_arms_side_by_side_show_what_they_disagree_about(study, visit):
    page = visit(study.folder / "report.html")
    shares = [arm.correct.mean(axis=0) for arm in study.arms]
    order = [study.arms.index(next(a for a in study.arms if a.name == n)) for n in ("high", "low")]
    gap = shares[order[0]] - shares[order[1]]
    expected = {"all": gap != 0, "a": gap > 0, "b": gap < 0,
                "both": (shares[0] < 0.5) & (shares[1] < 0.5)}  # fmt: skip
    for chosen, keep in expected.items():
        page.click(f"#pair-tools button[data-value={chosen}]")
        shown = page.locator(".pair").evaluate_all("all => all.map(x => +x.dataset.image)")
        assert set(shown) == set(np.flatnonzero(keep).tolist())
    page.click("#pair-tools button[data-value=all]")
    shown = page.locator(".pair").evaluate_all("all => all.map(x => +x.dataset.image)")
    assert np.all(np.diff(np.abs(gap)[shown]) <= 0)


def test_the_charts_of_a_study_hold_its_numbers(study, visit):
    page = visit(study.folder / "report.html")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    [trace] = page.evaluate("document.getElementById('chart-0').spec.series.map(t => [t.x, t.y])")
    assert trace == [[0.001, 0.05], [pytest.approx(arm.accuracy.value) for arm in study.arms]]
    [points] = page.locator("#forest-chart [data-points]").evaluate_all(
        "all => all.map(x => [+x.dataset.points])"
    )
    assert points == [pytest.approx(100 * study.comparisons[0].result.difference.value)]


def test_a_chart_has_its_ticks_where_something_was_measured(study, visit, tmp_path):
    [chart] = study.spec.charts
    named = dict(zip(("low", "high"), (0.1, 0.3), strict=True))
    of_noise = chart.model_copy(update={"x": "data.noise_rate", "log": False})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(study.arms[0]), "at", lambda arm, _: named[arm.name])
        spec = study.spec.model_copy(update={"charts": (of_noise,)})
        page = visit(write_study_page(replace(study, folder=tmp_path, spec=spec), None, lang="en"))
    page.locator("#chart-0").scroll_into_view_if_needed()
    ticks = page.locator("#chart-0 svg text[text-anchor=middle]").all_text_contents()
    assert ticks == ["10%", "30%"]


def test_a_built_in_study_speaks_chinese_on_a_chinese_page(study, visit, tmp_path):
    [chart] = study.spec.charts
    [arms] = chart.curves.values()
    title = "Test accuracy against the learning rate"
    known = chart.model_copy(update={"title": title, "curves": {"oracle": arms}})
    spec = study.spec.model_copy(update={"title": "Losses", "charts": (known,)})
    page = visit(write_study_page(replace(study, folder=tmp_path, spec=spec), None, lang="zh"))
    assert page.locator("h1").inner_text() == page.title() == "损失函数"
    assert page.locator("#chart-0 h3").inner_text() == "测试准确率与学习率的关系"
    names = page.evaluate("document.getElementById('chart-0').spec.series.map(each => each.name)")
    assert names == ["理想清洗"]


def test_the_scale_of_a_study_holds_its_intervals_and_round_ticks():
    axis = study_page.Axis(0.22, 0.83)
    assert axis.placed(0.5, 0.22, 0.83)["width"] == pytest.approx(100)
    assert [tick for _, tick in axis.ticks()] == pytest.approx([0.4, 0.6, 0.8])
    assert all(at == pytest.approx(100 * (tick - 0.22) / 0.61) for at, tick in axis.ticks())
    steps = {0.61: 0, 0.04: 0, 0.019: 1, 0.0019: 2}
    assert {width: study_page.Axis(0.95, 0.95 + width).decimals for width in steps} == steps


def test_the_scale_of_a_study_is_the_whole_one_unless_its_arms_are_close(study, visit, tmp_path):
    def shown(*bounds, chance=0.1):
        arms = [
            replace(arm, accuracy=Interval(sum(each) / 2, *each))
            for arm, each in zip(study.arms, bounds, strict=True)
        ]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(study), "chance", chance)
            some = replace(study, folder=tmp_path, arms=tuple(arms))
            page = visit(write_study_page(some, None, lang="en"))
        bars = page.locator("#arm-table .range i").evaluate_all("all => all.map(x => x.style.left)")
        return page.inner_text("#arms"), page.locator("#arms .ticks").inner_text(), bars

    said, ticks, bars = shown((0.32, 0.36), (0.62, 0.66))
    assert ". The scale goes from 0% to 100%." in said
    assert "100%" in ticks
    assert sorted(bars) == ["32%", "62%"]
    said, ticks, _ = shown((0.912, 0.93), (0.94, 0.958))
    assert "The scale goes from 90% to 96%." in said
    assert "This is left of where the scale begins." in said
    assert "90%" in ticks


@pytest.mark.parametrize(("chance", "is_on"), [(0.03, False), (0.88, True)])
def test_chance_is_on_the_scale_of_a_study_where_it_leaves_room(
    study, visit, tmp_path, chance, is_on
):
    arms = [replace(arm, accuracy=Interval(0.93, 0.91, 0.96)) for arm in study.arms]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(study), "chance", chance)
        shown = replace(study, folder=tmp_path, arms=tuple(arms))
        page = visit(write_study_page(shown, None, lang="en"))
    assert (page.locator("#arm-table .range u").count() > 0) == is_on
    assert f"is right in {chance:.1%}" in page.inner_text("#arms")


def test_axe_finds_no_fault_in_the_page_of_a_study(study, visit):
    page = visit(study.folder / "report.html")
    page.click("#curve-tools [data-value=train_accuracy]")
    page.click("#pair-tools [data-value=both]")
    assert faults(page, given=("Accuracy against the rate",)) == []


@pytest.mark.parametrize("width", [390, 1440])
def test_a_study_page_fits_its_screen(study, visit, width):
    page = visit(study.folder / "report.html", width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.click("#language")
    assert page.locator("#arms h2").inner_text() == "实验组"


def test_the_pages_of_the_runs_are_linked_once_they_are_there(study, visit):
    assert visit(study.folder / "report.html").locator("#arm-table a").count() == 0
    result = CliRunner().invoke(app, ["report", str(study.folder), "--runs", "--quiet"])
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"page: ", result.output)) == 5
    page = visit(study.folder / "report.html")
    assert page.locator("#arm-table a").count() == 4
    page.locator("#arm-table a").first.click()
    page.wait_for_selector("#matrix-place td")
