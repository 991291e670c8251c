"""What a run's page recommends, and in which order."""

from pathlib import Path

from smallset.findings.facts import Finding
from smallset.findings.finders import by_cause
from smallset.findings.next_step import next_steps
from smallset.record.record import Record
from smallset.words import text


class Made(Record):
    """A record without a folder behind it."""

    def command(self, changes=None, *, out="NEW", exact=False):
        assert changes is not None
        return f"smallset train DATA --model {changes['model']} --out {out}"


def record(name="run", *, accuracy=0.6, weights=None, model="plain"):
    settings = {"model": model, "head": "linear", "data": {"noise_rate": 0, "classes": ""}}
    data = {"source": "DATA", "images": {"train": 100, "val": 0, "test": 50}}
    made = Made(Path("runs") / name)
    # As if the files had been read.
    made.__dict__["config"] = {"config": settings, "weights": weights, "data": data}
    made.__dict__["result"] = {"test_accuracy": accuracy, "seconds": 60.0}
    return made


def finding(kind, command, effect=None):
    return Finding(kind, "problem", text("{why}", why="w"), text("{why}", why="w"), command, (),
                   effect)  # fmt: skip


def commands(*args, **kwargs):
    return [step.command for step in next_steps(*args, **kwargs)]


def test_a_pretrained_network_at_hand_comes_first_then_one_command_for_each_cause():
    found = [finding("overfitting", "augment", 20.0), finding("confused", None),
             finding("memorised", "augment more", 8.0)]  # fmt: skip
    causes = by_cause(found)
    assert [[each.kind for each in cause] for cause in causes] == [
        ["overfitting", "memorised"],
        ["confused"],
    ]
    said = commands(record(), causes, at_hand=["lite", "other"])
    assert said == [
        "smallset train DATA --model lite --out NEW",
        "augment",
        "smallset predict runs/run NEW_PICTURES",
    ]


def test_what_was_tried_is_not_advised_again_and_a_better_run_is_pointed_at():
    tried = record("other", accuracy=0.5, weights="sum", model="lite")
    assert commands(record(), [], at_hand=["lite", "next"], beside=[tried])[0].endswith(
        "--model next --out NEW"
    )
    better = record("other", accuracy=0.9, weights="sum", model="lite")
    assert commands(record(), [], at_hand=["next"], beside=[better])[0] == (
        "smallset report runs/other"
    )


def test_there_are_three_at_most_and_a_network_that_learnt_nothing_is_not_used():
    kinds = ("leak", "label-errors", "still-improving", "few-test-images")
    assert len(commands(record(), [[finding(kind, kind)] for kind in kinds], at_hand=["a"])) == 3
    assert commands(record(), [[finding("not-learning", "faster")]]) == ["faster"]
    assert commands(record(accuracy=1.0), [], at_hand=["a"]) == [
        "smallset predict runs/run NEW_PICTURES"
    ]
