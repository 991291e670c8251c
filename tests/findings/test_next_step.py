"""What a run's page recommends, and in which order."""

import shlex
from pathlib import Path

import pytest

from smallset.config import RunConfig, override
from smallset.files import write_json
from smallset.findings.facts import Finding
from smallset.findings.finders import by_cause
from smallset.findings.next_step import next_steps
from smallset.learn.settle import settle
from smallset.record.command import FLAGS
from smallset.record.looks import best_on_val
from smallset.record.record import Record
from smallset.words import text


def record(name="run", *, accuracy: float | None = 0.6, test=0.6, weights=None, model="plain"):
    settings = {"model": model, "head": "linear", "data": {"noise_rate": 0, "classes": ""}}
    made = Record(Path("runs") / name)
    vars(made).update(
        joined=None,
        config={"config": settings, "weights": weights,
                "data": {"source": "DATA", "images": {"train": 100, "val": 100, "test": 50}}},
        result={"val_accuracy": accuracy, "test_accuracy": test, "seconds": 60.0},
        command=lambda changes: f"smallset train DATA --model {changes['model']} --out NEW",
    )  # fmt: skip
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
    for lucky in (0.5, 0.65):  # by test alone, and by no more than chance on 100 val images
        other = record("other", accuracy=lucky, test=0.99, weights="sum", model="lite")
        assert commands(record(), [], at_hand=["next"], beside=[other])[0].endswith(
            "--model next --out NEW"
        )
    assert best_on_val([record(accuracy=0.5), better]) is better
    assert best_on_val([record(accuracy=None), better]) is None


def test_a_run_of_a_study_is_asked_for_no_other_network(tmp_path):
    (tmp_path / "study.json").touch()
    of_study = record(tmp_path / "arm/seed-0")
    better = record("other", accuracy=0.9, weights="sum", model="lite")
    assert commands(of_study, [], at_hand=["next"], beside=[better]) == [
        f"smallset predict {tmp_path}/arm/seed-0 NEW_PICTURES"
    ]


def test_a_search_that_left_networks_out_is_advised_with_more_time(tmp_path):
    asked = {"data": "DATA", "minutes": 2.0, "networks": [], "settings": {"seed": 1}}
    story = {
        "minutes": 2.0, "images": {}, "chosen": "a", "naive": 0.9, "estimate": None,
        "estimate_of": "a", "settings": {}, "finetune": None, "plain": None, "asked": asked,
        "seconds": 100.0,
        "candidates": [
            {"name": name, "cost": 1.0, "accuracy": share, "chance": share, "state": state,
             "why": ""}
            for name, share, state in (("a", 1.0, "raced"), ("b", None, "left out"))
        ],
    }  # fmt: skip
    (tmp_path / "run").mkdir()
    run = record(tmp_path / "run")
    write_json(run.folder / "best.json", story)
    first, second = next_steps(run, [], at_hand=["b"])
    assert first.command == "smallset best DATA --out NEW --minutes 6 --seed 1"
    assert first.brings.say("en").startswith("A longer search tries b, too")
    assert first.costs.say("en") == "6 minutes."
    assert second.command.startswith("smallset predict")
    story["candidates"].pop()
    write_json(run.folder / "best.json", story)
    assert len(next_steps(run, [], at_hand=["b"])) == 1


def test_small_networks_come_before_others():
    ranked = ["alexnet", "resnet18", "mobilenet_v2"]
    assert "--model mobilenet_v2" in commands(record(), [], at_hand=ranked)[0]


@pytest.mark.parametrize("settings", [
    {"loss": "mse"},
    {"loss": "triplet-cosine", "loss_args.soft_margin": True, "batches.kind": "pk"},
    {"keep": "best-val", "schedule.name": "multistep", "schedule.milestones": [3]},
    {"batches.balance": True, "augment.rotation_degrees": 10, "optim.grad_clip": 1.0},
    {"balance": "logits", "recipe": "course-report", "mirror": True},
], ids=str)  # fmt: skip
def test_the_head_advised_after_a_run_from_scratch_is_one_that_can_be_trained(settings):
    scratch = settle(override(RunConfig(), settings), is_pretrained=False)
    run = record()
    vars(run).pop("command")
    vars(run)["config"] |= {"config": scratch.model_dump(mode="json")}
    words = shlex.split(commands(run, [], at_hand=["mobilenet_v2"])[0])
    assert words[:3] == ["smallset", "train", "DATA"]
    names = {flag: name for name, flag in FLAGS.items()}
    given = {}
    for flag, value in zip(words[3:-2:2], words[4:-2:2], strict=True):
        given |= dict([value.split("=", 1)]) if flag == "--set" else {names[flag]: value}
    advised = settle(override(RunConfig(), given), is_pretrained=True)
    assert (advised.recipe, advised.model, advised.loss) == (
        "head", "mobilenet_v2", "cross-entropy"
    )  # fmt: skip
    # What was asked for is kept; the mirror image that a recipe from scratch brings is not.
    assert (advised.balance, advised.mirror) == (scratch.balance, settings.get("mirror", False))


def test_there_are_three_at_most_and_a_network_that_learnt_nothing_is_not_used():
    kinds = ("leak", "label-errors", "still-improving", "few-test-images")
    assert len(commands(record(), [[finding(kind, kind)] for kind in kinds], at_hand=["a"])) == 3
    assert commands(record(), [[finding("not-learning", "faster")]]) == ["faster"]
    assert commands(record(accuracy=1.0), [], at_hand=["a"]) == [
        "smallset predict runs/run NEW_PICTURES"
    ]
