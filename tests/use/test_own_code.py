"""A record is data: the code that it names runs where its user said so, and nowhere else."""

import importlib
import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from smallset import api, own_code
from smallset.compare.execute import Todo, Trainings
from smallset.config import RunConfig, override
from smallset.errors import ConfigError, RunError
from smallset.files import write_json
from smallset.reading import read_json
from smallset.record.record import Record
from smallset.use.predictor import Predictor

NETWORK = """
from torch import nn
from pathlib import Path
from smallset.models.parts import Classifier

with (Path(__file__).parent / "imported").open("a") as file:
    file.write("x")

def build(num_classes, *, image_size):
    maps = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4))
    return Classifier(nn.Sequential(maps, nn.Flatten()), nn.Linear(64, num_classes))
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder on the path with own_network.py, which leaves a mark where it is imported."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_network.py").write_text(NETWORK)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def run(here, split_folders, shared_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALLSET_CACHE", str(shared_cache))
        settings = {
            "model": "own_network:build", "recipe": "course-report", "image_size": 32, "epochs": 1,
            "batches.size": 8, "figures.tsne": False,
        }  # fmt: skip
        return api.train(split_folders, override(RunConfig(), settings), out=here / "run").folder


@pytest.fixture
def mark(here, run):
    """The file that the import leaves; not there, and the module is not loaded."""
    sys.modules.pop("own_network", None)
    mark = here / "imported"
    mark.unlink(missing_ok=True)
    return mark


def test_train_runs_code_of_ones_own_and_looks_where_the_network_looked(run):
    assert "would be imported" not in (run / "report.html").read_text()


@pytest.mark.parametrize(("own_code", "left_out"), [(False, True), (True, False)])
def test_a_report_imports_nothing_unasked(run, mark, own_code, left_out):
    [page] = api.report(run, own_code=own_code)
    assert mark.exists() == own_code
    assert ("would be imported and run" in page.read_text()) == left_out


def as_it_is(described):
    return described


def as_member(described):
    return {**described, "model": "plain", "members": [described, described]}


def as_member_of_a_member(described):
    return as_member(as_member(described))


COMMANDS = {
    "report": lambda record, aside: api.report(record),
    "report, images by name": lambda record, aside: api.report(
        record, grad_cam=[Record(record).predictions.paths[0]]
    ),
    "predict": lambda record, aside: api.predict(record, aside / "x.png"),
    "predict_files": lambda record, aside: api.predict_files(
        record, aside / "x.png", out=aside / "p.csv"
    ),
    "export onnx": lambda record, aside: api.export(record, aside / "e"),
    "export page": lambda record, aside: api.export(record, aside / "e", file_format="page"),
    "export hf": lambda record, aside: api.export(record, aside / "e", file_format="hf"),
    "join": lambda record, aside: api.join(
        [record, shutil.copytree(record, aside / "other")], out=aside / "j"
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("shape", [as_it_is, as_member, as_member_of_a_member])
def test_no_command_that_reads_a_record_imports_what_it_names(
    run, split_folders, mark, tmp_path, command, shape
):
    strange = shutil.copytree(run, tmp_path / "strange")
    write_json(strange / "model.json", shape(read_json(strange / "model.json")))
    # config.json names code too, as model and as loss; nobody who reads a record runs it.
    about = read_json(strange / "config.json")
    about["config"]["loss"] = "own_network:build"
    write_json(strange / "config.json", about)
    shutil.copyfile(split_folders / "train/ant/0.png", tmp_path / "x.png")
    if command.startswith("report"):
        COMMANDS[command](strange, tmp_path)
    else:
        with pytest.raises(ConfigError, match=r"own_network:build, .* --own-code"):
            COMMANDS[command](strange, tmp_path)
    assert not mark.exists()
    assert "own_network" not in sys.modules


NET = """
from torch import nn
from helper_of_mine import WIDTH

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.maps = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.head = nn.Linear(4 * WIDTH, num_classes)

    def forward(self, images):
        return self.head(self.maps(images).flatten(1))

def loss(logits, labels):
    return nn.functional.cross_entropy(logits, labels)
"""
SETTINGS = {
    "recipe": "course-report", "image_size": 32, "epochs": 1, "batches.size": 8,
    "figures.tsne": False, "figures.report": False,
}  # fmt: skip


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a network of one's own, made of an ordinary Module, and of a file beside it."""
    (tmp_path / "of_mine.py").write_text(NET)
    (tmp_path / "helper_of_mine.py").write_text("WIDTH = 4")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_code, "_beside", [])
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    for name in ("of_mine", "helper_of_mine"):
        sys.modules.pop(name, None)


def own(**settings):
    named = {"model": "of_mine:Net", "loss": "of_mine:loss"}
    return override(RunConfig(), {**SETTINGS, **named, **settings})


def test_an_ordinary_module_and_a_loss_of_logits_and_labels_train(mine, split_folders):
    record = api.train(split_folders, own(), out=mine / "run")
    assert record.embeddings("test").shape[1] == 16, "what goes into its last layer"
    frozen = api.train(split_folders, own(trains="classifier"), out=mine / "frozen")
    first, second = (load_file(r.folder / "model.safetensors") for r in (record, frozen))
    assert first.keys() == second.keys()
    said = api.predict(record.folder, [split_folders / "test"], own_code=True)
    of_run = record.predictions
    np.testing.assert_array_equal(
        said.probs.argmax(axis=1), of_run.predicted[of_run.splits == "test"]
    )


