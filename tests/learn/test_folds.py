import json
import shutil

import numpy as np
import pytest
from PIL import Image
from support import Listening, picture, same_numbers

from smallset import api
from smallset.config import RunConfig, override
from smallset.data.families import families
from smallset.data.prepare import DataSource, families_of
from smallset.errors import ConfigError, DataError
from smallset.findings.in_words import study_notes
from smallset.learn import folds, stages
from smallset.learn.run import train_run
from smallset.models.probe import fold_of, out_of_fold, probe, probe_probs
from smallset.record.measures import cross_validated


@pytest.fixture(scope="module")
def unsplit(tmp_path_factory):
    """Three classes of eight pictures, without splits."""
    root = tmp_path_factory.mktemp("unsplit")
    for label, name in enumerate(["ant", "bee", "cat"]):
        (root / name).mkdir()
        for n in range(8):
            picture(label, n).save(root / name / f"{n}.png")
    return root


def test_every_image_is_scored_by_runs_that_did_not_learn_from_it(
    unsplit, tiny, tmp_path, monkeypatch
):
    seen, original = [], folds.answer_val
    monkeypatch.setattr(
        folds, "answer_val", lambda run: seen.append(run.plan.data) or original(run)
    )
    listening = Listening()
    record = train_run(unsplit, tiny(), tmp_path / "run", reporter=listening)
    assert any("5 folds score every image" in note for note in listening.notes)
    learnt, scored = ([set(data.ids(split)) for data in seen] for split in ("train", "val"))
    assert all(not a & b and len(a | b) == 24 for a, b in zip(learnt, scored, strict=True))
    assert sorted(name for names in scored for name in names) == sorted(record.predictions.ids)

    predictions, result = record.predictions, record.result
    assert (predictions.splits == "test").all()
    right = predictions.predicted == predictions.labels
    assert result["test_accuracy"] == result["folds"]["accuracy"] == right.mean()
    assert result["folds"]["low"] < right.mean() <= result["folds"]["high"]
    assert result["val_accuracy"] is None
    assert record.embeddings("train").shape[0] == 24
    assert len(predictions.learnt) == 24
    assert (record.folder / "model.safetensors").exists()
    assert not (record.folder / folds.FOLDS).exists()
    assert " --folds " not in record.command()  # it is what comes of saying nothing


def test_data_without_test_is_scored_by_folds_of_train_and_val(split_folders, tiny, tmp_path):
    data, listening = tmp_path / "data", Listening()
    shutil.copytree(split_folders, data, ignore=shutil.ignore_patterns("test"))
    record = train_run(data, tiny(epochs=1), tmp_path / "run", reporter=listening)
    assert {path.split("/")[0] for path in record.predictions.paths} == {"train", "val"}
    assert record.result["folds"]["folds"] == 5
    said = "the data has no test images, so 5 folds score every image; a test split is scored"
    assert any(note.startswith(said) for note in listening.notes)
    assert " --folds " not in record.command()
    with pytest.raises(DataError, match=r"add a test split, or let folds .*--folds 5"):
        train_run(data, tiny(**{"data.folds": 0}), tmp_path / "other")
    study = tmp_path / "study.toml"
    study.write_text('title = "t"\nabout = "a"\nbaseline = "a"\n[arms.a]\n[arms.b]\nlr = 0.02\n')
    with pytest.raises(DataError, match=r"--folds 5 of train, best and study"):
        api.study(str(study), str(data), out=tmp_path / "study")


