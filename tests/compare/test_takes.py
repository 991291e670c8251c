"""What a study is said to take follows what is asked for."""

import pytest

from smallset import compute
from smallset.compare.spec import StudySpec, built_in_studies
from smallset.compare.takes import takes

STUDY = {
    "title": "t", "about": "a", "baseline": "a", "seeds": 3, "epoch_seconds": [10, 40],
    "takes": "on a GPU minutes", "base": {"recipe": "course-report", "epochs": 4},
    "arms": {"a": {"lr": 0.1}, "b": {"image_size": 64, "epochs": 8}, "c": {"model": "resnet18"}},
}  # fmt: skip


@pytest.fixture(autouse=True)
def _has_bfloat16(monkeypatch):
    monkeypatch.setattr(compute, "has_bfloat16", lambda _: True)


def test_the_time_is_that_of_this_machine(monkeypatch):
    spec, float32 = StudySpec.model_validate(STUDY), {"compute.precision": "float32"}
    said = takes(spec, seeds=3, overrides=float32)
    assert "about 24 min on two cores (float32)" in said
    monkeypatch.setattr(compute, "has_bfloat16", lambda _: False)
    said = takes(spec, seeds=3, overrides={})
    assert "about 24 min on two cores (bfloat16, which this machine has not)" in said
    assert "6 min" not in said


def test_one_of_something_is_singular():
    spec = StudySpec.model_validate(STUDY).only(["a", "c"])
    said = takes(spec, seeds=1, overrides={})
    assert said.startswith("2 arms x 1 seed, 2 runs of 4 epochs where 1 arm trains by them;")


@pytest.mark.parametrize(
    ("seeds", "overrides", "said"),
    [
        # 3 seeds x (4 + 8) epochs; the frozen network has none.
        (3, {}, "3 arms x 3 seeds, 9 runs of 4 to 8 epochs where 2 arms train by them; "
         "about 6 min on two cores (bfloat16, which this machine has); on a GPU minutes"),
        (1, {}, "about 2 min on two cores (bfloat16, which this machine has)"),
        (1, {"epochs": 2}, "3 runs of 2 epochs where 2 arms train by them; about 40 s on"),
        (1, {"data.train_fraction": 0.5}, "about 60 s on"),
        # Half of 112 px takes a quarter of the time, 56 of 64 px 49 of 64.
        (1, {"image_size": 56}, f"about {10 * (4 / 4 + 8 * 49 / 64):.0f} s on"),
        (2, {"model": "residual"}, "6 runs of 4 to 8 epochs; on a GPU minutes"),
    ],
)  # fmt: skip
def test_it_follows_seeds_and_settings(seeds, overrides, said):
    spec = StudySpec.model_validate(STUDY)
    assert said in takes(spec, seeds=seeds, overrides=overrides)


def test_the_epochs_are_those_of_the_recipe():
    spec = StudySpec.model_validate(STUDY | {"base": {"recipe": "quick"}, "arms": {"a": {}}})
    assert "1 run of 36 epochs; about 6 min on" in takes(spec, seeds=1, overrides={})


def test_arms_that_are_left_out_take_nothing():
    spec = StudySpec.model_validate(STUDY).only(["a"])
    assert "1 arm x 3 seeds, 3 runs of 4 epochs; about 2 min on" in takes(
        spec, seeds=3, overrides={}
    )


def test_the_built_in_studies_take_what_was_measured():
    specs = built_in_studies()
    whole = {name: takes(spec, seeds=spec.seeds, overrides={}) for name, spec in specs.items()}
    assert "about 45 min on two cores (bfloat16, which this machine has)" in whole["losses"]
    assert "27 runs of 20 to 30 epochs; about 55 min on" in whole["noise"]
    assert "where 3 arms train by them; about 30 min on" in whole["models"]
