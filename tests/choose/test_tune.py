"""Searches on tiny pictures: val decides, test is not scored, a stopped search goes on."""

import csv
import shutil

import pytest

import smallset
from smallset.choose.tune import Space, parse_space
from smallset.compare.spec import read_study
from smallset.config import override, read_config
from smallset.errors import ConfigError, DataError, RunError
from smallset.learn import inputs, training

SEARCH = {"lr": "1e-4:0.1:log", "optim.weight_decay": "1e-6:1e-2:log"}


def settings_of(tuned):
    return [(t.settings, t.val_accuracy, t.epochs, t.state) for t in tuned.trials]


def test_a_search_scores_val_only_and_leaves_settings_and_a_study(
    split_folders, tmp_path, tiny, monkeypatch
):
    splits = []
    original = inputs.Inputs.feed
    monkeypatch.setattr(
        inputs.Inputs, "feed",
        lambda self, split, **k: splits.append(split) or original(self, split, **k),
    )  # fmt: skip
    config = tiny(epochs=9, loss="squared")
    tuned = smallset.tune(split_folders, config, out=tmp_path / "t", search=SEARCH, trials=6)
    assert set(splits) == {"train", "val"}
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == [
        "best.toml", "compare.toml", "figures", "journal.log", "trials.csv", "tune.json",
    ]  # fmt: skip
    assert (tmp_path / "t/figures/search.png").exists()
    with (tmp_path / "t/trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    complete = [row for row in rows if row["state"] == "complete"]
    assert len(rows) == 6
    assert float(rows[0]["lr"]) == config.lr  # the start is tried first
    assert all(row["epochs"] == "9" for row in complete)
    assert all(int(row["epochs"]) < 9 for row in rows if row["state"] == "stopped")
    assert tuned.best.val_accuracy == max(float(row["val_accuracy"]) for row in complete)
    assert read_config(tmp_path / "t/best.toml") == override(config, tuned.best.settings)
    _, study = read_study(str(tmp_path / "t/compare.toml"))
    same = {"seed": 3, "data.noise_seed": 3, "data.subset_seed": 3}
    assert study.config("tuned", 3, {}) == override(tuned.config, same)
    assert study.config("start", 3, {}) == override(config, same)


def test_the_score_is_the_mean_of_what_the_seeds_reach_alone(split_folders, tmp_path, tiny):
    tuned = smallset.tune(
        split_folders, tiny(epochs=3), out=tmp_path / "t", search=SEARCH, trials=1, seeds=2
    )
    [trial] = tuned.trials
    configs = [override(tiny(epochs=3, seed=seed), trial.settings) for seed in (0, 1)]
    alone = [smallset.train(split_folders, c, out=tmp_path / f"{c.seed}") for c in configs]
    reached = [run.history[-1]["val_accuracy"] for run in alone]
    assert trial.val_accuracy == pytest.approx(sum(reached) / 2)


def test_a_stopped_search_goes_on_as_if_it_had_not_been(split_folders, tmp_path, tiny, monkeypatch):
    def search(folder, trials):
        return smallset.tune(
            split_folders, tiny(epochs=3), out=folder, search=SEARCH, trials=trials, seeds=1
        )

    whole = search(tmp_path / "whole", 5)
    search(tmp_path / "parts", 2)
    original = training.Training.after_epoch

    def stop(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.Training, "after_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            search(tmp_path / "parts", 5)
    assert training.Training.after_epoch is original
    # As a kill leaves them: there is no time to clean up.
    (tmp_path / "parts/.trial-killed/deep").mkdir(parents=True)
    (tmp_path / "parts/.trial-killed/deep/checkpoint.pt").write_bytes(b"half")
    (tmp_path / "parts/.writing-trials.csv-x").write_bytes(b"half")
    parts = search(tmp_path / "parts", 5)
    assert settings_of(parts) == settings_of(whole)
    assert not list((tmp_path / "parts").glob(".*"))


def test_what_diverges_is_told_and_never_the_best(split_folders, tmp_path, tiny):
    search = {"lr": "1e29,0.01"}
    tuned = smallset.tune(
        split_folders, tiny(epochs=2), out=tmp_path / "t", search=search, trials=6, seeds=1
    )
    assert {t.state for t in tuned.trials if t.settings["lr"] > 1} == {"diverged"}
    assert tuned.best.settings == {"lr": 0.01}
    with pytest.raises(RunError, match="every one diverged"):
        smallset.tune(
            split_folders, tiny(epochs=2), out=tmp_path / "u", search={"lr": "1e29,1e30"},
            trials=2, seeds=1,
        )  # fmt: skip


def test_another_search_in_the_folder_is_refused(split_folders, tmp_path, tiny):
    smallset.tune(split_folders, tiny(epochs=1), out=tmp_path, search=SEARCH, trials=1, seeds=1)
    with pytest.raises(RunError, match="holds a search with other settings"):
        smallset.tune(split_folders, tiny(epochs=2), out=tmp_path, search=SEARCH, trials=1, seeds=1)


def test_a_search_needs_val_images_and_known_settings(split_folders, tmp_path, tiny):
    shutil.copytree(split_folders, tmp_path / "set")
    shutil.rmtree(tmp_path / "set/val")
    whole = tiny(**{"data.val_fraction": 0})
    with pytest.raises(DataError, match="has no val images, and val decides"):
        smallset.tune(tmp_path / "set", whole, out=tmp_path / "t", trials=2)
    with pytest.raises(ConfigError, match=r"no setting named 'optim.lrr'; did you mean 'lr'"):
        smallset.tune(split_folders, tiny(), out=tmp_path / "t", search={"optim.lrr": "0:1"})
    assert not (tmp_path / "t/journal.log").exists()


@pytest.mark.parametrize("text", ["1:0", "a:b", "0:1:log", "1:2:lin", "1:2:3:4"])
def test_a_search_space_with_a_mistake_is_refused(text):
    with pytest.raises(ConfigError, match="a search space is LOW:HIGH, LOW:HIGH:log or A,B,C"):
        parse_space(text)


def test_search_spaces_are_read_as_written():
    assert parse_space("0:1") == Space(0, 1)
    assert parse_space("cosine,constant").choices == ("cosine", "constant")
