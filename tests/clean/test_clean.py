"""Wrong labels: found, judged and decided on, on features made for it and on real files."""

import csv
import json
import shutil
import sys

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from support import f1

from smallset import api
from smallset.clean import decide
from smallset.clean.decide import (
    Candidate,
    Cleaning,
    Judged,
    by_posterior,
    by_pruning,
    choose,
    judge,
)
from smallset.clean.find import _blind, find_wrong_labels
from smallset.clean.outoffold import (
    fold_of,
    neighbour_probs,
    out_of_fold,
    out_of_two_folds,
    probe,
    probe_probs,
    reduce_features,
)
from smallset.clean.posterior import Posterior, confident_joint, fit_even, fit_posterior
from smallset.cli import main
from smallset.data.read import read_data
from smallset.errors import DataError
from smallset.stats import Interval

K = 8


def clouds(per_class=60, apart=2.6, seed=0):
    """Features of K overlapping classes, and their true labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(K, 32)) * apart / np.sqrt(2)
    labels = np.repeat(np.arange(K), per_class)
    return centres[labels] * 0.4 + rng.normal(size=(len(labels), 32)), labels


def flip(labels, rate, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.choice(len(labels), round(rate * len(labels)), replace=False)
    given = labels.copy()
    given[rows] = (given[rows] + rng.integers(1, K, np.size(rows))) % K
    return given


def pairs(labels, rate, seed=0):
    """Noise between neighbours alone: half of the classes are never wrong."""
    rng = np.random.default_rng(seed)
    given = labels.copy()
    rows = rng.permutation(np.flatnonzero(labels % 2 == 0))[: round(rate * len(labels) / 2)]
    given[rows] += 1
    return given


# -- Out of fold -----------------------------------------------------------------------------------


def test_folds_hold_every_class_evenly():
    labels = np.repeat(np.arange(4), [20, 11, 7, 60])
    fold = fold_of(labels, np.random.default_rng(0))
    for k in range(4):
        counts = np.bincount(fold[labels == k], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_probes_side_by_side_are_those_of_sklearn():
    features, labels = clouds(20)
    features = reduce_features([features])
    rng = np.random.default_rng(1)
    used = rng.random((3, len(labels))) < 0.7
    probs = probe_probs(features, probe(features, labels, used, num_classes=K, penalty=0.01))
    for b in range(3):
        # sklearn minimises C * sum of losses + ||W||^2 / 2.
        own = LogisticRegression(C=1 / (0.01 * used[b].sum()), max_iter=2000, tol=1e-8)
        own.fit(features[used[b]], labels[used[b]])
        np.testing.assert_allclose(probs[b], own.predict_proba(features), atol=5e-3)


def test_a_label_has_no_part_in_its_own_probabilities():
    features, labels = clouds(12)
    features = reduce_features([features])
    changed = labels.copy()
    changed[5] = (changed[5] + 1) % K
    # The folds are dealt by label, so the other label must stand in the same fold: one image alone.
    near = [neighbour_probs(features, each, num_classes=K)[5] for each in (labels, changed)]
    np.testing.assert_array_equal(*near)
    fold = fold_of(labels, np.random.default_rng(0))
    used = (fold != fold[5])[None]
    own = [probe(features, each, used, num_classes=K, penalty=1e-3) for each in (labels, changed)]
    assert torch.equal(*own)


def test_out_of_fold_probabilities_are_means_over_models_that_never_saw_the_image():
    features, labels = clouds(10)
    features = reduce_features([features])
    penalties = [1e-3, 1e-2]
    seen = out_of_fold(features, labels, num_classes=K, penalties=penalties, repeats=2, seed=3)
    rng = np.random.default_rng(3)
    expected = np.zeros_like(seen)
    for _ in range(2):
        fold = fold_of(labels, rng)
        for f in range(5):
            for n, penalty in enumerate(penalties):
                weights = probe(features, labels, (fold != f)[None], num_classes=K, penalty=penalty)
                expected[n, fold == f] += probe_probs(features, weights)[0][fold == f] / 2
    np.testing.assert_allclose(seen, expected, atol=0.02)  # L-BFGS steps are shared


def test_neighbours_vote_as_by_loops():
    features, labels = clouds(10)
    features = reduce_features([features])
    seen = neighbour_probs(features, labels, num_classes=K, neighbours=5)
    for i in range(0, len(labels), 13):
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        order = [j for j in np.argsort(-(unit @ unit[i])) if j != i][:5]
        votes = np.bincount(labels[order], minlength=K) + 1 / K
        np.testing.assert_allclose(seen[i], votes / 6)


# -- Posterior -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_the_rate_of_wrong_labels_is_found_without_being_told(rate):
    features, labels = clouds()
    found = find_wrong_labels([features], flip(labels, rate), num_classes=K)
    estimate = found.posterior.rate
    assert estimate.value == pytest.approx(rate, abs=0.05)
    assert estimate.low <= rate + 0.02
    assert estimate.high >= rate - 0.02


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_wrong_labels_have_low_posteriors(rate):
    features, labels = clouds()
    given = flip(labels, rate)
    right = find_wrong_labels([features], given, num_classes=K).posterior.of_given(given)
    wrong = given != labels
    assert roc_auc_score(wrong, 1 - right) > 0.97
    flagged = right < 0.5
    assert 2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()) > 0.85


def test_much_noise_is_believed_where_none_fits_as_well():
    # Every image is like its class to the same degree: "87 % alike, no noise" and "sure, 13 % are
    # wrong" are equally likely.
    labels = np.repeat(np.arange(4), 50)
    looks = np.full((200, 4), 0.1)
    looks[np.arange(200), labels] = 0.7
    given = labels.copy()
    given[::8] = (given[::8] + 1) % 4
    posterior = fit_even(looks, looks, given)
    assert posterior.rate.value == pytest.approx(0.125, abs=0.01)
    np.testing.assert_array_equal(posterior.of_given(given) < 0.5, given != labels)


def test_the_penalty_is_the_one_that_tells_labels_best(monkeypatch):
    rng = np.random.default_rng(0)
    features, labels = clouds(apart=3.5)
    # Large directions that say nothing of the class: only large weights see past them.
    hidden = np.hstack([features, rng.normal(size=(len(labels), 8)) * 30])
    monkeypatch.setattr("smallset.clean.find.PENALTIES", (1e-5, 1e-1))
    assert find_wrong_labels([features], labels, num_classes=K).penalty == 1e-1
    assert find_wrong_labels([hidden], labels, num_classes=K).penalty == 1e-5


def test_the_posterior_is_the_formula_at_its_fit():
    rng = np.random.default_rng(0)
    looks = rng.dirichlet(np.ones(4), 50)
    labels = rng.integers(0, 4, 50)
    fitted = fit_even(looks, looks, labels)
    rho = fitted.rate.value
    for i in range(50):
        joint = fitted.looks[i] * np.where(np.arange(4) == labels[i], 1 - rho, rho / 3)
        np.testing.assert_allclose(fitted.probs[i], joint / joint.sum(), atol=1e-9)


# -- Decisions and the gate ------------------------------------------------------------------------


def posterior(probs, rate=0.2):
    probs = np.asarray(probs, dtype=float)
    return Posterior(
        scale=np.ones(2), flips=np.eye(probs.shape[1]), looks=probs, probs=probs,
        rate=Interval(rate, rate, rate), likelihood=-1.0, noise="even",
    )  # fmt: skip


def test_suspects_are_relabelled_where_another_class_is_clear_and_dropped_elsewhere(monkeypatch):
    monkeypatch.setattr(decide, "LEAST", 0)
    labels = np.zeros(4, dtype=int)
    probs = [[0.9, 0.1, 0.0], [0.05, 0.9, 0.05], [0.4, 0.5, 0.1], [0.1, 0.1, 0.8001]]
    cleaning = by_posterior(posterior(probs), labels)
    assert cleaning.decisions.tolist() == ["keep", "relabel", "drop", "relabel"]
    assert cleaning.labels.tolist() == [0, 1, 0, 2]
    assert cleaning.kept.tolist() == [True, True, False, True]


def test_a_class_keeps_ten_images_the_most_probable_ones():
    labels = np.array([0] * 12 + [1] * 30)
    probs = np.tile([0.5, 0.5], (42, 1))
    probs[:12] = [[0.01 * n, 1 - 0.01 * n] for n in range(12)]
    cleaning = by_posterior(posterior(probs), labels)
    stays = np.flatnonzero((cleaning.labels == 0) & cleaning.kept)
    assert stays.tolist() == list(range(2, 12))


def test_a_class_of_fewer_than_ten_images_is_left_alone():
    labels = np.array([0] * 4 + [1] * 30)
    probs = np.tile([0.1, 0.9], (34, 1))
    assert (by_posterior(posterior(probs), labels).labels[:4] == 0).all()


def test_the_confident_joint_by_loops():
    rng = np.random.default_rng(0)
    looks, labels = rng.dirichlet(np.ones(3), 200), rng.integers(0, 3, 200)
    means = [looks[labels == k, k].mean() for k in range(3)]
    counts = np.zeros((3, 3))
    for p, given in zip(looks, labels, strict=True):
        reached = [k for k in range(3) if p[k] >= means[k]]
        if reached:
            counts[given, max(reached, key=lambda k: p[k])] += 1
    expected = counts / counts.sum(axis=1, keepdims=True) * np.bincount(labels)[:, None]
    np.testing.assert_allclose(confident_joint(looks, labels), expected)


@pytest.mark.parametrize(("apart", "least"), [(2.6, 0.9), (3.5, 0.75), (6, 0.75), (12, 0.75)])
def test_noise_of_pairs_is_seen_as_such_and_found(apart, least):
    features, labels = clouds(apart=apart)
    given = pairs(labels, 0.3)
    wrong = given != labels
    found = find_wrong_labels([features], given, num_classes=K)
    assert found.posterior.noise == "by class"
    assert f1(found.posterior.of_given(given) < 0.5, wrong) > least
    assert f1(by_pruning(found.posterior, given).decisions != "keep", wrong) > 0.7
    assert [each.cleaning.name for each in found.judged] == ["posterior", "pruning"]


@pytest.mark.parametrize("rate", [0, 0.1, 0.3])
def test_even_noise_is_not_taken_for_noise_by_class(rate):
    features, labels = clouds(apart=3.5)
    found = find_wrong_labels([features], flip(labels, rate), num_classes=K)
    assert found.posterior.noise == "even"
    assert [each.cleaning.name for each in found.judged] == ["posterior"]


def test_few_numbers_are_fitted_on_some_of_many_images(monkeypatch):
    monkeypatch.setattr("smallset.clean.posterior.ENOUGH", 150)
    monkeypatch.setattr("smallset.clean.find.ENOUGH", 300)
    for noise, kind in ((flip, "even"), (pairs, "by class")):
        features, labels = clouds(apart=3.5)
        given = noise(labels, 0.2)
        posterior = find_wrong_labels([features], given, num_classes=K).posterior
        assert posterior.noise == kind
        assert posterior.probs.shape == (len(labels), K)
        assert f1(posterior.of_given(given) < 0.5, given != labels) > 0.85


def test_noise_by_class_needs_labels_that_it_was_not_fitted_on_to_say_so():
    # Labels by lot: whatever fits them best on one half says nothing of the other.
    rng = np.random.default_rng(0)
    looks, labels = rng.dirichlet(np.ones(K), 300), rng.integers(0, K, 300)
    assert fit_posterior(looks, looks, labels).noise == "even"


def test_the_posterior_by_class_is_a_distribution_that_the_label_has_a_part_in():
    features, labels = clouds(apart=3.5)
    given = pairs(labels, 0.3)
    posterior = find_wrong_labels([features], given, num_classes=K).posterior
    np.testing.assert_allclose(posterior.probs.sum(axis=1), 1, atol=1e-9)
    assert posterior.rate.low < posterior.rate.value < posterior.rate.high
    assert posterior.rate.value == pytest.approx((given != labels).mean(), abs=0.05)
    # An even class is never given as the odd one before it.
    even = posterior.probs[given % 2 == 1][:, ::2].sum(axis=1)
    odd = posterior.probs[given % 2 == 0][:, 1::2].sum(axis=1)
    assert even.mean() > 3 * odd.mean()


def test_held_out_labels_like_the_truth_better_than_noise():
    features, labels = clouds(apart=3.5)
    given = flip(labels, 0.4)
    keep = np.full(len(labels), "keep", dtype=object)
    oracle = Cleaning("oracle", keep, labels)
    rng = np.random.default_rng(9)
    worse = Cleaning("worse", keep, flip(given, 0.6, seed=5))
    half = Cleaning("half", np.where(rng.random(len(labels)) < 0.85, "drop", "keep"), given)
    reduced = reduce_features([features])
    fold = fold_of(given, rng)

    def without_fold(cleaning):
        rows = [np.flatnonzero(fold != number) for number in range(5)]
        parts = [Cleaning("", cleaning.decisions[r], cleaning.labels[r]) for r in rows]
        return Candidate(cleaning, parts)

    candidates = [without_fold(each) for each in (oracle, worse, half)]
    judged = judge(reduced, given, fold, candidates, num_classes=K, penalty=1e-3)
    assert judged[0].over_first == Interval(0, 0, 0)
    assert judged[1].over_first.high < 0
    assert judged[0].gain.low > 0
    assert judged[1].gain.high < 0
    assert judged[2].gain.value < judged[0].gain.value


def test_the_gate_takes_what_is_proven_and_else_what_does_no_harm():
    def judged(name, value, over, wide=0.01):
        nothing = Cleaning(name, np.array([], dtype=object), np.array([], dtype=int))
        gain = Interval(value, value - wide, value + wide)
        return Judged(nothing, gain, Interval(over, over, over))

    first, better = judged("posterior", 0.001, 0), judged("pruning", 0.02, 0.01)
    assert choose([first, better]) is better
    assert choose([first, judged("pruning", 0.02, -0.01)]) is first
    assert choose([judged("posterior", -0.001, 0, wide=0.05)]) is None
    assert choose([harmless := judged("posterior", -0.004, 0, wide=0.015)]) is harmless
    assert choose([judged("posterior", -0.004, 0, wide=0.017)]) is None
    assert choose([]) is None
    assert choose([judged("posterior", -0.02, 0), judged("pruning", -0.01, 0.01)]) is None


@pytest.mark.parametrize("num_classes", [4, 35])
@pytest.mark.parametrize("rate", [0, 0.2])
def test_features_that_say_nothing_of_the_classes_decide_nothing(num_classes, rate):
    rng = np.random.default_rng(1)
    labels = np.arange(60 * num_classes) % num_classes
    given = np.where(
        rng.random(len(labels)) < rate, rng.integers(num_classes, size=len(labels)), labels
    )
    found = find_wrong_labels([rng.normal(size=(len(labels), 64))], given, num_classes=num_classes)
    assert found.is_weak
    assert found.accuracy == pytest.approx(1 / num_classes, abs=0.1)
    assert found.chosen is None
    assert found.judged == ()
    assert found.rounds == 0


def test_the_gate_is_not_fooled_by_images_relabelled_by_their_neighbours(monkeypatch):
    # Features that say nothing, every label "wrong", and every image relabelled: a gate whose
    # cleanings knew the labels that score them takes this for a gain of 20 points.
    monkeypatch.setattr("smallset.clean.find.LEAST_SKILL", -np.inf)
    monkeypatch.setattr("smallset.clean.posterior.MOST", 1.0)
    rng = np.random.default_rng(0)
    given = rng.permutation(np.arange(1050) % 35)
    found = find_wrong_labels([rng.normal(size=(1050, 64))], given, num_classes=35)
    [judged] = found.judged
    assert (judged.cleaning.decisions != "keep").mean() > 0.5
    assert judged.gain.value < 0.03


def test_a_judge_of_some_use_decides():
    features, labels = clouds()
    found = find_wrong_labels([features], flip(labels, 0.3), num_classes=K)
    assert not found.is_weak
    assert 0.5 < found.accuracy < 0.75


def test_the_gate_is_blind_to_the_labels_it_scores():
    # What a held-out label says must not be known to the images that are trained on: here the
    # labels of a fold are all changed, and what the models of that fold are taught stays the same.
    features, labels = clouds()
    given, fold = flip(labels, 0.3), fold_of(labels, np.random.default_rng(0))
    other = np.where(fold == 2, (given + 1) % K, given)
    reduced = reduce_features([features])
    best = find_wrong_labels([features], given, num_classes=K).posterior
    before, after = (_blind(reduced, known, fold, best, penalty=1e-3) for known in (given, other))
    np.testing.assert_allclose(before[2].probs, after[2].probs, atol=0.03)  # as far as L-BFGS goes
    assert np.abs(before[1].looks - after[1].looks).max() > 0.1
    assert before[2].probs.shape == ((fold != 2).sum(), K)


def test_models_out_of_two_folds_saw_neither():
    features, labels = clouds(per_class=15)
    reduced, fold = reduce_features([features]), fold_of(labels, np.random.default_rng(0))
    blind = out_of_two_folds(reduced, labels, fold, num_classes=K, penalty=1e-2)
    weights = probe(reduced, labels, ((fold != 1) & (fold != 3))[None], num_classes=K, penalty=1e-2)
    [alone] = probe_probs(reduced, weights)
    np.testing.assert_allclose(blind[1, fold == 3], alone[fold == 3], atol=2e-3)
    np.testing.assert_allclose(blind[3, fold == 1], alone[fold == 1], atol=2e-3)
    assert not blind[1, fold == 1].any()


def test_a_clean_set_is_hardly_touched():
    features, labels = clouds(apart=3.5)
    found = find_wrong_labels([features], labels, num_classes=K)
    assert found.posterior.rate.high < 0.03
    changed = 0 if found.chosen is None else (found.chosen.cleaning.decisions != "keep").sum()
    assert changed < 0.02 * len(labels)


# -- The folder ------------------------------------------------------------------------------------


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
    assert probabilities == sorted(probabilities)
    about = json.loads((folder / "clean.json").read_text())
    assert about["suspects"] == sum(p < 0.5 for p in probabilities)
    after = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in split_folders.rglob("*.png")}
    assert after == before


def test_the_labels_of_chosen_splits_are_judged(cleaned):
    folder, said, _ = cleaned("--splits", "train")
    assert {row["path"].split("/")[0] for row in rows_of(folder)} == {"train"}
    assert "32 labels of train\n" in said.out


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
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
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
    about = json.loads((folder / "clean.json").read_text())
    (folder / "clean.json").write_text(json.dumps(about | {"data": str(copy)}))
    read_data(folder)
    shutil.rmtree(copy / "train/cat")
    (copy / "train/cat").mkdir()
    with pytest.raises(DataError, match=r"train/cat/.* is missing in .*run smallset clean again"):
        read_data(folder)


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
    assert "holds files already" in said.err


def test_clean_leaves_a_page_of_its_suspects(cleaned, split_folders, browser):
    folder, said, _ = cleaned("--noise", "0.2", "--lang", "en")
    suspects = [row for row in rows_of(folder) if float(row["probability"]) < 0.5]
    assert f"page:     {folder / 'report.html'}" in said.out
    page = browser.new_page()
    complaints = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto((folder / "report.html").as_uri())
    page.wait_for_selector("html[data-ready=yes]")
    about = json.loads((folder / "clean.json").read_text())
    assert page.inner_text(".big") == f"{about['rate']['value']:.1%}"
    tiles = page.locator("#gallery .tile")
    assert tiles.count() == len(suspects)
    for n, row in enumerate(suspects):
        assert row["given"] in tiles.nth(n).inner_text()
        assert tiles.nth(n).locator("img").get_attribute("src").startswith("data:image/webp")
    assert "20% of the labels were made wrong" in page.inner_text("#headline")
    given = [int(cell) for cell in page.locator("#class-table td:nth-child(2)").all_inner_texts()]
    assert sum(given) == 32 + 12 + 8
    page.close()
    assert complaints == []


def test_a_weak_judge_says_so_and_guesses_no_rate(cleaned, browser):
    folder, said, _ = cleaned("--noise", "0.9", "--lang", "en")
    assert json.loads((folder / "clean.json").read_text())["is_weak"]
    assert "wrong labels: cannot tell" in said.out
    assert "judge:    too weak to decide" in said.out
    assert "decided:  change nothing" in said.out
    assert {row["decision"] for row in rows_of(folder)} == {"keep"}
    page = browser.new_page()
    page.goto((folder / "report.html").as_uri())
    assert page.inner_text(".big") == "?"
    assert "too weak to decide" in page.inner_text("#decided")


def test_a_cleaning_of_an_older_version_still_has_its_page(cleaned):
    folder, _, _ = cleaned()
    about = json.loads((folder / "clean.json").read_text())
    for later in ("splits", "is_weak", "accuracy"):
        del about[later]
    (folder / "clean.json").write_text(json.dumps(about))
    [page] = api.report(folder)
    assert "<b>train</b>" in page.read_text(encoding="utf-8")


def test_the_page_tells_what_was_decided_by_hand(cleaned, browser):
    folder, _, _ = cleaned("--noise", "0.2")
    rows = rows_of(folder)
    rows[0] |= {"decision": "relabel", "suggested": "dog", "by": "ann"}
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
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
