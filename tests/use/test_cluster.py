"""Predictions on a real Ray cluster on this machine; its worker dies, and so does the command."""

import os
import warnings
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from smallset import api
from smallset.api import using
from smallset.errors import ConfigError, RunError
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.use import predict as predictions
from smallset.use import shards
from smallset.use.cluster import TRIES, Cluster, Made, Order, Worker, make_parts
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
    write, begin = shards.Shards.write, Cluster.begin
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
    # A busy machine may be a while about starting the worker, and say so first.
    shown = [count for count in counts if isinstance(count, tuple)]
    assert shown == [("predicting", n, 30) for n in (24, 27, 30)]
    assert sorted(path.name for path in Path("there").iterdir()) == sorted(FILES.values())
    for name in ("p.csv", "p.html"):
        assert Path("there", name).read_bytes() == Path("here", name).read_bytes()
    with np.load("here/e.npz") as one, np.load("there/e.npz") as other:
        np.testing.assert_array_equal(one["ids"], other["ids"])
        np.testing.assert_array_equal(one["embeddings"], other["embeddings"])


def test_a_worker_that_would_answer_otherwise_says_what_differs(run):
    network = Predictor(Record(run), device="cpu")
    order = Order(run, {"device": "cpu"}, network.decided_by, torch.get_num_threads(), decoders=1)
    assert Worker(order).open()[1] == ""
    _, gone = Worker(order._replace(record=Path("/gone"))).open()
    assert "there is no folder /gone" in gone
    older = network.decided_by | {"versions": {**network.decided_by["versions"], "torch": "1.0"}}
    _, other = Worker(order._replace(decided_by=older)).open()
    assert "versions.torch: '1.0' -> '2" in other


def test_a_picture_that_only_the_worker_cannot_read_ends_it(run, many, monkeypatch):
    def parts(cluster, order, numbers, paths, note):
        for number in numbers:
            files = paths(number)
            assert all(map(os.path.isabs, files))
            errors = [Predictor.open(network, path).error for path in files]
            block = network.block((Decoded(None, error=each or "cut") for each in errors), 3)
            yield Made(number, block, "node7")

    network = Predictor(Record(run), device="cpu")
    monkeypatch.setattr(predictions, "make_parts", parts)
    monkeypatch.setattr(using, "cluster_at", lambda *_, **__: nullcontext(fake_cluster()))
    with pytest.raises(
        RunError, match=r"node7 says of /.*png: cut; here it is readable\. .*same path"
    ):
        predict(run, listed(many), "there", execute="ray")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"execute": "processes"}, "not made in processes: .* serial or ray"),
        ({"execute": "rai"}, "no way of execution named 'rai'; did you mean 'ray'"),
        ({"workers": 2}, "--workers and --address belong to --execute ray"),
        ({"execute": "ray", "out": None}, "give --out FILE"),
    ],
)
def test_where_to_predict_is_checked_before_anything_is_loaded(options, reason):
    given = {"out": "p.csv", "on_line": print, **options}
    with pytest.raises(ConfigError, match=reason):
        api.predict_files("gone", "gone.png", **given)


class RayError(Exception):
    pass


class RayTaskError(RayError):
    pass


