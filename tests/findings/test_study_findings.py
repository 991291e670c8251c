"""What is said of a study, from run findings and comparisons made for it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import numpy as np

from smallset.compare.family import Looked
from smallset.compare.leader import find_leader
from smallset.compare.spec import StudySpec
from smallset.compare.summary import Arm, Comparison, Summary
from smallset.findings.facts import Finding
from smallset.findings.finders import KINDS
from smallset.findings.headline import headline
from smallset.findings.in_study import find_in_study
from smallset.findings.in_words import in_words, study_notes
from smallset.paired import PairedResult
from smallset.record.record import Record
from smallset.stats import Interval, luck_of_arms
from smallset.words import joined, text


def arm(name, *seen):
    """An arm; each of its seeds is named after what is found in it."""
    records = tuple(told(Record(Path(each))) for each in seen)
    correct = np.ones((len(seen), 1400))
    ids = tuple(map(str, range(1400)))
    return Arm(name, tuple(range(len(seen))), records, ids, correct, None, Interval(1.0, 1.0, 1.0))


def told(record, val=(0.5, 0.5), *, images=100, lr=(), **data):
    """Make a record of so many training images, trained for an epoch per score on 100 of val."""
    lines = [
        {"stage": 0, "lr": rate, "val_accuracy": score, "val_loss": 2.0 - score}
        for score, rate in zip(val, lr or [0.01] * len(val), strict=True)
    ]
    data = {"noise_rate": 0.0, "train_fraction": 1.0, **data}
    vars(record).update(
        history=lines,
        config={"data": {"images": {"train": images}}, "config": {"data": data}},
        result={"seconds": 60.0 * len(val)},
        predictions=SimpleNamespace(chance=0.5, splits=np.array(["val"] * 100 + ["test"] * 1400)),
    )
    return record


def found(arms, comparisons=(), failed=(), *, looked_at=()):
    missing = {name for pair in comparisons for name in pair[:2]} - {each.name for each in arms}
    arms = (*arms, *(arm(name, "none") for name in sorted(missing)))
    pairs = tuple((each.arm, each.against) for each in comparisons)
    spec = StudySpec(
        title="t", about="a", baseline="a", arms={n: {} for n in ("a", *(a.name for a in arms))},
        comparisons=pairs,
    )  # fmt: skip
    called = ("smallset", "study", "rates", "--data", "DATA", "--set", "image_size=48")
    family = tuple(Looked(each.arm, each.against, looked_at) for each in comparisons)
    return Summary(
        Path("OUT"), "rates", spec, 3, arms, comparisons, family, None, failed, {}, called
    )


def finding(kind, level: Literal["problem", "hint"] = "problem"):
    return Finding(
        kind, level, text(KINDS[kind].title.template), text("{why}", why="w"), f"do {kind}", ()
    )


def compared(points, verdict, *, needed_seeds=None, needed_images=None, detectable=3.0, within=5.0):
    return PairedResult(
        Interval(points / 100, -within / 100, within / 100), 0.2, 0.2, verdict, 0.02, 9.0, 1,
        detectable / 100, 0.2, needed_seeds, needed_images,
    )  # fmt: skip


def test_a_finding_of_most_seeds_is_one_of_the_arm():
    arms = (
        arm("triplet", "collapse", "collapse", "none"),
        arm("plain", "none", "none", "one-class"),
    )

    def look(record):
        kind = record.folder.name
        return [] if kind == "none" else [finding(kind)]

    [one] = find_in_study(found(arms), look=look)
    assert one.kind == "collapse"
    [(name, line)] = one.lines
    assert name == "triplet"
    assert line.say("en").endswith("(2 of 3 seeds)")
    assert one.command == "do collapse"


def of_seeds(*seen):
    """Return what a study says of an arm whose seeds each have one finding."""
    by_seed = {str(n): each for n, each in enumerate(seen)}
    [one] = find_in_study(
        found((arm("a", *by_seed),)), look=lambda record: [by_seed[record.folder.name]]
    )
    return [line.say("en") for _, line in one.lines]


def test_numbers_that_differ_between_seeds_are_given_as_their_range():
    def promised(said, true, how="high"):
        template = f"Too {how}: {{said:.0%}} on average, but {{true:.0%}} of {{count}} are right."
        sentence = text(template, said=said, true=true, count=1400)
        return finding("miscalibrated")._replace(sentence=sentence)

    assert of_seeds(promised(0.44, 0.549), promised(0.44, 0.58), promised(0.44, 0.567)) == [
        "Too high: 44% on average, but 55\N{EN DASH}58% of 1400 are right. (3 of 3 seeds; numbers "
        "from the lowest to the highest of them)"
    ]
    assert of_seeds(promised(0.44, 0.55), promised(0.44, 0.55)) == [
        "Too high: 44% on average, but 55% of 1400 are right. (2 of 2 seeds)"
    ]
    two_ways = of_seeds(promised(0.6, 0.5), promised(0.4, 0.5, "low"), promised(0.3, 0.5, "low"))
    assert [line.split(":")[0] for line in two_ways] == ["Too high", "Too low"]
    assert two_ways[0].endswith("(1 of 3 seeds)")
    assert "30\N{EN DASH}40% on average" in two_ways[1]
    assert "(2 of 3 seeds; numbers" in two_ways[1]


def test_pairs_are_those_that_the_seeds_share_and_else_the_seed_is_named():
    def confusing(*pairs):
        named = tuple(text("{a} and {b}", a=a, b=b) for a, b in pairs)
        sentence = text("Often confused: {names}.", names=joined(named[:4]))
        return finding("confused")._replace(sentence=sentence, named=named)

    first = confusing("ab", "cd", "ef")
    assert of_seeds(first, confusing("ef", "gh", "cd")) == [
        "Often confused: c and d, e and f. (2 of 2 seeds; only what all of them share is named)"
    ]
    assert of_seeds(first, first) == ["Often confused: a and b, c and d, e and f. (2 of 2 seeds)"]
    many = [confusing(*(f"{k}x" for k in order)) for order in ("bcdefghi", "ihgfedcb")]
    assert "e and x, f and x, g and x, and 2 more." in of_seeds(*many)[0]
    assert of_seeds(first, confusing("gh")) == [
        "Often confused: a and b, c and d, e and f. (2 of 2 seeds; this is seed 0, the others "
        "differ in what they name)"
    ]


def test_what_to_try_next_comes_from_a_run_that_has_not_done_it():
    def look(record):
        command = None if record.folder.name == "did" else "do"
        return [finding("collapse")._replace(command=command)]

    [one] = find_in_study(found((arm("a", "did", "did"), arm("b", "did", "not"))), look=look)
    assert one.command == "do"
    [one] = find_in_study(found((arm("a", "did"),)), look=look)
    assert one.command is None


def test_a_study_where_nothing_is_wrong_has_no_findings():
    pairs = (Comparison("a", "b", 3, compared(9, "better")),)
    assert find_in_study(found((arm("a", "x"),), pairs), look=lambda record: []) == []


def test_rates_that_cannot_be_told_apart_are_named_with_what_would_tell():
    """The report's 0.005 against 0.01: 44.71 and 47.43 % of 1,400 images, one seed each."""
    pairs = (
        Comparison(
            "lr-0.01", "lr-0.005", 1,
            compared(2.7, "cannot tell", needed_images=2600, detectable=3.9),
        ),
        Comparison("lr-0.1", "lr-0.005", 1, compared(-9, "worse")),
    )  # fmt: skip
    [one] = find_in_study(found((arm("a", "x"),), pairs), look=lambda record: [])
    assert one.kind == "cannot-tell"
    assert one.sentence.say("en").startswith("1 of 2 differences cannot be told from luck")
    [(names, line)] = one.lines
    assert names == "lr-0.01 / lr-0.005"
    said = line.say("en")
    assert "+2.7 points; 1,400 test images with one seed can show 3.9 or more" in said
    assert "2,600 test images would settle it" in said
    assert one.command is None


