import json
import pickle
import urllib.error

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import squeezenet1_1

from smallset.errors import ConfigError, DataError
from smallset.models.registry import build_model, resolve_weights
from smallset.models.weights import file_sha256, read_weights


@pytest.fixture(scope="module")
def tensors():
    torch.manual_seed(0)
    return squeezenet1_1().state_dict()


@pytest.fixture
def weight_file(tmp_path, tensors):
    path = tmp_path / "squeeze.pth"
    torch.save(tensors, path)
    return path


def build(path, name="squeezenet1_1"):
    return build_model(name, 4, image_size=64, weights=str(path), seed=0)


def test_weights_of_a_file_arrive_in_the_feature_part(weight_file, tensors):
    built = build(weight_file)
    assert resolve_weights("squeezenet1_1", str(weight_file)).sha256 == file_sha256(weight_file)
    loaded = built.features.state_dict()
    assert torch.equal(loaded["0.0.weight"], tensors["features.0.weight"])


def test_safetensors_and_torch_files_give_the_same_model(tmp_path, weight_file, tensors):
    other = tmp_path / "squeeze.safetensors"
    save_file(tensors, other)
    first, second = (build(path).state_dict() for path in (weight_file, other))
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_hash_in_the_name_is_checked(tmp_path, weight_file):
    good = weight_file.rename(tmp_path / f"s-{file_sha256(weight_file)[:8]}.pth")
    assert read_weights(good).tensors
    bad = good.rename(tmp_path / "s-01234567.pth")
    with pytest.raises(DataError, match="name promises sha256 01234567"):
        read_weights(bad)


class Bomb:
    """Unpickling it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_nothing_but_tensors_is_unpickled(tmp_path):
    trap = tmp_path / "trap.pth"
    torch.save({"weight": Bomb(tmp_path / "sprung")}, trap)
    old = tmp_path / "old.pth"
    old.write_bytes(pickle.dumps(Bomb(tmp_path / "sprung"), protocol=2))
    for path in (trap, old):
        with pytest.raises(DataError, match=r"holds objects of Python \(.*open\)"):
            read_weights(path)
    assert not (tmp_path / "sprung").exists()


def test_a_whole_network_is_told_how_to_become_weights(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(DataError, match=r"linear\.Linear.*model\.state_dict\(\)") as told:
        read_weights(tmp_path / "whole.pth")
    assert "weights_only" not in str(told.value)


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + bytes(99), b"", b"hello", bytes(500)])
def test_what_is_no_torch_file_is_told_so_without_advice_to_trust_it(tmp_path, content):
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(DataError, match=r"is not a weight file that can be read safely") as told:
        read_weights(tmp_path / "x.pth")
    assert "weights_only" not in str(told.value)


def test_a_file_that_holds_more_than_tensors_is_refused(tmp_path):
    torch.save({"epoch": 3, "state": {}}, tmp_path / "checkpoint.pth")
    with pytest.raises(DataError, match=r"must hold tensors by name.*its entry 'state' alone"):
        read_weights(tmp_path / "checkpoint.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("features.0.weight"), "lacks features.0.weight"),
        (lambda t: t.update(extra=torch.zeros(1)), "has unknown extra"),
        (
            lambda t: t.update({"features.0.bias": torch.zeros(3)}),
            r"features.0.bias is \(3,\), not",
        ),
    ],
)
def test_names_and_shapes_are_checked(tmp_path, tensors, change, message):
    changed = dict(tensors)
    change(changed)
    torch.save(changed, tmp_path / "changed.pth")
    with pytest.raises(DataError, match=message):
        build(tmp_path / "changed.pth")


def test_the_layer_that_is_replaced_may_have_any_shape(tmp_path, tensors):
    changed = {**tensors, "classifier.1.weight": torch.zeros(9, 512, 1, 1)}
    del changed["classifier.1.bias"]
    torch.save(changed, tmp_path / "nine.pth")
    build(tmp_path / "nine.pth")  # does not raise


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the weight file .*absent\.pth"):
        build(tmp_path / "absent.pth")


def test_without_network_and_file_one_error_says_what_to_put_where(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def offline(*args, **kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    with pytest.raises(
        DataError, match=r"put resnet18-f37072fd.pth into /.*checkpoints, or import a file"
    ):
        build("auto", "resnet18")


def test_a_file_in_torchvisions_own_place_is_found(monkeypatch, tmp_path, weight_file):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints"
    place.mkdir(parents=True)
    weight_file.rename(place / "squeezenet1_1-b8a52dc0.pth")
    with pytest.raises(DataError, match="name promises sha256 b8a52dc0"):  # found, and checked
        build("auto")


def test_imported_weights_are_found_by_name(monkeypatch, tmp_path, weight_file, capsys):
    from typer.testing import CliRunner

    from smallset.cli import app

    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "cache"))
    call = CliRunner().invoke
    assert (
        call(app, ["weights", "import", str(weight_file), "--model", "squeezenet1_1"]).exit_code
        == 0
    )
    entry = json.loads((tmp_path / "cache/weights/squeezenet1_1.json").read_text())
    assert entry["sha256"] == file_sha256(weight_file)
    assert resolve_weights("squeezenet1_1", "auto").sha256 == entry["sha256"]
    assert entry["file"] in call(app, ["weights", "list"]).output
    done = call(app, ["weights", "verify", str(weight_file), "--model", "squeezenet1_1"])
    assert "fits squeezenet1_1" in done.output
    with pytest.raises(DataError, match="does not fit"):
        call(
            app,
            ["weights", "verify", str(weight_file), "--model", "resnet18"],
            catch_exceptions=False,
        )


def test_our_own_models_take_no_weight_file(weight_file):
    with pytest.raises(ConfigError, match="trained from scratch"):
        build(weight_file, "plain")