class FakeRay:
    """In place of the module: a call is done once it is waited for.

    Args:
        ends: What becomes of the calls of each worker, in turn: an error, or "" for an answer.
        places: How many workers can run at all.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)

    def __init__(self, *machines, ends=lambda worker, part: "", places=9):
        self.machines, self.ends, self.places, self.begun = machines, ends, places, 0
        self.most, self.waits = 0, 0

    def nodes(self):
        return [{"Alive": True, "Resources": each} for each in self.machines]

    def remote(self, **needs):
        return lambda _: SimpleNamespace(remote=lambda order: FakeWorker(self))

    def wait(self, calls, timeout):
        self.most, self.waits = max(self.most, len(calls)), self.waits + 1
        assert self.waits < 99, "would wait for ever"
        return [call for call in calls if call[0] < self.places][:1], []

    def get(self, call):
        end = self.ends(*call)
        if end:
            raise end
        return ("there", "") if call[1] == "open" else f"answers for {call[1]}"


class FakeWorker:
    def __init__(self, ray):
        number = ray.begun
        ray.begun += 1
        self.open = SimpleNamespace(remote=lambda: (number, "open"))
        self.block = SimpleNamespace(remote=lambda paths: (number, *paths))


def fake_cluster(*machines, device="cpu", threads=1, **options):
    ray = FakeRay(*machines or [{"CPU": 2}], **options)
    return Cluster(ray, device=device, threads=threads, workers=None)


ANY_ORDER = Order(Path("/run"), {}, {}, threads=1, decoders=1)


def made(cluster, note=print):
    parts = make_parts(cluster, ANY_ORDER, range(9), lambda number: [f"{number}.png"], note)
    answers = [(part.number, part.block) for part in parts]
    assert len(answers) == 9
    return dict(answers)


WHOLE = {number: f"answers for {number}.png" for number in range(9)}


def test_each_part_is_made_once_whatever_dies():
    for which in ({"open"}, {f"{number}.png" for number in range(9)}):
        cluster = fake_cluster(
            ends=lambda worker, part, which=which: (
                RayError("died") if worker % 3 and part in which else ""
            )
        )
        assert made(cluster) == WHOLE
    deaths = iter([RayError("died")] * (TRIES - 1))
    cluster = fake_cluster(ends=lambda worker, part: part == "4.png" and next(deaths, ""))
    assert made(cluster) == WHOLE
    assert cluster.ray.begun == 2 + TRIES - 1
    assert cluster.ray.most == 2  # no more in flight than workers


@pytest.mark.parametrize(("workers", "lives"), [(2, 1), (6, 3)])
def test_the_last_part_of_a_machine_that_dies_goes_to_an_idle_worker(workers, lives):
    # All others are on that machine, idle ones too, and it was the only place for new ones.
    cluster = fake_cluster(
        {"CPU": workers},
        ends=lambda worker, part: part == "8.png" and worker != lives and RayError("died"),
        places=workers,
    )
    assert made(cluster) == WHOLE
    assert cluster.ray.begun == workers


@pytest.mark.parametrize(
    ("part", "end", "reason"),
    [
        ("4.png", RayError("died.\n  of\nmemory"), r"4.png, 3 times: died\.$"),
        ("open", RayError("No module named 'smallset'"), "could begin, 3 times: No module"),
        ("4.png", RayTaskError("1\nTraceback:\n2\na defect"), "on there failed: a defect"),
    ],
)  # fmt: skip
def test_what_fails_again_and_again_is_an_error(part, end, reason):
    with pytest.raises(RunError, match=reason):
        made(fake_cluster(ends=lambda _, which: end if which == part else ""))


def test_a_worker_that_cannot_open_the_record_is_named(monkeypatch):
    monkeypatch.setattr(FakeRay, "get", lambda *_: ("node7", "/r is no record of a run"))
    with pytest.raises(RunError, match=r"the worker on node7 cannot answer .*: /r is no record"):
        made(fake_cluster())


def test_that_no_worker_has_a_place_is_said_once():
    cluster, notes = fake_cluster(places=0), []

    def note(said):
        notes.append(said)
        cluster.ray.places = 9

    assert made(cluster, note) == WHOLE
    assert notes == ["no worker runs: each waits for 1 CPU on one machine of the cluster"]


def test_workers_share_out_what_the_machines_have():
    gpus = [{"CPU": 16.0, "GPU": 2.0}, {"CPU": 9.0}]
    cluster = fake_cluster(*gpus, device="auto", threads=4)
    assert (cluster.device, cluster.cpus, cluster.gpus, cluster.workers) == ("cuda", 8, 1, 2)
    cluster = fake_cluster(*gpus, device="cpu", threads=4)
    assert (cluster.device, cluster.cpus, cluster.gpus, cluster.workers) == ("cpu", 4, 0, 6)
    assert fake_cluster({"CPU": 2.0}, device="auto").device == "cpu"
    refused: list[tuple[dict, str]] = [
        ({"threads": 32}, "of 32 CPUs: the most that one has is 16 CPUs, .*; OMP_NUM_THREADS=1"),
        ({"device": "cuda"}, "of 1 CPU and a GPU: the most .* 16 CPUs, and 0 have a GPU"),
    ]
    for options, reason in refused:
        with pytest.raises(ConfigError, match=reason):
            fake_cluster({"CPU": 16.0}, {}, **options)