def test_seeds_that_would_settle_it_are_the_next_command():
    pairs = (Comparison("a", "b", 3, compared(2, "cannot tell", needed_seeds=8)),
             Comparison("c", "b", 3, compared(1, "cannot tell", needed_seeds=500)))  # fmt: skip
    [one] = find_in_study(found((arm("a", "x"),), pairs), look=lambda record: [])
    assert one.command == (
        "smallset study rates --data DATA --set image_size=48 --out OUT --seeds 8"
    )


def test_problems_come_before_hints_and_failures_first():
    failed = (("a/seed-1", "Traceback\nRunError: exploded"),)
    all_found = find_in_study(
        found((arm("a", "x"),), failed=failed),
        look=lambda record: [finding("confused", "hint"), finding("overfitting")],
    )
    assert [f.kind for f in all_found] == ["failed", "overfitting", "confused"]
    assert all_found[0].lines[0][1].say("en") == "RunError: exploded"


def test_what_is_practically_equal_needs_no_more_images():
    pairs = (
        Comparison(
            "a", "b", 3,
            compared(0.1, "cannot tell", needed_seeds=9, needed_images=818_525, within=0.6),
        ),
    )  # fmt: skip
    assert find_in_study(found((arm("a", "x"),), pairs), look=lambda record: []) == []
    assert in_words(found((arm("a", "x"),), pairs))[0].say("en") == (
        "a is practically equal to b: +0.1 points of test accuracy (95% interval -0.6 to +0.6; "
        "p = 0.2; 1,400 test images with 3 seeds)."
    )


