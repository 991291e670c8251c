"""Cleaning inside a run: the setting `data.clean`."""

from unittest.mock import Mock

import numpy as np
import pytest
from support import picture

from smallset import api
from smallset.clean import patches, training_labels
from smallset.clean.decide import Cleaning, Judged
from smallset.clean.find import Found
from smallset.clean.judges import plan_judges
from smallset.config import override
from smallset.data.prepare import DataSource
from smallset.errors import DataError
from smallset.learn.plan import Planner, clean_labels
from smallset.learn.run import train_run
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.stats import Interval


def labels_of(record):
    predictions = record.predictions
    train = predictions.splits == "train"
    return dict(zip(
        np.array(predictions.paths)[train],
        zip(predictions.labels[train], predictions.given_labels[train], strict=True), strict=True,
    ))  # fmt: skip


def test_the_oracle_leaves_out_what_noise_made_wrong(split_folders, tmp_path, tiny):
    noise = {"data.noise_rate": 0.25, "data.noise_seed": 3}
    noisy = labels_of(train_run(split_folders, tiny(**noise), tmp_path / "noisy"))
    config = tiny(**noise, **{"data.clean": "oracle"})
    cleaned = labels_of(train_run(split_folders, config, tmp_path / "oracle"))
    assert len(noisy) == 32
    assert cleaned == {path: pair for path, pair in noisy.items() if pair[0] == pair[1]}
    assert len(cleaned) == 24
    [said] = [line for line in Record(tmp_path / "oracle").result["findings"] if "oracle" in line]
    assert said.startswith("cleaning by oracle (25% wrong labels of seed 3) relabels 0 of 32")


@pytest.fixture
def decided(monkeypatch):
    """Decide as if the third image were dropped and the fifth belonged to the last class."""
    calls = []

    def find_wrong_labels(blocks, labels, *, num_classes, **_):
        calls.append([block.shape for block in blocks])
        decisions = np.full(len(labels), "keep", dtype=object)
        changed = labels.copy()
        decisions[2], decisions[4], changed[4] = "drop", "relabel", num_classes - 1
        zero = Interval(0, 0, 0)
        chosen = Judged(Cleaning("posterior", decisions, changed), zero, zero, 0.0)
        return Mock(spec=Found, chosen=chosen, is_weak=False)

    monkeypatch.setattr(training_labels, "find_wrong_labels", find_wrong_labels)
    return calls


def test_a_run_trains_on_what_was_decided_and_decides_once(
    split_folders, tmp_path, tiny, decided, monkeypatch
):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    plain = labels_of(train_run(split_folders, tiny(), tmp_path / "plain"))
    config = tiny(**{"data.clean": "self"})
    record = train_run(split_folders, config, tmp_path / "cleaned")
    cleaned, paths = labels_of(record), list(plain)
    assert set(plain) - set(cleaned) == {paths[2]}
    assert {p for p in cleaned if cleaned[p] != plain[p]} == {paths[4]}
    assert cleaned[paths[4]] == (plain[paths[4]][0], 3)
    assert record.config["data"]["images"]["train"] == 31
    said = record.result["findings"]
    assert any("relabels 1 of 32 training images and leaves 1 out" in line for line in said)
    again = train_run(split_folders, tiny(seed=1, **{"data.clean": "self"}), tmp_path / "again")
    assert labels_of(again).keys() == cleaned.keys()
    assert decided == [[(32, 9 * patches.FILTERS)]]
    train_run(split_folders, override(config, {"data.noise_rate": 0.25}), tmp_path / "noisy")
    assert len(decided) == 2  # other labels
    assert record.config["digest"] != Record(tmp_path / "plain").config["digest"]


