"""`smallset clean`: the folder it leaves, as data and as a page."""

import csv
import json
import shutil
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from accessible import WAYS, faults
from support import edit_json

from smallset import api, contents
from smallset.clean.decide import Cleaning
from smallset.clean.find import Found
from smallset.clean.folder import _table, tell
from smallset.clean.review import read_rows
from smallset.clean.rules import span
from smallset.cli import main
from smallset.data.prepare import Prepared
from smallset.data.read import read_data
from smallset.errors import DataError


@pytest.fixture
def cleaned(split_folders, tmp_path, monkeypatch, capsys, squeeze_file):
    """Call `smallset clean`; returns its folder, what it said and its status."""

    def run(*arguments, out="clean", data=split_folders):
        command = ["smallset", "clean", data, "--out", tmp_path / out, "--quiet",
                   "--with", f"squeezenet1_1={squeeze_file}", *arguments]  # fmt: skip
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as ended:
            main()
        return tmp_path / out, capsys.readouterr(), ended.value.code

    return run


def rows_of(folder):
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(folder, rows):
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_clean_leaves_a_row_per_image_judged_and_touches_no_file(cleaned, split_folders):
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in split_folders.rglob("*.png")}
    folder, said, status = cleaned("--noise", "0.2")
    assert status in (0, 1)
    assert "wrong labels:" in said.out
    rows = rows_of(folder)
    judged = {path for path in read_data(split_folders).paths if not path.startswith("test/")}
    assert any(path.startswith("val/") for path in judged)
    assert len(rows) == len(judged)
    assert {row["path"] for row in rows} == judged
    probabilities = [float(row["probability"]) for row in rows]
    # Those in doubt first, and the least probable first among each.
    doubted = [row["why"] != "" for row in rows]
    assert doubted == sorted(doubted, reverse=True)
    assert probabilities == [
        p for _, p in sorted(zip(np.logical_not(doubted), probabilities, strict=True))
    ]
    about = json.loads((folder / "clean.json").read_text())
    assert about["suspects"] == sum(p < 0.5 for p in probabilities)
    more = [row for row in rows if row["why"] and float(row["probability"]) >= 0.5]
    assert about["contradicted"] == len(more)
    assert about["nowhere"] == sum(row["why"] == "nowhere" for row in rows)
    assert all(row["suggested"] != row["given"] for row in more)
    assert f"up to {about['most_wrong']:.1%} if they sit between look-alikes" in said.out
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in split_folders.rglob("*.png")}
    assert after == before


def test_copies_have_no_part_in_the_judgement_of_each_other(cleaned, split_folders, monkeypatch):
    seen = []

    def find(*_, groups, **__):
        seen.extend(groups)
        raise DataError("enough")

    monkeypatch.setattr("smallset.clean.folder.find_wrong_labels", find)
    copied = shutil.copytree(split_folders, split_folders.parent / "copied")
    # The same picture with another label, in another split: 32 of train, 12 of val and extra.
    shutil.copy(copied / "train/ant/0.png", copied / "val/bee/z.png")
    _, said, _ = cleaned("--splits", "train+val", data=copied)
    assert "enough" in said.err
    assert len(seen) == 32 + 12 + 1
    assert len(set(seen)) == 32 + 12


def test_the_labels_of_chosen_splits_are_judged(cleaned):
    folder, said, _ = cleaned("--splits", "train")
    assert {row["path"].split("/")[0] for row in rows_of(folder)} == {"train"}
    assert "32 labels of train" in said.out


def test_a_cleaning_of_an_earlier_version_has_its_page(cleaned):
    folder, _, _ = cleaned("--noise", "0.2")
    about = json.loads((folder / "clean.json").read_text())
    optional = contents.Cleaning.__optional_keys__ & set(about)
    assert {"contradicted", "nowhere", "highest_precision", "splits"} <= optional
    kept = {key: value for key, value in about.items() if key not in {*optional, "written"}}
    (folder / "clean.json").write_text(json.dumps(kept))
    (folder / "report.html").unlink()
    [page] = api.report(folder, lang="en")
    assert "images judged" in page.read_text(encoding="utf-8")


