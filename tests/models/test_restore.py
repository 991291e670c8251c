"""A network and its preprocessing from a record, as prediction and export need them."""

import numpy as np
import pytest
import torch

from smallset.data.feed import Normalise
from smallset.errors import DataError
from smallset.learn.run import train_run
from smallset.models.restore import restore


@pytest.mark.parametrize("model", ["plain", "residual"])
def test_the_network_of_a_record_predicts_as_it_did(split_folders, tiny, tmp_path, model):
    config = tiny(model=model, **{"compute.precision": "float32"})
    record = train_run(split_folders, config, tmp_path / "run")
    net, preprocessing, classes = restore(record)
    assert classes == record.predictions.classes
    assert not net.training
    rows = [0, 5, 40]
    files = [(split_folders / record.predictions.paths[row]).read_bytes() for row in rows]
    shown = np.stack([preprocessing.read(file)[0] for file in files])
    shown = torch.from_numpy(shown).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        probs = net(Normalise(preprocessing)(shown)).logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(probs, record.predictions.probs[rows], atol=1e-5)


def test_weights_that_do_not_fit_are_named(split_folders, tiny, tmp_path):
    record = train_run(split_folders, tiny(), tmp_path / "run")
    (record.folder / "model.safetensors").unlink()
    with pytest.raises(
        DataError, match=r"not the record of a finished run: it has no model\.safetensors"
    ):
        restore(record)
