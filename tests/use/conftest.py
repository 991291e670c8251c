import os
import shutil

import pytest

from smallset.config import RunConfig, override
from smallset.learn.run import train_run


@pytest.fixture(scope="session")
def run(split_folders, shared_cache, tmp_path_factory):
    """A record that has moved since it was written, and whose data is gone."""
    os.environ["SMALLSET_CACHE"] = str(shared_cache)
    folder = tmp_path_factory.mktemp("runs")
    data = shutil.copytree(split_folders, folder / "data")
    settings = {
        "recipe": "course-report", "image_size": 32, "epochs": 2, "batches.size": 8,
        "mirror": True, "compute.precision": "float32",
    }  # fmt: skip
    train_run(data, override(RunConfig(), settings), folder / "before")
    shutil.rmtree(data)
    shutil.move(folder / "before", folder / "moved")
    return folder / "moved"