def test_test_labels_are_judged_where_asked_and_that_is_said(cleaned, split_folders, tmp_path):
    folder, said, _ = cleaned("--splits", "train+test")
    assert {row["path"].split("/")[0] for row in rows_of(folder)} == {"train", "test"}
    assert "TEST labels are judged too" in said.out
    assert "Test labels were judged too" in (folder / "report.html").read_text(encoding="utf-8")
    assert "test accuracy is against labels as cleaned" in read_data(folder).notes[-1]


def test_data_without_a_test_split_can_be_cleaned(cleaned, split_folders, tmp_path):
    for split in ("train", "val"):
        shutil.copytree(split_folders / split, tmp_path / "data" / split)
    folder, _, status = cleaned(data=tmp_path / "data")
    assert status in (0, 1)
    assert {row["path"].split("/")[0] for row in rows_of(folder)} == {"train", "val"}


def test_splits_that_the_data_has_not_are_said(cleaned, split_folders, tmp_path):
    shutil.copytree(split_folders / "test", tmp_path / "data/test")
    _, said, status = cleaned("--splits", "test+val", data=tmp_path / "data")
    assert status == 2
    assert "has no val images; it has test" in " ".join(said.err.split())
    _, said, status = cleaned(data=tmp_path / "data")
    assert status == 2
    assert "judge them with --splits test" in " ".join(said.err.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--splits", "train+tset"], "no split named 'tset'; did you mean 'test'?"),
        (["--set", "data.train_on=train+val"], "say whose labels it judges with --splits"),
    ],
)
def test_splits_that_cannot_be_judged_are_refused(cleaned, arguments, message):
    folder, said, status = cleaned(*arguments)
    assert status == 2
    assert message in " ".join(said.err.split())
    assert not folder.exists()


def test_a_cleaned_folder_is_data_with_its_decisions(cleaned, split_folders):
    folder, _, _ = cleaned()
    rows = rows_of(folder)
    for number, row in enumerate(rows):
        row["decision"] = {0: "drop", 1: "relabel"}.get(number, "keep")
    rows[1]["suggested"] = "dog" if rows[1]["given"] != "dog" else "ant"
    write_rows(folder, rows)
    images, origin = read_data(folder), read_data(split_folders)
    assert set(origin.paths) - set(images.paths) == {rows[0]["path"]}
    assert images.root == origin.root
    label = dict(zip(images.paths, images.labels, strict=True))
    assert images.classes[label[rows[1]["path"]]] == rows[1]["suggested"]
    same = {path: origin.labels[origin.paths.index(path)] for path in images.paths}
    assert {path for path in label if label[path] != same[path]} == {rows[1]["path"]}
    assert "relabels 1 images" in images.notes[-1]