def test_check_says_what_becomes_of_data_without_test(split_folders, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(split_folders, data, ignore=shutil.ignore_patterns("test"))
    images, problems = api.check(data)
    assert images.notes[-1] == (
        "train and best deal these images into 5 folds, for the data has no test images; a test "
        "split is scored instead, where you add one"
    )
    assert not problems
    for settings in ({"data.folds": 0}, {"data.train_fraction": 0.5}):
        images, [problem] = api.check(data, override(RunConfig(), settings))
        assert problem.message == "there are no test images"
        assert "--folds 5" in problem.remedy
        assert not any("deal these images" in note for note in images.notes)
    shutil.rmtree(data / "val")
    (data / "train").rename(data / "test")
    [problem] = api.check(data)[1]
    assert problem.message == "there are no train images"


def test_images_of_one_group_are_in_one_fold(unsplit, tiny, tmp_path, monkeypatch):
    rows = [
        f"{kind}/{n}.png,{kind},{kind}{n // 2}" for kind in ("ant", "bee", "cat") for n in range(8)
    ]
    manifest = unsplit / "grouped.csv"
    manifest.write_text("\n".join(["path,label,group", *rows]))
    seen, original = [], folds.answer_val
    monkeypatch.setattr(
        folds, "answer_val", lambda run: seen.append(run.plan.data.images) or original(run)
    )
    train_run(manifest, override(tiny(epochs=1), {"data.folds": 3}), tmp_path / "run")
    manifest.unlink()
    assert len(seen) == 3
    for images in seen:
        held = {group for group, s in zip(images.groups, images.splits, strict=True) if s == "val"}
        kept = {group for group, s in zip(images.groups, images.splits, strict=True) if s != "val"}
        assert held
        assert not held & kept


def test_a_fold_without_images_is_left_out(tmp_path, tiny):
    for label, name in enumerate(["ant", "bee", "cat"]):
        (tmp_path / "few" / name).mkdir(parents=True)
        for n in range(2):
            picture(label, n).save(tmp_path / "few" / name / f"{n}.png")
    dealt = [fold_of(np.repeat([0, 1, 2], 2), folds.stream(seed, "folds", 0)) for seed in range(40)]
    seed = next(n for n, own in enumerate(dealt) if len(set(own.tolist())) < own.max() + 1)
    settings = {"data.folds": 5, "seed": seed}
    record = train_run(tmp_path / "few", override(tiny(), settings), tmp_path / "run")
    assert len(record.predictions.ids) == 6
    assert np.allclose(record.predictions.probs.sum(axis=1), 1, atol=1e-5)


def test_a_copy_among_classes_smaller_than_the_folds_is_no_obstacle(tmp_path, tiny):
    for label, name in enumerate(["ant", "bee", "cat"]):
        (tmp_path / "few" / name).mkdir(parents=True)
        for n in range(4):
            picture(label, min(n, 2)).save(tmp_path / "few" / name / f"{n}.png")
    record = train_run(tmp_path / "few", tiny(), tmp_path / "run")
    assert len(record.predictions.paths) == 12
    assert record.result["folds"]["folds"] == 5


def test_a_stopped_cross_validation_goes_on_and_gives_the_same(
    unsplit, tiny, tmp_path, monkeypatch
):
    config = tiny(**{"data.folds": 3, "data.repeats": 2})
    whole = train_run(unsplit, config, tmp_path / "whole")
    assert len(whole.result["folds"]["repeats"]) == 2
    assert "--folds 3 --repeats 2" in whole.command()
    original, count = folds.answer_val, []

    def stopping(run):
        count.append(run)
        if len(count) == 3:
            raise KeyboardInterrupt
        return original(run)

    with monkeypatch.context() as patch:
        patch.setattr(folds, "answer_val", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_run(unsplit, config, tmp_path / "stopped")
    trained = []
    monkeypatch.setattr(folds, "train_together", _counting(folds.train_together, trained))
    again = train_run(unsplit, config, tmp_path / "stopped", resume=True)
    assert len(trained) == 4  # two of six were finished
    same_numbers(whole, again)
    files = {**whole.result["files"], "epochs.jsonl": again.result["files"]["epochs.jsonl"]}
    assert again.result == {
        **whole.result, "seconds": again.result["seconds"], "files": files
    }  # fmt: skip


def _counting(original, calls):
    def counted(*arguments, **named):
        calls.append(arguments)
        return original(*arguments, **named)

    return counted


def test_the_test_split_stays_locked(split_folders, tiny, tmp_path):
    config = tiny(**{"data.folds": 2, "epochs": 1})
    record = train_run(split_folders, config, tmp_path / "run")
    names = {path.split("/")[0] for path in record.predictions.paths}
    assert names == {"train", "val"}
    assert record.config["data"]["images"] == {"train": 44, "val": 0, "test": 0}


def test_what_belongs_together_is_in_one_fold(tmp_path):
    rng = np.random.default_rng(0)
    rows, times = ["path,label,group"], {}
    for n in range(12):
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image = Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC)
        exif = Image.Exif()
        exif[271], exif[272] = "Maker", "Camera"
        # Photographs 4 to 6 were taken four seconds apart, all others minutes apart.
        second = 4 * (n - 4) if 4 <= n <= 6 else 0
        minute = 4 if 4 <= n <= 6 else n
        exif.get_ifd(0x8769)[36867] = times[n] = f"2026:01:02 10:{minute:02}:{second:02}"
        image.save(tmp_path / f"{n}.jpg", exif=exif, quality=95)
        rows.append(f"{n}.jpg,{'ab'[n % 2 if n > 6 else 0]},{'g' if n in (1, 2) else ''}")
    Image.open(tmp_path / "9.jpg").resize((70, 70)).save(tmp_path / "copy.png")
    rows.append("copy.png,b,")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    config = override(RunConfig(image_size=32), {"data.folds": 2})
    data = DataSource(tmp_path / "list.csv").prepared(config)
    listening = Listening()
    names, said, apart = families(data.images, config.data, listening)
    assert said == "7 images in 3 groups (given groups, near copies, bursts by time)"
    assert apart == ()
    at = dict(zip(data.images.paths, names, strict=True))
    assert at["1.jpg"] == at["2.jpg"]
    assert at["4.jpg"] == at["5.jpg"] == at["6.jpg"]
    assert at["9.jpg"] == at["copy.png"]
    assert len(set(names)) == 13 - 1 - 2 - 1


@pytest.fixture
def grouped(tmp_path):
    """Two classes of 10 pictures in a manifest, the first two of each class in one group."""
    rows = ["path,label,group,split"]
    for n in range(20):
        picture(n % 2, n).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{'ab'[n % 2]},{f'g{n % 2}' if n < 4 else ''},train")
    for n in range(20, 24):
        picture(n % 2, n).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{'ab'[n % 2]},,test")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    return tmp_path / "list.csv"


HEAD = {
    "image_size": 32, "trains": "classifier", "head": "probe", "data.val_fraction": 0,
    "figures.report": False, "figures.tsne": False,
}  # fmt: skip


def test_a_penalty_is_chosen_with_what_belongs_together_in_one_fold(grouped, tmp_path, monkeypatch):
    seen, original = [], stages.fit_head

    def fit_head(vectors, labels, *, groups, **others):
        assert groups is None or len(groups) == len(labels)
        seen.append(groups and len(groups) - len(set(groups)))
        return original(vectors, labels, groups=groups, **others)

    monkeypatch.setattr(stages, "fit_head", fit_head)
    record = train_run(grouped, override(RunConfig(), HEAD), tmp_path / "head")
    assert seen == [2]
    assert any("4 images in 2 groups" in line for line in record.result["findings"])
    train_run(grouped, override(RunConfig(), HEAD | {"penalty": 0.01}), tmp_path / "fixed")
    assert seen[1:] == [None]


def test_each_fold_has_the_families_of_the_whole(grouped, tmp_path, monkeypatch):
    seen, original = [], stages.fit_head

    def fit_head(*told, groups, **named):
        seen.append(groups)
        return original(*told, groups=groups, **named)

    monkeypatch.setattr(stages, "fit_head", fit_head)
    monkeypatch.setattr(stages, "families_of", None)  # they are looked for once, before
    config = {name: value for name, value in HEAD.items() if name != "data.val_fraction"}
    train_run(grouped, override(RunConfig(), config | {"data.folds": 2}), tmp_path / "run")
    *parts, whole = seen
    twice = {name for name in whole if whole.count(name) == 2}
    assert len(whole) == 20
    assert len(twice) == 2
    assert sorted(name for part in parts for name in part) == sorted(whole)
    assert all(part.count(name) in (0, 2) for part in parts for name in twice)


def test_every_fold_learns_a_class_that_was_photographed_in_one_go(tmp_path):
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / name).mkdir()
        for n in range(9):
            pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            file = f"IMG_20260102_10{'00' if name == 'a' else f'{n:02}'}{4 * n:02}.png"
            Image.fromarray(pixels).resize((96, 96)).save(tmp_path / name / file)
    config = override(RunConfig(image_size=32), {"data.folds": 3})
    data, listening = DataSource(tmp_path).prepared(config), Listening()
    names = families_of(data, config.data, listening)
    fold = fold_of(data.images.labels, np.random.default_rng(0), 3, groups=names)
    assert {*fold[data.images.labels == 0]} == {0, 1, 2}
    assert any("bursts by time of a are not kept together" in note for note in listening.notes)


