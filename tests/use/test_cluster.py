"""Predictions on a real Ray cluster on this machine; its worker dies, and so does the command."""

import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from smallset import api
from smallset.errors import ConfigError, RunError
from smallset.progress import Reporter
from smallset.use import cluster as clusters
from smallset.use import predict as predictions
from smallset.use import shards
from smallset.use.cluster import PATIENCE, TRIES, Cluster, make_parts
from smallset.use.predictor import Decoded, Predictor

FILES = {"out": "p.csv", "embeddings": "e.npz", "page": "p.html"}


@pytest.fixture(scope="module")
def address():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own, of its dependencies
        import ray
        from ray.cluster_utils import Cluster as Local

        local = Local(initialize_head=True, head_node_args={"num_cpus": 2})
        yield local.address
        ray.shutdown()
        local.shutdown()


@pytest.fixture
def many(split_folders, tmp_path, monkeypatch):
    """Thirty pictures in parts of three, two of them unreadable, one of them twice."""
    monkeypatch.setattr(shards, "SIZE", 3)
    monkeypatch.chdir(tmp_path)  # where no worker runs: what is relative must reach it whole
    Path("odd.jpg").write_text("no picture")
    files = sorted((split_folders / "test").rglob("*.png"))
    files += sorted((split_folders / "val").rglob("*.png"))[:7]
    return [*map(str, files[:4]), "odd.jpg", "gone.jpg", *map(str, files[4:]), str(files[0])]


def listed(files):
    Path("list.csv").write_text("path\n" + "\n".join(files) + "\n")
    return "list.csv"


def predict(run, files, folder, **options):
    names = {kind: Path(folder) / name for kind, name in FILES.items()}
    return api.predict_files(run, files, **names, reject=0.4, lang="en", **options)


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_workers_give_the_same_bytes_though_one_of_them_and_the_command_are_killed(
    run, many, address, monkeypatch
):
    files = listed(many)
    predict(run, files, "here")
    read, write, begin = Predictor.open, shards.Shards.write, Cluster.begin
    begun, written, counts = [], [], []

    def keep(self, order):
        begun.append(begin(self, order))
        return begun[-1]

    def kill(self, number, block):
        if len(written) == 7 and stop:
            raise Killed
        write(self, number, block)
        written.append(number)
        if len(written) == 2:
            import ray

            ray.kill(begun[0])

    monkeypatch.setattr(Cluster, "begin", keep)
    monkeypatch.setattr(shards.Shards, "write", kill)
    options = {"execute": "ray", "address": address, "workers": 1}
    stop = True
    with pytest.raises(Killed):
        predict(run, files, "there", **options)
    assert len(begun) == 2
    stop = False
    told = Reporter(counted=lambda *count: counts.append(count), note=counts.append)
    assert predict(run, files, "there", **options, reporter=told).earlier == 21
    assert sorted(written) == list(range(10))
    assert counts == [("predicting", n, 30) for n in (24, 27, 30)]
    assert sorted(os.listdir("there")) == sorted(FILES.values())
    for name in ("p.csv", "p.html"):
        assert Path("there", name).read_bytes() == Path("here", name).read_bytes()
    with np.load("here/e.npz") as one, np.load("there/e.npz") as other:
        np.testing.assert_array_equal(one["ids"], other["ids"])
        np.testing.assert_array_equal(one["embeddings"], other["embeddings"])
    with pytest.raises(RunError, match=r"odd.jpg: not an image, .*; here it is readable"):
        monkeypatch.setattr(
            Predictor,
            "open",
            lambda self, path: Decoded(None) if "odd" in path else read(self, path),
        )
        predict(run, files, "other", **options)
    monkeypatch.setattr(predictions, "_order", lambda *of: order(*of)._replace(**changes))
    for changes, reason in (
        ({"record": Path("/gone")}, "/gone is no record of a run"),
        ({"decided_by": {"weights": "1"}}, r"it has others:\n  .*weights: 1 -> "),
    ):
        with pytest.raises(RunError, match=rf"cannot answer as this machine does: .*{reason}"):
            predict(run, files, "other", **options, force=True)


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class NoRay:
    """Stands for the module: a call is done when it is waited for, and 5 kills its worker."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *machines, places=9):
        self.machines, self.places, self.begun = machines, places, 0

    def nodes(self):
        return [{"Alive": True, "Resources": each} for each in self.machines]

    def remote(self, **needs):
        return lambda _: SimpleNamespace(remote=lambda order: NoWorker(self, order))

    def wait(self, references, timeout):
        return [each for each in references if each.worker.number < self.places][:1], []

    def get(self, reference):
        if isinstance(reference.answer, Exception):
            raise reference.answer
        return reference.answer


class NoWorker:
    def __init__(self, ray, order):
        self.number, self.order = ray.begun, order
        ray.begun += 1
        self.open = SimpleNamespace(remote=lambda: self.call(("there", "")))
        self.block = SimpleNamespace(remote=self.answer)

    def call(self, answer):
        return SimpleNamespace(worker=self, answer=answer)

    def answer(self, paths):
        [path] = paths
        return self.call(self.order.get(path, f"block of {path}"))


class Reference(SimpleNamespace):
    __hash__ = object.__hash__


def made(ray, order, notes=None, workers=2):
    cluster = Cluster(ray, device="cpu", threads=1, workers=workers)
    paths = lambda number: [f"{number}.png"]  # noqa: E731
    return make_parts(cluster, order, range(9), paths, (notes or []).append)