def test_one_seed_is_put_into_words_about_networks_and_not_about_settings():
    pairs = (Comparison("a", "b", 1, compared(9, "these two networks differ")),)
    of_networks, method = (said.say("en") for said in in_words(found((arm("a", "x"),), pairs)))
    assert of_networks.startswith("One trained network of a differs from one of b: +9.0 points")
    assert of_networks.endswith("This says nothing of the two settings.")
    assert "better" not in of_networks
    assert method == (
        "Method: paired t tests over the test images, with a correction for continuity. All arms "
        "were trained for 2 epochs."
    )


def test_claims_say_what_they_are_held_against():
    pairs = tuple(Comparison(a, "b", 3, compared(9, "better", within=20)) for a in "ac")
    *_, method = in_words(found((arm("a", "x"),), pairs, looked_at=(2, 3, 5)))
    said = method.say("en")
    assert "corrected for 2 comparisons (Bonferroni)" in said
    assert "allow for 3 looks (p times its square)." in said
    assert "校正" in method.say("zh")
    won = [said.say("en").split(":")[0] for said in in_words(found((arm("a", "x"),), pairs))[:2]]
    assert won == ["a is better than b", "c is better than b"]
    lost = (Comparison("a", "b", 3, compared(-9, "worse")),)
    assert (
        in_words(found((arm("a", "x"),), lost))[0].say("en").startswith("a is worse than b: -9.0")
    )
    unclear = (Comparison("a", "b", 3, compared(2, "cannot tell")),)
    [said, _] = in_words(found((arm("a", "x"),), unclear))
    assert said.say("en").startswith("a cannot be told from b: +2.0 points")


def led(accuracies, comparisons=(), *, seeds=3):
    """A study whose arms are right about so many of 1,400 images, with every seed the same."""
    arms = []
    for name, accuracy in accuracies.items():
        correct = np.repeat((np.arange(1400) < 1400 * accuracy)[None], seeds, axis=0).astype(float)
        shown = Interval(accuracy, accuracy - 0.02, accuracy + 0.02)
        arms.append(replace(arm(name, *"x" * seeds), correct=correct, accuracy=shown))
    lucks = luck_of_arms([a.correct for a in arms])
    arms = [replace(each, luck=luck) for each, luck in zip(arms, lucks, strict=True)]
    return found(tuple(arms), tuple(comparisons))