def test_more_folds_than_there_are_families_are_refused(unsplit, tiny, tmp_path):
    with pytest.raises(DataError, match="30 folds need as many images"):
        train_run(unsplit, tiny(**{"data.folds": 30}), tmp_path / "run")
    assert not (tmp_path / "run").exists(), "the next try would find a run of other settings"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"data.folds": 1}, "one fold leaves nothing"),
        ({"data.repeats": 2}, "repeats is read where folds is 2 or more"),
        ({"data.folds": 3, "data.val_fraction": 0.2}, "val_fraction does not go with folds"),
        ({"data.folds": 3, "data.clean": "self"}, "clean does not go with folds"),
        ({"data.folds": 3, "keep": "best-val"}, "no val to choose by"),
        ({"data.folds": 3, "start_from": "RUN"}, "may know every image"),
    ],
)
def test_settings_that_do_not_go_with_folds_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        override(RunConfig(), settings)


def test_who_wants_splits_gets_them(unsplit, tiny, tmp_path):
    record = train_run(unsplit, tiny(**{"data.val_fraction": 0.25}), tmp_path / "run")
    assert record.config["data"]["images"]["test"] > 0
    assert "folds" not in record.result
    held_back = train_run(unsplit, tiny(**{"data.folds": 0}), tmp_path / "other")
    assert "--folds 0" in held_back.command()