def test_labels_that_no_longer_fit_the_data_are_refused(cleaned, split_folders, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(split_folders, copy)
    folder, _, _ = cleaned()
    edit_json(folder / "clean.json", data=str(copy))
    read_data(folder)
    shutil.rmtree(copy / "train/cat")
    (copy / "train/cat").mkdir()
    with pytest.raises(DataError, match=r"train/cat/.* is missing in .*run smallset clean again"):
        read_data(folder)


def test_a_folder_without_reasons_is_read_and_an_unknown_reason_is_refused(cleaned):
    folder, _, _ = cleaned("--noise", "0.2")
    path = folder / "labels.csv"
    lines = [row[:-2] for row in csv.reader(path.read_text(encoding="utf-8").splitlines())]
    path.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    assert {row.why for row in read_rows(folder)} == {""}
    lines = [[*lines[0], "why"], *([*line, "odd"] for line in lines[1:])]
    path.write_text("".join(",".join(line) + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(DataError, match="image 1: why is improbable, contradicted, nowhere or"):
        read_rows(folder)


def test_a_cleaned_set_can_be_trained_on(cleaned, tmp_path, tiny):
    from smallset.learn.run import train_run

    folder, _, _ = cleaned("--noise", "0.3")
    record = train_run(folder, tiny(), tmp_path / "run")
    dropped = sum(
        row["decision"] == "drop" and row["path"].startswith("train/") for row in rows_of(folder)
    )
    assert record.config["data"]["images"]["train"] == 32 - dropped


def test_a_network_without_pretrained_weights_cannot_judge(cleaned):
    _, said, status = cleaned("--with", "plain")
    assert status == 2
    assert "'plain' has no pretrained weights" in said.err


def test_a_folder_with_files_is_not_written_over(cleaned):
    cleaned()
    _, said, status = cleaned()
    assert status == 2
    assert "is not empty; give another --out" in said.err


def test_a_relabelled_row_suggests_the_label_that_it_gets():
    # Posterior says class 1, looks say class 2, and the image lies far from every class.
    posterior = SimpleNamespace(
        of_given=lambda labels: np.full(len(labels), 0.1),
        best_other=lambda labels: (np.full(len(labels), 1), None),
        looks=np.array([[0, 0, 1.0]] * 2),
        probs=np.array([[0.1, 0.7, 0.2]] * 2),
    )
    cleaning = Cleaning("posterior", np.array(["relabel", "drop"]), np.array([1, 0]))
    found = Mock(
        spec=Found, posterior=posterior, chosen=SimpleNamespace(cleaning=cleaning),
        nowhere=[True, False], contradicted=[True, True],
    )  # fmt: skip
    prepared = Mock(
        spec=Prepared, images=SimpleNamespace(classes="abc", paths=["x", "y"]),
        given_labels=np.array([0, 0]), ids=lambda _: ["1", "2"],
    )  # fmt: skip
    table = _table(found, prepared, np.arange(2), np.arange(2))
    assert [row[3] for row in table] == ["b", "b"]
    assert [row[8] for row in table] == ["0.7", "0.7"]


def test_clean_leaves_a_page_of_its_suspects(cleaned, split_folders, browser):
    folder, said, _ = cleaned("--noise", "0.2", "--lang", "en")
    suspects = [row for row in rows_of(folder) if row["why"]]
    assert f"page:     {folder / 'report.html'}" in said.out
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    about = json.loads((folder / "clean.json").read_text())
    assert page.inner_text(".big") == span(about["rate"]["low"], about["most_wrong"]).say("en")
    assert f"up to {about['most_wrong']:.1%}" in page.inner_text(".headline")
    tiles = page.locator("#gallery .tile")
    assert tiles.count() == len(suspects)
    for n, row in enumerate(suspects):
        assert row["given"] in tiles.nth(n).inner_text()
        assert tiles.nth(n).locator("img").get_attribute("src").startswith("data:image/webp")
    assert "20% of the labels were made wrong" in page.inner_text("#headline")
    given = [int(cell) for cell in page.locator("#class-table td:nth-child(2)").all_inner_texts()]
    assert sum(given) == 32 + 12 + 8
    doubted = page.locator("#class-table td:nth-child(3)").all_inner_texts()
    assert sum(map(int, doubted)) == len(suspects)
    # The menu counts as the table does, and apart from it those of other classes.
    names = page.locator("#class-table td:nth-child(1)").all_inner_texts()
    to_look_at = dict(zip(names, map(int, doubted), strict=True))
    for name in {row["given"] for row in suspects} | {row["suggested"] for row in suspects}:
        like = sum(row["suggested"] == name != row["given"] for row in suspects)
        said = f"{name}: {to_look_at[name]} by label, {like} by looks"
        assert page.locator(f"#of option[value='{name}']").inner_text() == said
        page.select_option("#of", name)
        assert page.locator("#gallery .tile").count() == to_look_at[name] + like
    counted = page.inner_text("#headline .facts").split()
    named = sum(float(row["probability"]) < 0.5 for row in suspects)
    assert counted[counted.index("suspects") + 1] == str(named)
    assert ("looks" in counted) == (named < len(suspects))
    page.close()
    assert complaints == []


@pytest.mark.parametrize(
    ("kind", "assumed"),
    [("even", "if mistakes are spread evenly"), ("by class", "if mistakes differ by class")],
)
def test_what_labels_alone_cannot_settle_is_a_range_and_has_its_condition(
    cleaned, visit, kind, assumed
):
    folder, _, _ = cleaned("--noise", "0.2")
    none = {"value": 3.2e-7, "low": 0.0, "high": 0.0}
    edit_json(
        folder / "clean.json", rate=none, most_wrong=0.1532, noise_kind=kind, is_weak=False,
        suspects=3, expected_precision=0.95, highest_precision=0.98,
    )  # fmt: skip
    rows = rows_of(folder)
    for row in rows:
        other = "dog" if row["given"] != "dog" else "ant"
        row |= {"why": "", "decision": "keep", "probability": "0.99", "suggested": other,
                "suggested_probability": "0.3"}  # fmt: skip
    rows[0] |= {"why": "contradicted", "probability": "0.999849"}
    rows[1] |= {"why": "nowhere", "probability": "0.000151"}
    rows[2] |= {"why": "improbable", "probability": "0.2"}
    write_rows(folder, rows)
    [path] = api.report(folder, lang="en")
    page = visit(path)
    assert page.inner_text(".big") == "0 to 15%"
    said = page.inner_text("#headline")
    assert "labels alone cannot tell where in this range" in said
    assert f"0 to 0.1%, {assumed}; up to 15.3% if they sit between" in said
    assert "An estimated 95% of the suspects are wrong, or 98% if mistakes sit between" in said
    assert "0.0%" not in said
    tiles = page.locator("#gallery .tile")
    assert ["30%" in tile for tile in tiles.all_inner_texts()] == [False, False, True]
    right = "the given label is right with probability"
    for n, (line, likely) in enumerate([
        (f"{right} 99.98%, {assumed}", False),
        (f"{right} 0.02%, {assumed}", False),
        (f"{right} 20.00%", True),
    ]):  # fmt: skip
        tiles.nth(n).locator("button").click()
        told = page.locator("#closer p").all_inner_texts()
        assert line in told
        assert ("30.0%" in " ".join(told)) == likely
        page.keyboard.press("Escape")
    about = json.loads((folder / "clean.json").read_text())
    [line] = [line for line in tell(about) if line.startswith("wrong labels:")]
    assert line.startswith("wrong labels: 0 to 15% of 52 labels of train + val + extra; labels")
    assert f"(0 to 0.1%, {assumed}; up to 15.3% if they sit" in line
    assert "suspects: 3; an estimated 95 to 98% of them are wrong" in tell(about)
    assert "0.0%" not in line


@pytest.mark.parametrize(
    ("changes", "applied", "decided"),
    [
        ({}, "there was nothing to apply", "nothing is changed: there was nothing to apply"),
        ({"dropped": 1}, "✓", "relabel 0, drop 1"),
        ({"relabelled": 2}, "✓", "relabel 2, drop 0"),
        ({"chosen": None}, "", "nothing is changed"),
    ],
)
def test_a_cleaning_that_changes_nothing_is_not_said_to_be_applied(
    cleaned, visit, changes, applied, decided
):
    folder, _, _ = cleaned()
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    gate = [{"cleaning": name, "gain": none} for name in ("posterior", "contradicted")]
    about = {"is_weak": False, "gate": gate, "relabelled": 0, "dropped": 0, "chosen": "posterior"}
    edit_json(folder / "clean.json", **about | changes)
    [path] = api.report(folder, lang="en", without_images=True)
    cells = visit(path).locator("#decided tbody td:last-child").all_inner_texts()
    assert cells == [applied, ""]
    assert f"decided:  {decided}" in tell(json.loads((folder / "clean.json").read_text()))


def test_axe_finds_no_fault_in_the_page_of_a_cleaning(cleaned, visit):
    folder, _, _ = cleaned("--noise", "0.2", "--lang", "en")
    page = visit(folder / "report.html")
    assert faults(page) == []
    page.locator("#gallery .tile button").first.click()
    assert faults(page, "#closer", WAYS[:2]) == []


def test_many_suspects_are_folded_on_a_phone_and_shown_and_printed_in_part(cleaned, visit):
    folder, _, _ = cleaned()
    rows = rows_of(folder)
    suggested = {"suggested": "humming_bird_hawk_moth_of_the_north"}
    doubted = {"why": "contradicted", "decision": "keep", **suggested}
    write_rows(folder, [row | doubted for row in rows])
    [path] = api.report(folder, lang="en")
    page = visit(path, width=390)
    tiles, table = page.locator("#gallery .tile"), page.locator("#class-table")
    assert [page.locator(each).is_visible() for each in ("#gallery", "#class-table")] == [False] * 2
    assert not page.locator("#decided .facts").is_visible()
    assert page.locator("#next pre").first.is_visible()
    assert page.evaluate("document.documentElement.scrollHeight") < 2000
    page.click("nav a[href='#flows']")
    assert table.is_visible()
    page.click("#suspects h2")
    assert (tiles.count(), len(rows)) == (36, 52)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    tiles.first.locator("button").click()
    assert page.inner_text("#closer .steps-row span") == "1 / 52"
    page.keyboard.press("Escape")
    assert not page.locator("#printed").is_visible()
    page.get_by_role("button", name="16 more").click()
    assert tiles.count() == 52
    page.click("#language")
    page.click("#language")
    page.emulate_media(media="print")
    assert not page.get_by_role("button", name="16 more").is_visible()
    page.evaluate("document.querySelector('#gallery > button').click()")
    assert sum(tile.is_visible() for tile in tiles.all()) == 36
    assert page.inner_text("#printed").startswith("The first 36 of 52 images;")


def test_the_dialog_goes_from_suspect_to_suspect(cleaned, visit):
    folder, _, _ = cleaned("--noise", "0.2", "--lang", "en")
    first, second = [row["path"] for row in rows_of(folder) if row["why"]][:2]
    page = visit(folder / "report.html")
    page.locator("#gallery .tile button").first.click()
    dialog = page.locator("#closer")
    assert first in dialog.inner_text()
    dialog.get_by_role("button", name="next").click()
    assert second in dialog.inner_text()
    page.keyboard.press("ArrowLeft")
    assert first in dialog.inner_text()
    assert dialog.get_by_role("button", name="previous").get_attribute("aria-disabled") == "true"


def test_a_weak_judge_says_so_and_guesses_no_rate(cleaned, browser):
    folder, said, _ = cleaned("--noise", "0.9", "--lang", "en")
    assert json.loads((folder / "clean.json").read_text())["is_weak"]
    assert "wrong labels: cannot tell" in said.out
    assert "judge:    the features predict only" in said.out
    assert "decided:  nothing is changed" in said.out
    assert {row["decision"] for row in rows_of(folder)} == {"keep"}
    page = browser.new_page()
    page.goto((folder / "report.html").as_uri())
    assert page.inner_text(".big") == "?"
    assert "too few to judge them" in page.inner_text("#decided")


def test_the_page_tells_what_was_decided_by_hand(cleaned, browser, monkeypatch):
    folder, _, _ = cleaned("--noise", "0.2")
    rows = rows_of(folder)
    rows[0] |= {"decision": "relabel", "suggested": "dog", "by": "ann"}
    write_rows(folder, rows)
    # A review writes it again at its end.
    monkeypatch.setattr("smallset.use.review_server.serve_review", lambda *_, **__: None)
    said: list[str] = []
    api.review(folder, by="ann", lang="zh", on_line=said.append)
    assert said == [f"page:     {folder / 'report.html'}"]
    assert '"by":"ann"' in (folder / "report.html").read_text(encoding="utf-8")
    [path] = api.report(folder, lang="zh", without_images=True)
    page = browser.new_page()
    page.goto(path.as_uri())
    assert "改标 (ann)" in page.locator("#gallery .tile").first.inner_text()
    assert page.locator("#gallery img").count() == 0
    page.close()


def test_a_page_of_data_that_is_gone_says_so(cleaned, split_folders, tmp_path):
    folder, _, _ = cleaned("--noise", "0.2")
    with pytest.raises(DataError, match="--data PLACE says where the images are now"):
        api.report(folder, data=str(tmp_path / "gone"))


@pytest.mark.parametrize("left", [["features.npy"], ["features.npy", "labels.csv", "clean.json"]])
def test_a_cleaning_that_was_killed_goes_on(cleaned, left):
    folder, _, _ = cleaned()
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in whole.keys() - set(left):
        (folder / name).unlink()
    (folder / ".writing-labels.csv-x").touch()
    _, said, status = cleaned()
    assert status in (0, 1), said.err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole


def test_labels_that_somebody_changed_are_no_beginning_of_a_cleaning(cleaned):
    folder, _, _ = cleaned()
    (folder / "report.html").unlink()
    labels = folder / "labels.csv"
    labels.write_bytes(labels.read_bytes().replace(b",keep,", b",drop,", 1))
    changed = labels.read_bytes()
    _, said, status = cleaned()
    assert status == 2
    assert "labels.csv is there already, and is kept" in said.err
    assert labels.read_bytes() == changed
