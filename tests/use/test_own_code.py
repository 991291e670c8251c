"""A record is data: the code that it names runs where its user said so, and nowhere else."""

import shutil
import sys

import pytest

from smallset import api
from smallset.config import RunConfig, override
from smallset.errors import ConfigError
from smallset.files import write_json
from smallset.reading import read_json
from smallset.record.record import Record

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