def lines_of(summary):
    return [said.say("en") for said in headline(summary)]


def test_the_headline_answers_first_what_was_asked():
    pairs = (
        Comparison("a", "z", 3, compared(9, "better")),
        Comparison("b", "z", 3, compared(-2, "worse")),
        Comparison("c", "z", 3, compared(-20, "worse")),
        Comparison("d", "y", 3, compared(2, "cannot tell")),
        Comparison("e", "y", 3, compared(0.1, "cannot tell", within=0.6)),
    )
    shares = {"z": 0.8, "a": 0.89, "b": 0.78, "c": 0.6, "y": 0.7, "d": 0.72, "e": 0.701}
    assert lines_of(led(shares, pairs))[0] == (
        "Better than z: a (+9.0 points). Worse than z: c (-20.0 points), b (-2.0 points). "
        "Practically equal to y: e (+0.1 points). Cannot be told from y: d (+2.0 points)."
    )
    none, *_ = lines_of(led(shares, pairs[1:]))
    assert none.startswith("No arm is shown to be better than the one it is compared with. Worse")
    one_seed = Comparison("a", "b", 1, compared(9, "these two networks differ"))
    [networks, *_] = lines_of(led({"a": 0.9, "b": 0.8}, [one_seed], seeds=1))
    assert "says nothing of the settings" in networks
    assert "better" not in networks
    extra = replace(led(shares, pairs), comparisons=(*pairs, Comparison("a", "b", 3, pairs[0][3])))
    assert "b:" not in " ".join(lines_of(extra))  # asked for later, not by the study
    assert lines_of(found(())) == ["No run of this study is finished yet."]


def test_the_highest_arm_is_named_after_the_answers():
    first = Comparison("a", "c", 3, compared(20, "better", within=20))
    answer, highest, alike = lines_of(led({"a": 0.9, "b": 0.898, "c": 0.7}, [first]))
    assert answer == "Better than c: a (+20.0 points)."
    assert "of 3 arms, a has the highest test accuracy: 90.0%" in highest.lower()
    assert highest.endswith("The second, b (0.1 points behind), cannot be told from it.")
    assert alike == "All arms were trained for 2 epochs."
    [highest, _] = lines_of(led({"a": 0.9, "b": 0.8, "c": 0.7}))
    assert highest.startswith(
        "Of 3 arms, a has the highest test accuracy: 90.0% (95% interval 88.3%"
    )
    assert highest.endswith("The second, b, is 10.0 points behind, more than luck explains.")
    _, known, _ = lines_of(
        led({"a": 0.9, "b": 0.8}, [Comparison("a", "b", 3, compared(9, "better"))])
    )
    assert known.endswith("91.5%).")  # the answer has said how far b is behind


def test_the_luck_of_being_the_highest_is_taken_off():
    rng = np.random.default_rng(0)
    summary = led(dict.fromkeys("abcdefgh", 0.5))
    guessed = tuple(
        replace(each, correct=(rng.random((3, 200)) < 0.5).astype(float)) for each in summary.arms
    )
    shown = tuple(
        replace(each, accuracy=Interval(each.correct.mean(), 0.4, 0.6)) for each in guessed
    )
    [highest, _] = lines_of(replace(summary, arms=shown))
    assert "The highest of several is partly luck; without it, 5" in highest


def given(summary, **data):
    """Give arms settings of the data: data[name] is (setting, value)."""
    for each in summary.arms:
        for record in each.records:
            told(record, **dict([data[each.name]] if each.name in data else []))
    return summary


