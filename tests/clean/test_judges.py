"""What judges labels: who may, and what it sees."""

import numpy as np
import pytest

from smallset.clean import patches
from smallset.clean.judges import features_of, plan_judges
from smallset.config import RunConfig, override
from smallset.data.prepare import DataSource
from smallset.errors import ConfigError
from smallset.progress import Reporter


def test_features_of_the_pictures_are_kept_and_labels_have_no_part_in_them(split_folders):
    def made(**settings):
        config = override(RunConfig(), settings)
        [judge] = plan_judges(["self"], config)
        return features_of(judge, DataSource(split_folders), Reporter())

    first = made()
    assert first.shape == (32, 9 * patches.FILTERS)
    np.testing.assert_array_equal(first, made(**{"data.noise_rate": 0.5}))
    again = made()
    assert isinstance(first, np.memmap)
    assert isinstance(again, np.memmap)
    assert again.filename == first.filename


def test_a_judge_is_named_once_and_needs_weights():
    with pytest.raises(ConfigError, match="judges once"):
        plan_judges(["self", "self"], RunConfig())
    with pytest.raises(ConfigError, match="no pretrained weights to judge labels with"):
        plan_judges(["residual"], RunConfig())