def test_a_study_compares_arms_on_the_same_folds(unsplit, tmp_path):
    file = tmp_path / "study.toml"
    base = 'recipe = "course-report"\nimage_size = 32\nepochs = 1\nbatches.size = 8\n'
    file.write_text(
        'title = "t"\nabout = "a"\nseeds = 1\nbaseline = "a"\n'
        f"[base]\n{base}data.folds = 2\n[arms.a]\n[arms.b]\nlr = 0.02\n"
    )
    summary = api.study(str(file), str(unsplit), out=tmp_path / "out", execute="serial")
    assert summary.num_images == 24
    said = [note.say("en") for note in study_notes(summary)]
    assert any(note.startswith("2 folds scored each other") for note in said)
    a, b = (record for arm in summary.arms for record in arm.records)
    assert a.predictions.ids == b.predictions.ids
    assert json.loads((a.folder / "result.json").read_text())["folds"]["folds"] == 2


def _cloud(rng, centres, count):
    labels = np.repeat(np.arange(len(centres)), count)
    noise = rng.normal(size=(len(labels), centres.shape[1]))
    return (centres[labels] + noise).astype(np.float32), labels


def test_the_interval_of_few_images_covers_what_the_model_of_all_reaches():
    """8 classes of 12 images: the accuracy on new images of the probe that learnt from all."""
    classes, each, width, covered, off = 8, 12, 32, 0, []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(classes, width)) * 0.45
        (features, labels), (new, truth) = (_cloud(rng, centres, n) for n in (each, 250))
        everything = np.ones((1, len(labels)), dtype=bool)
        weights = probe(features, labels, everything, num_classes=classes, penalty=0.1)
        true = (probe_probs(new, weights)[0].argmax(axis=1) == truth).mean()
        [probs] = out_of_fold(
            features, labels, num_classes=classes, penalties=[0.1], repeats=1, seed=seed
        )
        found = cross_validated(probs.argmax(axis=1)[None] == labels, folds=5)
        covered += found.low <= true <= found.high
        off.append(found.value - true)
    assert covered >= 36  # of 40; 38 are to be expected of 95 %
    assert abs(np.mean(off)) < 0.04  # folds learn from four fifths, so a little too low