def test_groups_have_no_part_in_the_judgement_of_each_other(tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    seen = []

    def find(*_, groups, **__):
        seen.append(groups)
        return Mock(spec=Found, chosen=None, is_weak=False)

    monkeypatch.setattr(training_labels, "find_wrong_labels", find)
    rows = []
    for n in range(16):
        picture(n % 2, n).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{'ab'[n % 2]},{'train' if n < 12 else 'test'}")
    for number, grouped in enumerate([(), (0, 2), (0, 2, 5)]):
        lines = [f"{row},{'g' if n in grouped else ''}" for n, row in enumerate(rows)]
        (tmp_path / "list.csv").write_text("\n".join(["path,label,split,group", *lines]))
        config = tiny(**{"data.clean": "self", "data.val_fraction": 0})
        record = train_run(tmp_path / "list.csv", config, tmp_path / str(number))
        families = {frozenset(np.flatnonzero(np.array(seen[-1]) == name)) for name in seen[-1]}
        assert {each for each in families if len(each) > 1} == (
            {frozenset(grouped)} if grouped else set()
        )
        said = [line for line in record.result["findings"] if "part in the judgement" in line]
        assert len(said) == bool(grouped)
    assert len(seen) == 3  # what was decided with other groups is not used


def test_a_run_says_why_its_cleaning_changes_nothing(split_folders, tmp_path, tiny, monkeypatch):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    found = Mock(spec=Found, chosen=None, is_weak=True, accuracy=0.37)
    monkeypatch.setattr(training_labels, "find_wrong_labels", lambda *_, **__: found)
    plain = labels_of(train_run(split_folders, tiny(), tmp_path / "plain"))
    config = {"data.clean": "self"}
    # The second decides nothing anew, and says the same.
    for name, seed in (("first", 0), ("second", 1)):
        record = train_run(split_folders, tiny(seed=seed, **config), tmp_path / name)
        assert labels_of(record) == plain
        [said] = [line for line in record.result["findings"] if "cleaning by self" in line]
        assert "changes nothing: the features predict only 37% of the given labels" in said
    found.is_weak = False
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "other"))
    record = train_run(split_folders, tiny(**config), tmp_path / "refused")
    [said] = [line for line in record.result["findings"] if "cleaning by self" in line]
    assert "changes nothing: it would make predictions of held-out labels worse" in said


def test_cleaned_images_have_the_size_that_each_run_wants(split_folders, tiny):
    source = DataSource(split_folders)
    noise = {"data.noise_rate": 0.25, "data.clean": "oracle"}
    for size in (32, 40):
        plan = Planner(source).plan(tiny(image_size=size, **noise))
        data = clean_labels(plan, source, Reporter()).data
        assert len(data.of("train")) < len(plan.data.of("train"))
        assert data.pixels.array.shape[1:] == (size, size, 3)


def test_networks_and_pictures_judge_together(
    split_folders,
    tmp_path,
    tiny,
    decided,
    squeeze_file,
    monkeypatch,
):
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    config = tiny(**{"data.clean": f"squeezenet1_1={squeeze_file},self"})
    record = train_run(split_folders, config, tmp_path / "run")
    assert decided == [[(32, 512), (32, 9 * patches.FILTERS)]]
    assert any(
        line.startswith("cleaning by squeezenet1_1, self relabels 1 of 32")
        for line in record.result["findings"]
    )
    # A network sees pictures as it was tested: their middle. Patches see all of them.
    config = tiny(**{"data.resize": "pad"})
    judges = plan_judges([f"squeezenet1_1={squeeze_file}", "self"], config)
    assert [judge.config.data.resize for judge in judges] == ["zoom", "pad"]


def test_a_study_names_arms_whose_judges_have_no_weights(split_folders, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(
        OSError("no network")))  # fmt: skip
    spec = tmp_path / "s.toml"
    spec.write_text(
        'title="t"\nabout="a"\nbaseline="a"\n[arms.a]\n[arms.b]\ndata.clean="self,resnet18"\n'
    )
    with pytest.raises(DataError, match="b: the ImageNet weights of resnet18"):
        api.study(str(spec), split_folders, out=tmp_path / "out")


def test_noise_may_reach_val_too(split_folders, tmp_path, tiny):
    noise = {"data.noise_rate": 0.25}
    for in_val, expected in ((False, 0), (True, 3)):
        config = tiny(**noise, **{"data.noise_in_val": in_val})
        predictions = train_run(split_folders, config, tmp_path / str(in_val)).predictions
        val = predictions.splits == "val"
        wrong = predictions.given_labels != predictions.labels
        assert wrong[val].sum() == expected
        assert wrong[predictions.splits == "train"].sum() == 8
        assert wrong[predictions.splits == "test"].sum() == 0


def test_planning_a_run_cleans_nothing(split_folders, tiny, monkeypatch):
    monkeypatch.setattr(training_labels, "find_wrong_labels", None)
    monkeypatch.setattr(training_labels, "features_of", None)
    planner = Planner(DataSource(split_folders))
    plain, self, oracle = (
        planner.plan(tiny(**{"data.noise_rate": 0.25, "data.clean": clean}))
        for clean in ("", "self", "oracle")
    )
    assert len({plain.digest, self.digest, oracle.digest}) == 3
    assert self.described["cleaning"] == {"rules": training_labels.RULES, "judges": {"self": None}}
    monkeypatch.setattr(training_labels, "RULES", "other")
    again = Planner(DataSource(split_folders)).plan(self.config)
    assert again.digest != self.digest
