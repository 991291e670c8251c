"""The search for the best classifier: what it leaves, how it goes on, and what it must not see."""

import csv
import json
import re
import shutil
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from accessible import faults
from scipy.special import softmax
from support import Listening, random_weights, same_numbers

from smallset import api
from smallset.choose import best, candidates, finetune, fresh, scratch
from smallset.choose.asked import refuse_unread
from smallset.choose.candidates import Candidate
from smallset.choose.spread import Judging
from smallset.cli import main
from smallset.compare import execute
from smallset.compare.execute import Outcome
from smallset.config import RunConfig, override
from smallset.data import feed
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError, DataError, RunError
from smallset.files import write_json
from smallset.learn import training
from smallset.learn.plan import Planner
from smallset.models import probe
from smallset.reading import read_json
from smallset.recipes import RECIPES
from smallset.record.command import best_command
from smallset.record.measures import balanced, log_losses, temperature, tempered
from smallset.record.record import Record
from smallset.show.report import search_section
from smallset.show.report.how_good import headline
from smallset.show.report.run_page import write_run_page
from smallset.show.report.trust import trust
from smallset.stats import Interval
from smallset.use.card import write_card
from smallset.use.predictor import Predictor


@pytest.fixture(scope="module")
def shuffle_file(tmp_path_factory):
    return random_weights("shufflenet_v2_x0_5", tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def networks(squeeze_file, shuffle_file):
    return [f"squeezenet1_1={squeeze_file}", f"shufflenet_v2_x0_5={shuffle_file}"]


def run_search(patch, data, out, **options):
    """A search of seconds: times are not those of this machine, so choices are the same."""
    costs = {"squeezenet1_1": 3.0, "shufflenet_v2_x0_5": 2.0}

    def steady(run, train=False):
        return 9.0 if train else costs.get(run.plan.config.model, 1.0)

    steady = options.pop("steady", steady)
    patch.setattr(scratch, "milliseconds", steady)
    patch.setattr(finetune, "milliseconds", steady)
    patch.setattr(candidates, "milliseconds", steady)
    patch.setattr(fresh, "milliseconds", steady)
    patch.setattr(finetune, "MOST_EPOCHS", 1)
    patch.setattr(best, "PLAIN_ORDER", options.pop("plain", ("shufflenet_v2_x0_5",)))
    patch.setattr(fresh, "SHARE", options.pop("share_of_fresh", 0.0))
    patch.setattr(candidates, "SHARE_OF_MIRROR", options.pop("share_of_mirror", 0.0))
    settings = {"image_size": 64, "figures.tsne": False, "figures.report": False}
    config = override(RunConfig(), settings)
    return api.best(data, out=out, minutes=5, **{"config": config, **options})


@pytest.fixture
def search(networks, monkeypatch):
    def run(data, out, **options):
        return run_search(monkeypatch, data, out, **{"networks": networks, **options})

    return run


@pytest.fixture(scope="module")
def whole(split_folders, networks, shared_cache, tmp_path_factory):
    """A search that nothing stopped: its record, and best.json."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALLSET_CACHE", str(shared_cache))
        out = tmp_path_factory.mktemp("whole") / "run"
        return run_search(patch, split_folders, out, networks=networks)


def test_a_search_leaves_an_ordinary_record_and_every_candidate(whole):
    record, story = whole
    names = {path.name for path in record.folder.iterdir()}
    assert names - {"members"} == {
        "config.json", "epochs.jsonl", "result.json", "predictions.csv", "model.safetensors",
        "model.json", "embeddings.npz", "figures", "best.json", "held_out.csv",
    }  # fmt: skip
    assert (record.folder / "figures/best.png").stat().st_size > 5000
    assert read_json(record.folder / "best.json") == story
    candidates = {each["name"]: each for each in story["candidates"]}
    assert set(candidates) == {
        "squeezenet1_1", "shufflenet_v2_x0_5", story["candidates"][2]["name"],
    }  # fmt: skip
    assert "+" in story["candidates"][2]["name"]
    assert sum(each["chance"] for each in candidates.values()) == pytest.approx(1)
    assert story["naive"] == max(each["accuracy"] for each in candidates.values())
    assert story["estimate"]["value"] <= story["naive"] + 0.01
    assert story["test"] == record.result["test_accuracy"]
    assert record.config["data"]["images"] == {"train": 44, "val": 0, "test": 20}
    assert story["plain"]["name"] == "shufflenet_v2_x0_5"
    assert story["finetune"]["epochs"] == 1
    choice = story["finetune"]["choice"]
    assert story["finetune"]["kept"] == (choice["chosen"] != "head")
    losses = choice["log_loss"]
    alone = min(("tuned", "head"), key=losses.get)
    joins = losses["joined"] - losses[alone] <= choice["error"]
    assert choice["chosen"] == ("joined" if joins else alone)
    recipes = {"tuned": "finetune", "head": "head", "joined": "auto"}
    assert record.config["config"]["recipe"] == recipes[choice["chosen"]]
    predictions = record.predictions
    test = predictions.splits == "test"
    assert (predictions.predicted == predictions.labels)[test].mean() == story["test"]


def test_the_page_knows_how_many_folds_judge_heads():
    assert search_section.HEAD_FOLDS == probe.FOLDS


def test_the_page_of_a_search_says_what_was_tried_and_what_it_gave(whole, tmp_path, visit):
    shutil.copytree(whole[0].folder, tmp_path / "run")
    story = whole[1]
    late = {**story["candidates"][0], "name": "late", "state": "left out"}
    late |= {"accuracy": None, "chance": None, "seconds": 0.0}
    told = {**story, "candidates": [*story["candidates"], late]}
    write_json(tmp_path / "run/best.json", told)
    page = visit(write_run_page(Record(tmp_path / "run"), None, None, findings=[], lang="en"))
    rows = page.locator("#search tbody").nth(0).locator("tr")
    assert rows.count() == 4
    cells = rows.last.locator("td").all_inner_texts()
    none = "\N{EN DASH}"
    assert cells[1:4] == ["late", none, none]
    assert cells[5:] == [none, "left out for time"]
    assert page.locator("#search-chart circle:not(.ring)").count() == 3
    assert page.locator("#search tbody").nth(1).locator("tr").count() == len(
        story["finetune"]["choice"]["log_loss"]
    )
    assert page.locator("#search tr.picked").count() == 2
    assert "without the search: a head on shufflenet_v2_x0_5 alone" in page.inner_text("#beside")
    assert f"{story['plain']['test']:.1%}" in page.inner_text("#beside")
    assert "the search took" in page.inner_text("#headline")
    assert faults(page) == []


def test_the_command_of_a_search_asks_for_the_same():
    settings = {"seed": 3, "data": {"folds": 5, "skip_empty": True, "skip_unreadable": False}}
    asked = {"data": "my data", "minutes": 2.5, "networks": ["a=f.pth", "b"], "settings": settings}
    assert best_command(asked, "runs/x") == (
        "smallset best 'my data' --out runs/x --minutes 2.5 --networks a=f.pth,b --seed 3 "
        "--folds 5 --skip-empty"
    )
    assert "--seed 0" in str(best_command({**asked, "settings": {"seed": 0}}))
    assert best_command({**asked, "settings": {"image_size": 64}}) is None


def test_groups_of_the_data_are_those_of_the_folds(split_folders, search, tmp_path, monkeypatch):
    rows = ["path,label,split,group"]
    for path in sorted(split_folders.glob("*/*/*.png")):
        split, label, name = path.relative_to(split_folders).parts
        group = f"{split}-{label}-{int(name[0]) // 2}" if split != "test" else ""
        rows += [f"{split}/{label}/{name},{label},{split},{group}"] * (split != "extra")
    file = split_folders / "grouped.csv"
    file.write_text("\n".join(rows))
    seen, original = [], candidates.held_out
    monkeypatch.setattr(
        candidates, "held_out", lambda *a, **o: seen.append(o["groups"]) or original(*a, **o)
    )
    search(file, tmp_path / "run")
    file.unlink()
    assert len(set(seen[0])) == 4 * (4 + 2)  # of 8 and 3 images of each of 4 classes


def test_with_folds_the_price_of_choosing_is_off_the_headline_too(
    split_folders, search, tmp_path, monkeypatch
):
    """Nothing is held back there, so the answers that chose are all there is to go by."""

    def always_wrong(self, name):
        labels = self.plan(name.split("+")[0]).data.given_labels
        return np.eye(4)[(labels + 1) % 4]

    monkeypatch.setattr(candidates.Heads, "probs", always_wrong)
    settings = {"image_size": 64, "data.folds": 2, "figures.tsne": False}
    config = override(RunConfig(), settings)
    record, story = search(split_folders, tmp_path / "run", config=config)
    assert (story["test"], story["plain"]) == (None, None)
    assert story["chosen"] == story["estimate_of"] == f"fine-tuned {story['finetune']['network']}"
    assert "joined" not in story["finetune"]["choice"]["log_loss"]
    assert story["naive"] == record.result["folds"]["accuracy"] == story["finetune"]["tuned"]
    assert story["estimate"]["value"] <= story["naive"]
    assert {path.split("/")[0] for path in record.predictions.paths} == {"train", "val"}
    page = (record.folder / "report.html").read_text(encoding="utf-8")
    assert f'id="accuracy">{story["estimate"]["value"]:.1%}<' in page
    assert f"The search measured {story['naive']:.1%}; what it owes to being the best" in page
    assert page.count('class="picked"') == 2  # the best head, and what log-loss chose
    seen, shown = headline(record), trust(record.predictions, 1.0, 2)
    assert seen
    assert shown
    assert story["estimate"]["value"] == seen.accuracy.value
    folds = record.result["folds"]  # the last point is all of them: one interval for one thing
    assert (shown["low"][-1], shown["high"][-1]) == pytest.approx(
        (folds["low"], folds["high"]), abs=1e-4
    )
    card = write_card(record, usage="", checked=[], inside=[])
    assert f"**{story['estimate']['value']:.1%}** (" in card
    assert "the price of choosing is taken off" in card


def test_of_what_log_loss_chose_no_more_is_expected_than_was_measured():
    most = Interval(0.93, 0.88, 0.96)
    tuned = {"network": "net", "kept": True, "tuned": 0.90}
    heads = {"finetune": {**tuned, "kept": False}, "fresh": None, "naive": 0.94}
    story = best._estimated({**heads, "finetune": tuned}, most)
    assert (story["naive"], story["estimate_of"]) == (0.90, "fine-tuned net")
    assert story["estimate"] == pytest.approx({"value": 0.90, "low": 0.85, "high": 0.93})
    assert best._estimated(heads, most) == {"estimate": most._asdict()}
    own = {"network": "plain", "kept": True, "accuracy": 0.92}
    story = best._estimated({**heads, "fresh": own}, most)
    assert (story["naive"], story["estimate_of"]) == (0.92, "plain from scratch")
    assert story["estimate"]["value"] == pytest.approx(0.92)


@pytest.fixture
def short_quick(monkeypatch):
    monkeypatch.setitem(RECIPES, "quick", {**RECIPES["quick"], "epochs": 2})


def test_a_network_from_scratch_is_taken_where_it_is_clearly_better(
    split_folders, search, tmp_path, monkeypatch, short_quick, visit
):
    def answers(self, place, plan, settings):
        labels = plan.data.given_labels[plan.data.of("val")]
        sure = 0.96 if place == fresh.FRESH else 0.0
        return sure * np.eye(4)[labels] + (1 - sure) / 4, labels, 1.0

    def hopeless(self, name, data, **_):
        return np.full((len(data.of("val")), 4), 0.25)

    monkeypatch.setattr(finetune.Trials, "answers", answers)
    monkeypatch.setattr(candidates.Bench, "as_trained", hopeless)
    config = override(RunConfig(), {"image_size": 64, "figures.tsne": False})
    record, story = search(split_folders, tmp_path / "run", config=config, share_of_fresh=1.0)
    assert story["fresh"]["kept"]
    assert not story["finetune"]["kept"]
    assert story["chosen"] == "plain from scratch"
    assert record.config["config"]["model"] == "plain"
    assert record.config["config"]["recipe"] == "quick"
    assert record.config["data"]["images"] == {"train": 44, "val": 0, "test": 20}  # val learnt, too
    held = (record.folder / "held_out.csv").read_text().splitlines()
    assert len(held) == 1 + 12  # so that there is a temperature
    page = visit(record.folder / "report.html")
    assert "Chosen in" in page.inner_text("#search")
    assert page.locator("#search tr.picked").last.inner_text().startswith("plain from scratch")


def test_a_network_from_scratch_that_is_no_better_is_not_taken(
    split_folders, search, whole, tmp_path, short_quick
):
    _, story = search(split_folders, tmp_path / "run", share_of_fresh=1.0)
    assert not story["fresh"]["kept"]
    losses = story["fresh"]["log_loss"]
    assert losses["fresh"] > losses["other"] - story["fresh"]["error"]
    assert story["chosen"] == whole[1]["chosen"]


def test_with_folds_a_network_from_scratch_is_one_more_to_choose_among(
    split_folders, search, tmp_path, monkeypatch, short_quick
):
    monkeypatch.setattr(finetune, "log_losses", None)  # nothing is tuned
    monkeypatch.setattr(finetune.Tuner, "tune", lambda *_: None)

    def hopeless(self, name):
        return np.full((len(self.plan(name.split("+")[0]).data.of("train")), 4), 0.25)

    monkeypatch.setattr(candidates.Heads, "probs", hopeless)
    monkeypatch.setattr(
        fresh, "log_losses", lambda logs, labels: (np.ptp(logs, axis=1) < 1e-9) * 1.0
    )
    settings = {"image_size": 64, "data.folds": 2, "figures.tsne": False, "figures.report": False}
    config = override(RunConfig(), settings)
    record, story = search(split_folders, tmp_path / "run", config=config, share_of_fresh=1.0)
    assert story["chosen"] == story["estimate_of"] == "plain from scratch"
    assert story["naive"] == story["fresh"]["accuracy"] == record.result["folds"]["accuracy"]
    assert story["estimate"]["value"] <= story["naive"]


@pytest.mark.parametrize(
    ("sure", "wanted"), [(0.0, [(fresh.SHORT, 2)]), (0.9, [(fresh.SHORT, 2), (fresh.FRESH, 6)])]
)
def test_a_network_from_scratch_far_behind_after_a_third_of_its_epochs_gets_no_more(
    split_folders, search, tmp_path, monkeypatch, sure, wanted
):
    asked = []

    def answers(self, place, plan, settings):
        asked.append((place, plan.config.epochs))
        labels = plan.data.given_labels[plan.data.of("val")]
        return sure * np.eye(4)[labels] + (1 - sure) / 4, labels, 1.0

    def good(self, name, data, **_):
        return 0.8 * np.eye(4)[data.given_labels[data.of("val")]] + 0.05

    monkeypatch.setattr(finetune.Trials, "answers", answers)
    monkeypatch.setattr(candidates.Bench, "as_trained", good)
    monkeypatch.setitem(RECIPES, "quick", {**RECIPES["quick"], "epochs": 6})
    monkeypatch.setattr(finetune.Tuner, "tune", lambda *_: None)
    monkeypatch.setattr(fresh, "LITTLE", 0.0)
    monkeypatch.setattr(fresh.Fresh, "_refits", lambda *_: True)
    record, story = search(split_folders, tmp_path / "run", share_of_fresh=1.0)
    assert asked == wanted
    section = search_section.search_section(record)
    assert section is not None
    said = [each.say("en") for each in section["sentences"]]
    assert ("After 2 epochs it made far more mistakes than the head" in " ".join(said)) == (
        sure == 0
    )
    assert story["fresh"]["epochs"] == wanted[-1][1]
    assert story["fresh"]["kept"] == (sure > 0)


@pytest.mark.parametrize(
    ("wrong", "of_head", "far"), [(3, 0, False), (4, 0, True), (15, 5, False), (16, 5, True)]
)
def test_far_behind_is_three_times_the_mistakes_of_the_head(wrong, of_head, far):
    def answers(count):
        return np.eye(2)[(np.arange(40) < count) * 1]

    assert fresh.is_far(answers(wrong), answers(of_head), np.zeros(40, int)) == far


def test_a_network_from_scratch_that_takes_long_is_not_tried(whole):
    assert whole[1]["fresh"] is None


@pytest.mark.parametrize(("sure", "kept"), [(0.9, True), (0.67, False), (0.3, False)])
def test_a_network_from_scratch_must_be_better_by_more_than_the_error(sure, kept):
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 150)

    def answers(right):
        said = np.where(rng.random(150) < right, labels, (labels + 1) % 3)
        return 0.85 * np.eye(3)[said] + 0.05

    better, found = fresh.is_better(answers(sure), answers(0.6), labels)
    gain = found["log_loss"]["other"] - found["log_loss"]["fresh"]
    assert better == (gain > found["error"]) == kept
    assert (gain > 0) == (sure > 0.6)


@pytest.mark.parametrize(
    ("folds", "others_refit", "worse", "wanted"),
    [
        (0, True, "of_train", "of_train"),
        (0, False, "of_train", "of_folds"),
        (0, False, "of_folds", "of_train"),
        (5, True, "of_folds", "of_folds"),
    ],
)
def test_a_head_is_judged_as_it_will_be_trained(split_folders, folds, others_refit, worse, wanted):
    config = override(RunConfig(), {"image_size": 64, "model": "residual"})
    data = Planner(DataSource(split_folders)).plan(config).data
    right = np.eye(4)[data.given_labels[data.of("val")]]
    said = dict.fromkeys(("of_train", "of_folds"), 0.2 + 0.2 * right)
    said[worse] = 0.2 + 0.2 * np.roll(right, 1, axis=1)
    heads: Any = SimpleNamespace(
        folds=folds, probs=lambda _: said["of_folds"], probs_on_val=lambda *_: said["of_train"],
        places=lambda *_: np.arange(len(right)),
    )  # fmt: skip
    found = candidates.Heads.as_trained(heads, "net", data, others_refit=others_refit)
    np.testing.assert_array_equal(found, said[wanted])


def test_a_head_that_will_learn_val_is_compared_as_such():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    weak, strong = (softmax(k * np.eye(3)[labels] + rng.normal(size=(200, 3)), 1) for k in (1, 4))
    assert finetune.chosen_of(weak, weak, labels, joins=True)["chosen"] == "joined"
    made = finetune.chosen_of(weak, weak, labels, joins=True, alone=strong)
    assert made["chosen"] == "head"
    assert made["log_loss"]["head"] < made["log_loss"]["tuned"] / 2


def test_networks_judged_in_processes_are_judged_the_same(
    split_folders, search, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(Judging, "run", lambda _: pytest.fail("it ran in this process"))
    _, story = search(split_folders, tmp_path / "run", execute="processes", workers=2)
    expected = [(each["name"], each["accuracy"]) for each in whole[1]["candidates"]]
    assert [(each["name"], each["accuracy"]) for each in story["candidates"]] == expected
    assert story["chosen"] == whole[1]["chosen"]


def test_a_network_that_cannot_be_judged_is_named(split_folders, search, tmp_path, monkeypatch):
    broken = lambda self: [Outcome(tmp_path / f"{self.name}.npz", "no memory")]  # noqa: E731
    monkeypatch.setattr(Judging, "run", broken)
    monkeypatch.setitem(execute.EXECUTIONS, "processes", execute.EXECUTIONS["serial"])
    with pytest.raises(RunError, match="shufflenet_v2_x0_5 could not be judged: no memory"):
        search(split_folders, tmp_path / "run", execute="processes")


def test_a_finished_search_is_not_made_again(split_folders, search, whole, monkeypatch):
    record, story = whole
    (record.folder / ".search").mkdir()  # as a kill while it is cleared away leaves it
    monkeypatch.setattr(candidates, "held_out", None)
    again, same = search(split_folders, record.folder)
    assert (again.folder, same) == (record.folder, story)
    assert not (record.folder / ".search").exists()
    again, _ = search(f"{split_folders}/", record.folder)  # as a shell completes it
    assert again.folder == record.folder
    with pytest.raises(RunError, match=r"holds another search \(networks .*, not \['alexnet'\]\)"):
        search(split_folders, record.folder, networks=["alexnet"])


def test_a_tuned_network_stays_as_it_is_where_no_time_is_left(
    split_folders, search, tmp_path, monkeypatch
):
    original = finetune.answer_val

    def slow(run):
        answer = original(run)
        assert answer is not None
        return answer._replace(seconds=1e6)

    monkeypatch.setattr(finetune, "answer_val", slow)

    refit: list[bool] = []

    def wrong(self, name, data, *, others_refit):
        refit.append(others_refit)
        return 0.97 * np.eye(4)[(data.given_labels[data.of("val")] + 1) % 4] + 0.0075

    monkeypatch.setattr(candidates.Bench, "as_trained", wrong)
    listening = Listening()
    record, story = search(split_folders, tmp_path / "run", reporter=listening)
    assert refit == [True, False]  # to be joined, and alone: then it would learn val, too
    assert story["finetune"]["kept"]
    assert story["chosen"].startswith("fine-tuned")
    assert record.config["data"]["images"] == {"train": 32, "val": 12, "test": 20}
    assert record.result["val_accuracy"] == pytest.approx(story["finetune"]["tuned"])
    assert "there is no time to fit it again on train + val" in listening.notes


class Stop(Exception):
    pass


@pytest.mark.parametrize("at", ["judged", "epoch", "moved"])
def test_a_search_that_is_stopped_goes_on_and_finds_the_same(
    split_folders, search, whole, tmp_path, monkeypatch, at
):
    unstopped, story = whole

    def after(place, name, count=1):
        original, left = getattr(place, name), [count]

        def stopping(*args, **options):
            made = original(*args, **options)
            left[0] -= 1
            if not left[0]:
                raise Stop
            return made

        return place, name, stopping

    where = {
        "judged": after(candidates, "held_out", 2),
        "epoch": after(training.Training, "after_epoch", 3),
        "moved": after(best.Path, "rename", 6),
    }[at]
    with monkeypatch.context() as patch:
        patch.setattr(*where)
        with pytest.raises(Stop):
            search(split_folders, tmp_path / "stopped")
    assert not Record(tmp_path / "stopped").is_complete
    record, again = search(split_folders, tmp_path / "stopped")
    same_numbers(unstopped, record)
    times = ("seconds", "candidates")
    assert {k: v for k, v in again.items() if k not in times} == {
        k: v for k, v in story.items() if k not in times
    }
    scores = [[(c["name"], c["accuracy"]) for c in s["candidates"]] for s in (story, again)]
    assert scores[0] == scores[1]


def test_the_labels_of_test_choose_nothing(split_folders, search, tmp_path):
    """With other test labels, everything but the test accuracy is the same, bit for bit."""
    rows = []
    for path in sorted(split_folders.glob("*/*/*.png")):
        split, label, _ = path.relative_to(split_folders).parts
        if split != "extra":
            rows.append([str(path.relative_to(split_folders)), label, split])
    manifests = []
    for name in ("true", "shuffled"):
        labels = [row[1] for row in rows if row[2] == "test"]
        if name == "shuffled":
            labels = list(np.random.default_rng(0).permutation(labels))
        file = split_folders / f"{name}.csv"
        with file.open("w", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["path", "label", "split"])
            for path, label, split in rows:
                writer.writerow([path, labels.pop(0) if split == "test" else label, split])
        manifests.append(file)
    (first, story), (second, other) = (search(file, tmp_path / file.stem) for file in manifests)
    for name in ("model.safetensors", "model.json", "epochs.jsonl"):
        if name == "epochs.jsonl":
            strip = lambda r: [{**line, "seconds": 0} for line in r.history]  # noqa: E731
            assert strip(first) == strip(second)
        else:
            contents = [(record.folder / name).read_bytes() for record in (first, second)]
            assert contents[0] == contents[1]
    np.testing.assert_array_equal(first.predictions.probs, second.predictions.probs)
    assert story["test"] != other["test"]
    for each in (story, other):  # what is left is all that was chosen, and by what
        for key in ("test", "against_plain", "asked", "seconds"):
            del each[key]
        del each["plain"]["test"], each["plain"]["command"]  # of another manifest
        for candidate in each["candidates"]:
            del candidate["seconds"]
    assert story == other
    for file in manifests:
        file.unlink()


def test_no_test_picture_is_looked_at_before_the_choice(
    split_folders, search, tmp_path, monkeypatch
):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    config = override(RunConfig(), {"image_size": 64, "data.resize": "zoom"})
    data = DataSource(split_folders).prepared(config)
    rows = data.rows[data.of("test")]
    test = {data.pixels.array[row].tobytes() for row in rows}
    assert len(test) == 20
    seen, before = set(), set()

    def watched(self, at):
        pictures = self.array[self.rows[at]]
        seen.update(picture.tobytes() for picture in pictures)
        return pictures

    original = best.Search._choose

    def choose(self):
        story = original(self)
        before.update(seen)
        return story

    monkeypatch.setattr(feed.Selection, "__getitem__", watched)
    monkeypatch.setattr(best.Search, "_choose", choose)
    search(split_folders, tmp_path / "run")
    assert len(before) >= 44  # train and val
    assert not before & test
    assert test <= seen


@pytest.fixture
def from_scratch(split_folders, search, monkeypatch):
    """A search without weights, on two processors; an option may be another."""
    monkeypatch.setattr(candidates, "weight_sources", list)
    monkeypatch.setattr(scratch, "cores", lambda: 2)
    config = override(RunConfig(), {"figures.report": False, "image_size": 32, "seed": 3})
    steady = lambda run, train=False: 200.0 if train else 1.0  # noqa: E731

    def run(out, **options):
        asked = {"networks": [], "steady": steady, "config": config, **options}
        return search(split_folders, out, **asked)

    return run


def test_without_weights_networks_are_trained_at_a_time_and_joined(from_scratch, tmp_path):
    lines, counts = [], []
    listening = Listening(line=lines.append, counted=lambda *count: counts.append(count))
    record, story = from_scratch(tmp_path / "run", reporter=listening)
    assert "smallset[backbones]" in listening.notes[0]
    assert story["chosen"] == "plain, quick, 2 joined"  # strong would have too few epochs
    assert story["candidates"] == []
    assert story["test"] == record.result["test_accuracy"] > 0.5
    members = [Record(record.folder / "members" / name) for name in "01"]
    configs = [each.config["config"] for each in members]
    assert [each["seed"] for each in configs] == [3, 4]
    assert [each["compute"]["threads"] for each in configs] == [1, 1]
    assert 20 <= configs[0]["epochs"] == configs[1]["epochs"] <= 30
    assert story["plain"]["test"] == members[0].result["test_accuracy"]
    val = record.predictions.splits == "val"
    losses = [
        -np.log(each.predictions.probs[val, each.predictions.labels[val]]).mean()
        for each in (record, *members)
    ]
    assert losses[0] < max(losses[1:])
    assert [m["folder"] for m in record.joined["members"]] == [str(m.folder) for m in members]
    last = f"epoch {configs[0]['epochs'] - 1:>3}  val acc "
    assert any(line.startswith(last) for line in lines)
    total = 2 * configs[0]["epochs"]
    assert counts.count(("training", total, total, "epochs of 2 networks")) == 1
    page = write_run_page(record, None, None, findings=[], lang="en").read_text(encoding="utf-8")
    assert "2 networks from scratch, joined (plain, quick)" in page
    assert "the first of the 2 networks alone has" in page


def test_networks_from_scratch_that_are_stopped_go_on_to_the_same(
    from_scratch, tmp_path, monkeypatch
):
    steady = lambda run, train=False: 3000.0 if train else 1.0  # noqa: E731
    whole, _ = from_scratch(tmp_path / "whole", steady=steady)
    train_all, rename = scratch.train_at_once, best.Path.rename

    def one_alone(bench, data, jobs):
        train_all(bench, data, jobs[1:])
        raise Stop

    def stop(*_, **__):
        raise Stop

    def first_alone(path, target):
        if path.name == "scratch-1":
            raise Stop
        return rename(path, target)

    out = tmp_path / "stopped"
    for place, name, stopping in (
        (scratch, "train_at_once", one_alone),
        (best, "join_runs", stop),
        (best.Path, "rename", first_alone),
        (best, "_compared", stop),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, stopping)
            with pytest.raises(Stop):
                from_scratch(out, steady=steady)
        assert not Record(out).is_complete
    trained = list((out / ".search").rglob("model.safetensors"))
    before = {file.stat().st_ino for file in trained}
    again, _ = from_scratch(out, steady=steady)
    same_numbers(whole, again)
    members = [Record(again.folder / "members" / name) for name in "01"]
    assert len(trained) == 3
    now = [each.folder / "model.safetensors" for each in (again, *members)]
    assert {file.stat().st_ino for file in now} == before  # nothing was trained again


def test_with_time_to_spare_more_networks_are_trained_round_after_round(
    from_scratch, tmp_path, monkeypatch
):
    monkeypatch.setattr(scratch, "RECIPES", (("strong", 90, 99), ("quick", 1, 10)))
    rounds = []

    def noted(bench, data, jobs):
        rounds.append([(config.seed, config.epochs, folder.name) for config, folder in jobs])
        if len(rounds) == 2:
            raise Stop

    monkeypatch.setattr(scratch, "train_at_once", noted)
    with pytest.raises(Stop):
        from_scratch(tmp_path / "run")
    assert rounds == [
        [(3, 10, "scratch-0"), (4, 10, "scratch-1")],
        [(5, 10, "scratch-2"), (6, 10, "scratch-3")],
    ]


def test_pictures_are_decoded_once_for_all_recipes_from_scratch(
    from_scratch, tmp_path, monkeypatch
):
    def stop(*_):
        raise Stop

    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(scratch, "train_at_once", stop)
    ended = []
    told = lambda what, done, total, unit="": ended.append(what) if done == total else None  # noqa: E731
    with pytest.raises(Stop):
        from_scratch(tmp_path / "run", config=RunConfig(), reporter=Listening(counted=told))
    assert ended.count("decoding") == 1


def test_one_network_from_scratch_where_one_is_asked_for_or_val_is_too_small(
    from_scratch, tmp_path
):
    steady = lambda run, train=False: 3000.0 if train else 1.0  # noqa: E731
    record, story = from_scratch(tmp_path / "one", steady=steady, workers=1)
    assert story["chosen"] == "plain, quick"
    assert "members" not in story
    assert story["plain"] is record.joined is None
    config = override(RunConfig(), {"image_size": 32, "data.folds": 2, "figures.report": False})
    record, story = from_scratch(tmp_path / "folds", steady=steady, config=config)
    assert record.joined is None
    assert record.result["folds"]["folds"] == 2


@pytest.mark.parametrize(
    ("cores", "workers", "threads", "found"),
    [
        (2, None, None, (2, 1)), (16, None, None, (4, 4)), (2, None, 2, (1, 2)),
        (8, None, 3, (2, 3)), (8, 2, None, (2, 4)), (8, 1, None, (1, None)),
        (1, None, None, (1, None)),
    ],
)  # fmt: skip
def test_networks_at_a_time_and_the_threads_of_each(monkeypatch, cores, workers, threads, found):
    monkeypatch.setattr(scratch, "cores", lambda: cores)
    config = override(RunConfig(), {"compute.device": "cpu", "compute.threads": threads})
    assert scratch.at_a_time(config, workers) == found


def test_a_network_from_scratch_that_cannot_be_trained_is_said(from_scratch, tmp_path, monkeypatch):
    monkeypatch.setattr(
        scratch, "find_execution", lambda _: lambda tasks, _: [tasks[0].failed("no memory")]
    )
    with pytest.raises(RunError, match="could not be trained from scratch: no memory"):
        from_scratch(tmp_path / "run")


def test_what_takes_too_long_is_left_out_and_said(split_folders, search, tmp_path):
    costs = {"squeezenet1_1": 9000.0, "shufflenet_v2_x0_5": 2.0}
    # A step that takes too long as well: nothing is fine-tuned.
    steady = lambda run, train=False: 9000.0 if train else costs.get(run.plan.config.model, 9e3)  # noqa: E731
    lines = []
    _, story = search(
        split_folders, tmp_path / "run", reporter=Listening(line=lines.append), steady=steady
    )
    taken, left_out = story["candidates"]
    assert (taken["name"], taken["state"]) == ("shufflenet_v2_x0_5", "raced")
    assert (left_out["name"], left_out["state"]) == ("squeezenet1_1", "left out")
    assert left_out["why"] == "all pictures would take 576 s"  # 64 of 9 s
    assert any("squeezenet1_1" in line and "left out for time" in line for line in lines)
    assert story["chosen"] == "shufflenet_v2_x0_5"
    assert story["finetune"] is None


def test_no_step_is_timed_where_a_look_at_the_pictures_takes_longer_than_is_left(
    split_folders, search, tmp_path
):
    asked = []

    def steady(run, train=False):
        asked.append(train)
        return 9000.0

    listening = Listening()
    _, story = search(split_folders, tmp_path / "run", reporter=listening, steady=steady)
    assert story["finetune"] is None
    assert any("an epoch takes longer than the time that is left" in n for n in listening.notes)
    assert asked == [False, False, False]  # the networks alone, and one from scratch


def test_a_folder_with_something_else_is_left_alone(split_folders, search, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/notes.txt").touch()
    with pytest.raises(RunError, match="not empty, and holds no search"):
        search(split_folders, tmp_path / "full")
    with pytest.raises(ConfigError, match="no model named 'nosuch'"):
        search(split_folders, tmp_path / "new", networks=["nosuch"])
    assert not (tmp_path / "new").exists()
    (tmp_path / "new/.search").mkdir(parents=True)
    begun = {"asked": {"minutes": 3}, "spent": 1.0}
    (tmp_path / "new/.search/search.json").write_text(json.dumps(begun))
    with pytest.raises(RunError, match="holds another search"):
        search(split_folders, tmp_path / "new")


def test_the_command_says_what_was_chosen_and_whether_it_was_worth_it(
    split_folders, networks, tmp_path, monkeypatch, capsys
):
    data = tmp_path / "uneven"
    shutil.copytree(split_folders, data)
    for split, kept in (("train", 2), ("val", 1)):
        for path in sorted((data / split / "ant").iterdir())[kept:]:
            path.unlink()
    words = ["best", data, "--out", tmp_path / "run", "--minutes", "5", "--quiet"]
    words += ["--networks", networks[0], "--lang", "en"]
    monkeypatch.setattr(finetune, "MOST_EPOCHS", 0)
    monkeypatch.setattr(fresh, "SHARE", 0.0)
    monkeypatch.setattr(candidates, "SHARE_OF_MIRROR", 0.0)
    monkeypatch.setattr(sys, "argv", ["smallset", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    assert out.startswith("chosen:   squeezenet1_1  (in ")
    record = Record(tmp_path / "run")
    assert f"test:     {record.result['test_accuracy']:.1%}, read once, after the choice" in out
    even = balanced(record.predictions)
    assert even is not None
    assert f"balanced: test {even.accuracy:.1%}, where every class counts the same (they" in out
    assert "the search chose what needs no search, a head on squeezenet1_1" in out
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "The search chose what needs no search: a head on squeezenet1_1 alone." in re.sub(
        r"<wbr>|</?span[^>]*>", "", page
    )
    assert "without the search: a head on" not in re.sub(r"<wbr>|</?span[^>]*>", "", page)
    assert "of 5 minutes: squeezenet1_1." in page
    assert not (tmp_path / "run/.search").exists()
    shutil.rmtree(tmp_path / "run")


def test_a_tuned_network_and_a_head_are_joined_where_that_is_better_on_val(
    split_folders, search, tmp_path, monkeypatch
):
    original, apart = finetune.chosen_of, []

    def joined(tuned, head, labels, *, joins, alone):
        apart[:] = tuned, head
        return {**original(tuned, head, labels, joins=joins, alone=alone), "chosen": "joined"}

    monkeypatch.setattr(finetune, "chosen_of", joined)
    whole, story = search(split_folders, tmp_path / "whole")
    assert whole.joined is not None
    members = [Record(tmp_path / "whole/members" / name) for name in ("tuned", "head")]
    assert [m["folder"] for m in whole.joined["members"]] == [str(m.folder) for m in members]
    temperatures = [m["temperature"] for m in whole.joined["members"]]
    assert temperatures == story["finetune"]["choice"]["temperatures"]
    for record in (whole, *members):  # all learnt from train + val
        assert record.config["data"]["images"] == {"train": 44, "val": 0, "test": 20}
    assert story["test"] == whole.result["test_accuracy"]
    assert " & a head on " in story["chosen"]
    said = whole.held_out
    assert said is not None
    assert said.splits.tolist() == ["val"] * 12
    both = [tempered(each, t) for each, t in zip(apart, temperatures, strict=True)]
    assert said.probs == pytest.approx(softmax(sum(both) / 2, axis=1), rel=1e-6)
    doubt = " ".join(each.say("en") for each in Predictor(whole, sets=0.8, reject=0.1).doubt)
    assert "each of the joined networks has its own" in doubt
    assert "limits from 12 val images" in doubt
    assert "of 12 val images would be refused" in doubt
    for place, name in ((best, "join_runs"), (best, "_compared")):
        stop = getattr(place, name)
        with monkeypatch.context() as patch:
            patch.setattr(place, name, lambda *a, stop=stop, **o: [stop(*a, **o), 1 / 0])
            with pytest.raises(ZeroDivisionError):
                search(split_folders, tmp_path / "stopped")
    again, _ = search(split_folders, tmp_path / "stopped")
    same_numbers(whole, again)
    assert not (tmp_path / "stopped/.search").exists()


@pytest.mark.parametrize(("missing", "joins"), [(0, True), (29, True), (31, False)])
def test_what_took_minutes_to_tune_is_joined_though_that_ends_a_little_later(
    split_folders, missing, joins
):
    config = override(RunConfig(), {"model": "residual", "mirror": True, "image_size": 64})
    plan = Planner(DataSource(split_folders)).plan(config)
    leader, winner = Candidate("a", 100.0), Candidate("a+b", 250.0)
    needed = 2 * 0.1 * (32 + 12 + 20) + 0.25 * 20 + finetune.RESERVE
    known: dict[str, Any] = {"tuned": {"epochs": 3}}
    tuner: Any = finetune.Tuner.__new__(finetune.Tuner)
    tuner.bench = SimpleNamespace(
        notebook=SimpleNamespace(
            known=known,
            left=lambda: needed - missing + 0.01,
            seconds=600.0,
            remember=lambda **found: known.update(found),
        )
    )
    assert tuner._joins(plan, leader, winner) == joins
    tuner.bench.notebook.left = lambda: 0.0
    assert tuner._joins(plan, leader, winner) == joins  # it is decided once


@pytest.mark.parametrize("chosen", ["head", "tuned"])
def test_a_winner_that_learnt_val_keeps_what_was_said_of_it_before(
    split_folders, search, tmp_path, monkeypatch, chosen
):
    original = finetune.chosen_of
    monkeypatch.setattr(
        finetune, "chosen_of", lambda *a, **o: original(*a, **o) | {"chosen": chosen}
    )
    record, story = search(split_folders, tmp_path / "run")
    assert record.config["data"]["images"] == {"train": 44, "val": 0, "test": 20}
    said, is_head = record.held_out, chosen == "head"
    assert said is not None
    assert set(said.splits.tolist()) == {"train" if is_head else "val"}
    assert len(said.ids) == (44 if is_head else 12)
    right = (said.predicted == said.given_labels).mean()
    assert right == pytest.approx(story["naive"] if is_head else story["finetune"]["tuned"])
    at = {path: row for row, path in enumerate(record.predictions.paths)}
    rows = [at[path] for path in said.paths]
    assert (record.predictions.labels[rows] == said.labels).all()
    assert (record.predictions.probs[rows] != said.probs).all(axis=1).any()
    fitted, whose = record.model, f"{len(rows)} {'out-of-fold' if is_head else 'val'} images"
    assert fitted["temperature"] == pytest.approx(temperature(said.probs, said.given_labels))
    assert fitted["temperature_from"]["images"] == len(rows)
    doubt = " ".join(each.say("en") for each in Predictor(record, sets=0.8, reject=0.1).doubt)
    assert f"fitted on {whose}" in doubt
    assert f"limits from {whose}" in doubt
    assert f"of {whose} would be refused; of 20 test images" in doubt
    assert "of 20 test images" in doubt.partition("reject")[0]
    (record.folder / "held_out.csv").write_text("id\n")
    with pytest.raises(DataError, match=r"held_out\.csv is damaged"):
        Predictor(Record(record.folder), sets=0.8)


def test_both_are_joined_unless_one_is_clearly_better_at_fitted_temperatures():
    rng, labels = np.random.default_rng(0), np.arange(3000) % 3
    # Two that are wrong independently, one of them far too unsure: both joined are best.
    noisy = [3 * np.eye(3)[labels] + 2 * rng.normal(size=(3000, 3)) for _ in range(2)]
    first, second = (np.exp(s * each) for s, each in zip((1.0, 0.2), noisy, strict=True))
    first, second = (each / each.sum(axis=1, keepdims=True) for each in (first, second))
    made = finetune.chosen_of(first, second, labels, joins=True)
    assert made["chosen"] == "joined"
    assert made["temperatures"][0] / made["temperatures"][1] == pytest.approx(5, rel=0.3)
    worse = np.roll(second, 1, axis=0)
    assert finetune.chosen_of(first, worse, labels, joins=True)["chosen"] == "tuned"
    assert finetune.chosen_of(worse, first, labels, joins=True)["chosen"] == "head"
    alone = finetune.chosen_of(first, second, labels, joins=False)
    assert set(alone["log_loss"]) == {"tuned", "head"}
    assert "error" not in alone


@pytest.mark.parametrize(("images", "chosen"), [(60, "joined"), (6000, "head")])
def test_a_difference_that_is_within_its_error_keeps_both(images, chosen):
    rng, labels = np.random.default_rng(0), np.arange(images) % 3
    logits = 3 * np.eye(3)[labels] + 2 * rng.normal(size=(images, 3))
    tuned = logits + 0.7 * rng.normal(size=(images, 3))  # the same mistakes, and more of them
    said, better = (softmax(each, axis=1) for each in (tuned, logits))
    made = finetune.chosen_of(said, better, labels, joins=True)
    losses = made["log_loss"]
    assert losses["head"] < losses["joined"] < losses["tuned"]
    assert made["chosen"] == chosen
    assert (losses["joined"] - losses["head"] <= made["error"]) == (chosen == "joined")


def test_with_folds_nothing_is_saved_on_mirror_images(split_folders):
    # They are looked at with it from the first fold on, and a look less would save no epoch.
    config = override(RunConfig(), {"image_size": 64, "model": "residual", "data.folds": 2})
    plan = Planner(DataSource(split_folders)).plan(config)
    leader, winner = Candidate("one", 1.0), Candidate("two", 1.0)
    for left in (10.0, 21.0, 22.0, 60.0):
        assert "mirror" not in finetune.affordable(plan, leader, winner, 10.0, left, fixed=False)
    long = Candidate("two", 1.0, seconds=30.0)  # its head is fitted on each fold again
    assert finetune.affordable(plan, leader, winner, 10.0, 35.0, fixed=True)["epochs"] > 0
    assert finetune.affordable(plan, leader, long, 10.0, 35.0, fixed=True)["epochs"] == 0


def test_vectors_of_mirror_images_that_the_head_has_are_not_reckoned_twice(split_folders):
    config = override(RunConfig(), {"image_size": 64, "model": "residual"})
    plan = Planner(DataSource(split_folders)).plan(config)
    leader, winner = Candidate("one", 1.0), Candidate("two", 1.0)

    def epochs(left, known):
        made = finetune.affordable(plan, leader, winner, 10.0, left, fixed=True, known=known)
        return made["epochs"], made.get("mirror", True)

    # A look at the 44 pictures of train and val takes 44 ms.
    wants = [left for left in np.arange(20.5, 25, 0.001) if epochs(left, 1) == (3, True)]
    has = [left for left in np.arange(20.5, 25, 0.001) if epochs(left, 2) == (3, True)]
    assert min(wants) - min(has) == pytest.approx(0.044, abs=0.002)


@pytest.mark.parametrize("gain", [0.01, -0.01])
def test_the_best_head_averages_mirror_images_where_that_is_better(
    split_folders, search, whole, tmp_path, monkeypatch, gain, visit
):
    monkeypatch.setattr(candidates, "difference", lambda *_: (-gain, 0.001))
    monkeypatch.setattr(finetune, "difference", lambda *_: (0.0, 1.0))  # both are joined
    reckoned, original = [], finetune.affordable

    def affordable(*given, known, **more):
        reckoned.append(known)
        return original(*given, known=known, **more)

    monkeypatch.setattr(finetune, "affordable", affordable)
    config = override(RunConfig(), {"image_size": 64, "figures.tsne": False})
    record, story = search(split_folders, tmp_path / "run", config=config, share_of_mirror=1.0)
    found, kept = story["mirror"], gain > 0
    assert found["kept"] == kept
    assert found["once"] != found["twice"]
    assert reckoned == [2 if kept else 1]  # views whose vectors are there
    words = f"a head on {story['estimate_of']}" + ", mirror images averaged" * kept
    assert story["chosen"].endswith(words)
    assert ("mirror" in story["joined"]) == kept
    head = Record(record.folder / "members/head")
    assert bool(head.config["config"].get("mirror")) == head.model["mirror"] == kept
    assert "mirror" not in story["plain"]["settings"]
    scores = [[each["accuracy"] for each in told["candidates"]] for told in (story, whole[1])]
    assert scores[0] == scores[1]  # they are judged without
    page = visit(record.folder / "report.html")
    assert ("mirror images averaged" in page.inner_text("#search")) == kept
    assert f"it has {found['twice']:.4f} with both" in page.inner_text("#search")


def test_a_head_with_mirror_images_that_is_taken_alone_is_judged_by_heads_with_them(
    split_folders, search, tmp_path, monkeypatch, visit
):
    monkeypatch.setattr(candidates, "difference", lambda *_: (-1.0, 0.001))
    monkeypatch.setattr(finetune.Tuner, "tune", lambda *_: None)
    config = override(RunConfig(), {"image_size": 64, "figures.tsne": False})
    record, story = search(split_folders, tmp_path / "run", config=config, share_of_mirror=1.0)
    assert story["chosen"] == story["estimate_of"] + ", mirror images averaged"
    said = visit(record.folder / "report.html").inner_text("#search")
    assert "What log-loss decided" in said
    assert "With or without fine-tuning" not in said
    assert record.config["config"]["mirror"]
    held = record.held_out
    assert held is not None
    labels = held.given_labels
    logs = tempered(held.probs, temperature(held.probs, labels))
    assert log_losses(logs, labels).mean() == pytest.approx(story["mirror"]["twice"], abs=1e-4)
    section = search_section.search_section(record)
    assert section is not None
    assert [each["is_best"] for each in section["choices"]] == [False, True]
    assert section["choices"][1]["cost"] == 2 * section["choices"][0]["cost"]


def test_mirror_images_are_left_out_where_they_take_long_and_with_folds(
    split_folders, search, whole, tmp_path
):
    assert whole[1]["mirror"] is None
    settings = {"image_size": 64, "data.folds": 2, "figures.tsne": False, "figures.report": False}
    config = override(RunConfig(), settings)
    _, story = search(split_folders, tmp_path / "run", config=config, share_of_mirror=1.0)
    assert story["mirror"] is None


def test_of_networks_that_chance_ranked_the_cheapest_is_tuned():
    rng = np.random.default_rng(0)
    hard = rng.random(2000)

    def right(share):  # of the same images, but for a few
        return (hard + rng.normal(0, 0.05, len(hard))) < share

    def chosen(*shares):
        networks = [Candidate(str(n), cost) for n, cost in enumerate((3.0, 2.0, 1.0))]
        return best.cheapest_of_the_best(networks, [right(share) for share in shares]).name

    assert chosen(0.93, 0.93, 0.85) == "1"
    assert chosen(0.93, 0.93, 0.93) == "2"
    assert chosen(0.93, 0.85, 0.85) == "0"
    many = [Candidate(str(n), float(n)) for n in range(12)]
    assert best.cheapest_of_the_best(many, [right(0.9) for _ in many]).cost < 12


@pytest.mark.parametrize(
    ("left", "fixed", "expected"),
    [
        (60.0, False, {"epochs": 30}),  # an epoch is one step
        (23.3, False, {"epochs": 3}),  # 3 epochs of 0.98 s, fitting again included
        (22.5, False, {"epochs": 5}),  # of 0.42 s: it is not fitted again
        (21.4, False, {"epochs": 3, "mirror": False}),  # 0.12 s of looks less
        (20.9, False, {"epochs": 3, "image_size": 32}),  # a quarter of the pixels, and again
        (20.75, False, {"epochs": 6, "image_size": 32}),
        (20.41, False, {"epochs": 3, "image_size": 32, "mirror": False}),
        (20.6, True, {"epochs": 1, "mirror": False}),
        (10.0, False, {"epochs": 0, "image_size": 32, "mirror": False}),
    ],
)
def test_time_is_saved_on_fitting_again_then_on_mirror_images_then_on_pixels(
    split_folders, left, fixed, expected
):
    config = override(RunConfig(), {"image_size": 64, "model": "residual"})
    plan = Planner(DataSource(split_folders)).plan(config)
    leader, winner = Candidate("one", 1.0), Candidate("two", 1.0)
    assert finetune.affordable(plan, leader, winner, 10.0, left, fixed=fixed) == expected


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"model": "residual"}, "model"),
        ({"recipe": "strong", "seed": 3}, "recipe"),
        ({"head": "sgd"}, "head"),  # its default, and another head than candidates are judged by
        ({"epochs": 3, "optim.momentum": 0.9}, "epochs, optim.momentum"),
        ({"data.train_on": "train", "data.clean": "self"}, "data.train_on, data.clean"),
    ],
)
def test_settings_that_a_search_would_not_read_are_refused(tmp_path, settings, named):
    config = override(RunConfig(), settings)
    with pytest.raises(ConfigError, match=f"best does not read {named}: it chooses"):
        api.best(tmp_path / "nothing is looked at", out=tmp_path / "run", config=config)
    assert not (tmp_path / "run").exists()


def test_settings_that_a_search_reads_are_taken():
    settings = {
        "seed": 3, "balance": "weights", "image_size": 64, "data.folds": 5, "recipe": "auto",
        "compute.device": "cpu", "figures.tsne": False,
    }  # fmt: skip
    refuse_unread(override(RunConfig(), settings))
