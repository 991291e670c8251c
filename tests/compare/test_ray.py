"""A study on a real Ray cluster of two nodes on this machine, one of which is killed."""

import threading
import time
import warnings

import pytest

import smallset
from smallset.compare.execute import Resources, find_execution, on_cluster
from smallset.errors import ConfigError

# Both nodes are to be in the middle of a run when one is killed, however busy the machine is: on
# Ray, a network waits in its first epoch for as long as the file `hold` is there.
NETWORK = """
import os, time
from pathlib import Path
import torch

class Holding(torch.nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.calls = 0
        self.features = torch.nn.Sequential(
            torch.nn.Conv2d(3, 4, 3, stride=4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
        )
        self.head = torch.nn.Linear(4, num_classes)

    def forward(self, images):
        self.calls += 1
        while self.calls > 3 and Path(HOLD).exists():
            time.sleep(0.02)
        return self.head(self.features(images))

def build(num_classes):
    return Holding(num_classes)
"""

STUDY = """
title = "Rates"
about = "Two rates."
seeds = 2
baseline = "slow"
[base]
recipe = "course-report"
model = "holding:build"
image_size = 32
epochs = 3
batches.size = 8
figures.tsne = false
[arms.slow]
lr = 0.001
[arms.fast]
lr = 0.05
"""


@pytest.fixture
def cluster():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of its dependencies
        import ray
        from ray.cluster_utils import Cluster

        # On a busy machine a worker takes longer than Ray waits for one before it starts another.
        patient = {"worker_register_timeout_seconds": 300}
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 1, "_system_config": patient}
        )
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_study_on_ray_outlives_a_node_and_gives_the_same_summary(
    split_folders, tmp_path, cluster
):
    # In two folders: a study beside it with the same runs would be taken over, not trained again.
    (tmp_path / "rates.toml").write_text(STUDY)
    hold = tmp_path / "hold"
    (tmp_path / "holding.py").write_text(NETWORK.replace("HOLD", repr(str(hold))))
    study, out = str(tmp_path / "rates.toml"), tmp_path / "two/ray"
    smallset.study(study, split_folders, out=tmp_path / "one/serial", execute="serial")

    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    hold.touch()
    killed = []

    def kill_when_both_work():
        deadline = time.time() + 300
        while len(begun := list(out.glob("*/*/config.json"))) < 2 and time.time() < deadline:
            time.sleep(0.02)
        killed.append((len(begun), len(list(out.glob("*/*/result.json")))))
        cluster.remove_node(second, allow_graceful=False)
        hold.unlink()

    killer = threading.Thread(target=kill_when_both_work)
    killer.start()
    found = smallset.study(study, split_folders, out=out, execute="ray", address=cluster.address)
    killer.join()
    assert killed == [(2, 0)]
    assert found.failed == ()
    for name in ("summary.csv", "comparisons.csv"):
        assert (out / name).read_bytes() == (tmp_path / "one/serial" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_connection_that_the_caller_has_stays_and_no_other_cluster_is_taken_for_it(cluster):
    import ray

    with on_cluster(cluster.address) as connected:
        assert connected.is_initialized()
    assert not ray.is_initialized()
    ray.init(address=cluster.address, log_to_driver=False)
    for address in (None, "auto", cluster.address):
        with on_cluster(address) as connected:
            assert connected is ray
        assert ray.is_initialized()
    with pytest.raises(ConfigError, match=r"other:6379 was asked for; leave the address out"):
        list(find_execution("ray")([], Resources(address="other:6379")))
    assert ray.is_initialized()


@pytest.mark.filterwarnings("ignore")
def test_no_cluster_is_an_error_that_says_how_to_begin_one(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match=r"no Ray cluster .*ray start --head"):
        list(find_execution("ray")([], Resources()))
