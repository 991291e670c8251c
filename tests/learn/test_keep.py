"""Which weights stay: the last ones, or the best on val."""

import numpy as np
import pytest

from smallset.config import override
from smallset.errors import DataError
from smallset.learn import training
from smallset.learn.run import train_run


@pytest.fixture
def unsteady(split_folders, tmp_path, tiny):
    """A rate at which val goes up and down, and the first seed whose best epoch is not the last."""
    for seed in range(20):  # which one it is depends on how this processor rounds
        config = tiny(epochs=5, lr=0.5, seed=seed)
        record = train_run(split_folders, config, tmp_path / f"seed-{seed}")
        val = [line["val_accuracy"] for line in record.history]
        if max(val) > val[-1]:
            return config
    pytest.fail("no seed has its best epoch before the last")


def test_the_weights_of_the_best_epoch_on_val_stay(split_folders, tmp_path, unsteady):
    keep_best = override(unsteady, {"keep": "best-val"})
    last = train_run(split_folders, unsteady, tmp_path / "last")
    best = train_run(split_folders, keep_best, tmp_path / "best")
    val = [line["val_accuracy"] for line in best.history]
    assert [line["val_accuracy"] for line in last.history] == val
    assert max(val) > val[-1]
    assert best.result["epoch"] == val.index(max(val))
    assert best.result["val_accuracy"] == max(val)
    assert last.result["epoch"] == 4 > best.result["epoch"]
    assert last.result["val_accuracy"] == val[-1]


@pytest.mark.parametrize("after", [2, 3, 4])
def test_a_stopped_run_keeps_its_best_epoch(split_folders, tmp_path, unsteady, monkeypatch, after):
    config = override(unsteady, {"keep": "best-val"})
    whole = train_run(split_folders, config, tmp_path / "whole")
    original, saved = training.save_checkpoint, []

    def stop(*args, **kwargs):
        original(*args, **kwargs)
        saved.append(1)
        if len(saved) == after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "save_checkpoint", stop)
        with pytest.raises(KeyboardInterrupt):
            train_run(split_folders, config, tmp_path / "run")
    resumed = train_run(split_folders, config, tmp_path / "run", resume=True)
    assert resumed.result["epoch"] == whole.result["epoch"]
    np.testing.assert_array_equal(resumed.predictions.probs, whole.predictions.probs)


def test_the_best_epoch_needs_val(split_folders, tmp_path, tiny):
    config = tiny(keep="best-val", **{"data.train_on": "train+val"})
    with pytest.raises(DataError, match="keep=best-val needs val images"):
        train_run(split_folders, config, tmp_path / "run")