@pytest.mark.parametrize("file", ["of_mine.py", "helper_of_mine.py"])
def test_edited_code_is_another_run(mine, split_folders, file):
    """Even in the same process, and where only what it imports from beside it was edited."""
    first = api.train(split_folders, own(), out=mine / "study-a/arm/seed-0")
    (mine / file).write_text((mine / file).read_text() + "\nEDITED = True\n")
    with pytest.raises(RunError, match=r"(?s)own_code\.of_mine:Net"):
        api.train(split_folders, own(), out=first.folder, resume=True)
    again = api.train(split_folders, own(), out=mine / "again")
    assert again.config["digest"] != first.config["digest"]
    (mine / "helper_of_mine.py").write_text("WIDTH = 6")
    wider = api.train(split_folders, own(), out=mine / "wider")
    assert wider.embeddings("test").shape[1] == 24


def test_code_beside_the_toml_file_is_found_by_studies_and_their_workers(
    mine, split_folders, monkeypatch
):
    (mine / "elsewhere").mkdir()
    for name in ("of_mine.py", "helper_of_mine.py"):
        (mine / name).rename(mine / "elsewhere" / name)
    arms = "".join(f"[arms.{name}]\nlr = {lr}\n" for name, lr in (("low", 0.01), ("high", 0.1)))
    (mine / "elsewhere/s.toml").write_text(
        'title = "t"\nabout = "a"\nseeds = 1\nbaseline = "low"\n[base]\nmodel = "of_mine:Net"\n'
        'recipe = "course-report"\nimage_size = 32\nepochs = 1\nbatches.size = 8\n'
        f"figures.report = false\n{arms}"
    )
    found = api.study(str(mine / "elsewhere/s.toml"), split_folders, out=mine / "s", workers=2)
    assert not found.failed
    assert len(found.arms) == 2
    (mine / "of_mine.py").write_text(NET)
    with pytest.raises(ConfigError, match=r"of_mine is both in .*elsewhere .*rename one"):
        api.study(str(mine / "elsewhere/s.toml"), split_folders, out=mine / "s2", workers=2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("cross_entropy(logits, labels)", "cross_entropy(logits, labels) * float('nan')"), "nan"),
        (("self.head(", "self.head.weight.detach() @ ("), "raised"),
        (("nn.Linear(4 * WIDTH, num_classes)", "nn.Linear(4 * WIDTH, 3)"), r"must give \(1, 4\)"),
        (("return self.head", "assert len(images) < 2\n        return self.head"), "of_mine.py:"),
    ],
)  # fmt: skip
def test_a_batch_is_tried_before_anything_is_written(mine, split_folders, change, said):
    (mine / "of_mine.py").write_text(NET.replace(*change))
    with pytest.raises(ConfigError, match=said):
        api.train(split_folders, own(), out=mine / "run")
    assert not (mine / "run").exists()


def test_whoever_uses_a_run_is_told_that_its_code_was_edited(mine, split_folders):
    record = api.train(split_folders, own(), out=mine / "run")
    said = [each.say("en") for each in Predictor(record, own_code=True).doubt]
    assert not [line for line in said if "edited" in line]
    (mine / "helper_of_mine.py").write_text((mine / "helper_of_mine.py").read_text() + "\nX = 1\n")
    said = [each.say("en") for each in Predictor(record, own_code=True).doubt]
    [line] = [each for each in said if "edited" in each]
    assert "of_mine:Net was edited after this run" in line


def test_the_example_of_the_docs_trains(tmp_path, monkeypatch, split_folders):
    text = (Path(__file__).parents[2] / "docs/own-code.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n# mine\.py\n(.*?)```", text, re.DOTALL)
    (tmp_path / "mine.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    settings = {**SETTINGS, "model": "mine:Net", "loss": "mine:loss"}
    record = api.train(split_folders, override(RunConfig(), settings), out=tmp_path / "run")
    assert set(record.config["own_code"]) == {"mine:Net", "mine:loss"}
    sys.modules.pop("mine", None)


def test_a_worker_is_told_all_places_and_looks_in_each(mine, split_folders, monkeypatch):
    """Its path and its current folder may be others than those of the command, as on Ray."""
    (mine / "elsewhere").mkdir()
    for name in ("of_mine.py", "helper_of_mine.py"):
        (mine / name).rename(mine / "elsewhere" / name)
    own_code.look_in(mine / "elsewhere")
    told = own_code.places()
    assert told == (str(mine / "elsewhere"), str(mine))
    (mine / "other").mkdir()
    monkeypatch.chdir(mine / "other")
    monkeypatch.setattr(own_code, "_beside", [])
    config = own(image_size=32)
    task = Trainings(str(split_folders), ((Todo(config, mine / "run", None),),), None, told)
    [[outcome]] = [task.run()]
    assert outcome.error is None


def test_what_is_installed_is_named_by_its_version_and_not_read(mine, split_folders):
    config = own(model="of_mine:Net", loss="torch.nn:CrossEntropyLoss")
    record = api.train(split_folders, config, out=mine / "run")
    assert record.config["own_code"]["torch.nn:CrossEntropyLoss"] == f"torch {version('torch')}"


def test_a_network_that_reads_its_last_layer_is_one_whole(mine, split_folders):
    scaled = "nn.functional.linear(self.maps(images).flatten(1), 2 * self.head.weight)"
    text = NET.replace("self.head(self.maps(images).flatten(1))", scaled)
    (mine / "of_mine.py").write_text(text)
    record = api.train(split_folders, own(), out=mine / "run")
    assert record.embeddings("test").shape[1] == 4, "its logits, for want of another part"


def test_a_module_that_was_imported_and_edited_before_is_imported_again(mine, monkeypatch):
    monkeypatch.syspath_prepend(mine)
    importlib.import_module("of_mine")
    (mine / "of_mine.py").write_text(NET + "\nNEW = True\n")
    assert own_code.load_object("of_mine:Net")
    assert sys.modules["of_mine"].NEW
