"""A study on a real Ray cluster of two nodes on this machine, one of which is killed."""

import threading
import time
import warnings

import pytest

import smallset
from smallset.compare.execute import Resources, find_execution
from smallset.errors import ConfigError

STUDY = """
title = "Rates"
about = "Two rates."
seeds = 2
baseline = "slow"
[base]
recipe = "course-report"
image_size = 32
epochs = 25
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

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
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
    study = str(tmp_path / "rates.toml")
    smallset.study(study, split_folders, out=tmp_path / "one/serial", execute="serial")

    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    killed = []

    def kill_when_both_work():
        deadline = time.time() + 90
        while time.time() < deadline:
            begun = {p.parent for p in (tmp_path / "two/ray").glob("*/*/epochs.jsonl")}
            done = {p.parent for p in (tmp_path / "two/ray").glob("*/*/result.json")}
            if len(begun - done) >= 2:
                cluster.remove_node(second, allow_graceful=False)
                killed.append(len(done))
                return
            time.sleep(0.02)

    killer = threading.Thread(target=kill_when_both_work)
    killer.start()
    found = smallset.study(
        study, split_folders, out=tmp_path / "two/ray", execute="ray", address=cluster.address
    )
    killer.join()
    assert len(killed) == 1
    assert killed[0] < 4
    assert found.failed == ()
    for name in ("summary.csv", "comparisons.csv"):
        assert (tmp_path / "two/ray" / name).read_bytes() == (
            tmp_path / "one/serial" / name
        ).read_bytes()


@pytest.mark.filterwarnings("ignore")
def test_no_cluster_is_an_error_that_says_how_to_begin_one(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match=r"no Ray cluster .*ray start --head"):
        list(find_execution("ray")([], Resources()))