def test_arms_of_unequal_tasks_are_not_ranked_with_each_other(monkeypatch):
    shares = {"a-10": 0.9, "b-10": 0.8, "a-30": 0.7, "b-30": 0.6, "a-50": 0.5}
    noise = {name: ("noise_rate", int(name[2:]) / 100) for name in shares}
    families: list[int | None] = []

    def leader(*arms, of):
        families.append(of)
        return find_leader(*arms, of=of)

    monkeypatch.setattr("smallset.findings.headline.find_leader", leader)
    low, high, _ = lines_of(given(led(shares), **noise))
    assert families == [5, 5]  # what is said of one task holds together with the others
    assert low.startswith("Of the 2 arms with 10% wrong training labels, a-10 has the highest")
    assert high.startswith("Of the 2 arms with 30% wrong training labels, a-30 has the highest")
    fractions = given(led({"all": 0.9, "half": 0.8}), half=("train_fraction", 0.5))
    said, *_ = lines_of(fractions)
    assert said == (
        "No arm is called the best: they were given different data (data.train_fraction)."
    )


def test_arms_that_guess_are_named():
    arms = []
    for name, accuracy in (("low", 0.6), ("high", 0.9)):
        arms.append(
            replace(arm(name, "x"), accuracy=Interval(accuracy, accuracy - 0.2, accuracy + 0.05))
        )
    said = [note.say("en") for note in study_notes(found(tuple(arms)))]
    assert "Not shown to be better than guessing the most frequent class (50.0%): low." in said


def trained(curves, comparisons=(), **lr):
    """A study of arms with three seeds each, which rose on val as told."""
    summary = led(dict.fromkeys(curves, 0.5), comparisons)
    for each in summary.arms:
        for record, val in zip(each.records, curves[each.name], strict=True):
            told(record, val, **lr)
    return summary


def test_what_is_said_of_arms_says_how_far_they_were_trained():
    pair = Comparison("a", "b", 3, compared(-9, "worse"))
    flat, rising = [[0.5, 0.5, 0.5]] * 3, [[0.2, 0.35, 0.5]] * 3
    both = trained({"a": rising, "b": rising}, [pair])
    assert lines_of(both)[-1] == (
        "All arms were trained for 3 epochs. a and b were still improving on val when training "
        "ended: longer training may change these results."
    )
    words, method = [said.say("en") for said in in_words(both)]
    assert words.endswith(
        "a and b were still improving on val when training ended: longer training may change these "
        "results."
    )
    assert method.endswith("All arms were trained for 3 epochs.")
    one = trained({"a": rising, "b": flat, "c": flat}, [pair])
    assert "b was" not in lines_of(one)[-1]
    assert "a was still improving on val when training ended" in lines_of(one)[-1]
    done = trained({"a": flat, "b": flat}, [pair])
    assert "improving" not in " ".join([*lines_of(done), in_words(done)[0].say("en")])
    everything = trained(dict.fromkeys("abc", rising), [pair])
    assert "All of them were still improving" in lines_of(everything)[-1]


def test_what_longer_training_gave_is_part_of_a_difference():
    pair = Comparison("long", "short", 3, compared(9, "better"))
    unequal = trained({"long": [[0.5] * 4] * 3, "short": [[0.5] * 2] * 3}, [pair])
    assert lines_of(unequal)[-1].startswith(
        "The arms were not trained alike: long saw 400 images (epochs times training images)"
    )
    assert in_words(unequal)[0].say("en").endswith(
        "long saw 2 times as many images in training as short."
    )  # fmt: skip


def test_an_arm_is_still_improving_where_the_mean_of_its_seeds_is():
    up, down = [0.2, 0.4, 0.5], [0.35, 0.3, 0.5]
    lr = (0.01, 0.01, 0.001)
    curves = {"a": [up, up, down], "b": [up, down, down]}
    [one] = find_in_study(trained(curves, lr=lr), look=lambda record: [])
    assert (one.kind, one.command) == ("still-improving", None)
    [(name, line)] = one.lines
    assert name == "a"
    said = line.say("en")
    assert said.startswith("Accuracy on val still rose by 11.7 points")
    assert said.endswith("(mean over 3 seeds)")
