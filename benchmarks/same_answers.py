"""Do all five ways say the same of the same picture? 200 photographs of many kinds of files.

    python benchmarks/same_answers.py DATA [--model efficientnet_lite0] [--pictures 200]

Pictures of the test split of DATA are written again in every format, mode, orientation and size
that smallset promises, and become the test images of a small data set of four of its classes. A
network is trained, the record is moved, the data is deleted, and predictions.csv, `predict`,
`ImageClassifier`, `model-any-size.onnx` and the HTTP API are asked for the probabilities of each.
"""

import argparse
import csv
import io
import itertools
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from starlette.testclient import TestClient

from smallset import ImageClassifier, api
from smallset.config import RunConfig, override
from smallset.data.pictures import decode
from smallset.record.record import Record
from smallset.use.described import describe
from smallset.use.limits import Limits
from smallset.use.predictor import Predictor
from smallset.use.serve import build_app

CLASSES = 4
KINDS = (
    ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "L"),
    ("PNG", "LA"), ("PNG", "P"), ("PNG", "1"), ("PNG", "I;16"), ("WEBP", "RGB"), ("WEBP", "RGBA"),
    ("BMP", "RGB"), ("GIF", "P"), ("TIFF", "RGB"), ("TIFF", "CMYK"), ("TIFF", "L"), ("PPM", "RGB"),
    ("AVIF", "RGB"),
)  # fmt: skip
SIZES = (
    (31, 200),
    (224, 224),
    (640, 480),
    (97, 101),
    (1024, 300),
    (8, 8),
    (512, 768),
    (1500, 1000),
)


def main():
    """Write the pictures, train, ask all ways, and print the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--pictures", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        make_data(options.data, folder / "data", options.pictures)
        config = override(RunConfig(), {"model": options.model, "figures.report": False})
        record = api.train(folder / "data", config, out=folder / "first/run")
        said = record.predictions
        test = np.flatnonzero(said.splits == "test")
        names = [said.paths[row] for row in test]
        shutil.copytree(folder / "data/test", folder / "kept/test")
        shutil.move(folder / "first", folder / "moved")
        shutil.rmtree(folder / "data")
        run = folder / "moved/run"
        pictures = [folder / "kept" / name for name in names]
        wanted = table(run, names)
        # predictions.csv has what the network said, before its temperature.
        temperature = Record(run).model["temperature"]
        tempered = wanted ** (1 / temperature)
        tempered /= tempered.sum(axis=1, keepdims=True)
        ways = {
            "predict": api.predict(run, pictures).probs,
            "ImageClassifier": of_estimator(run, pictures),
            "model-any-size.onnx": of_onnx(run, folder / "onnx", pictures),
            "HTTP": of_server(run, pictures),
        }
    print(f"{len(names)} pictures of {len(KINDS)} kinds, {options.model}, T {temperature:.3f}")
    worst = 0.0
    for name, probs in ways.items():
        off = np.abs(probs - tempered).max(axis=1)
        same = (probs.argmax(axis=1) == tempered.argmax(axis=1)).sum()
        at = int(off.argmax())
        print(f"{name}: largest difference {off[at]:.1e} ({names[at]}), {same} same class")
        worst = max(worst, 0.0 if name.endswith("onnx") else float(off[at]))
    return worst > 1e-4


def make_data(data, place, count):
    """Write a set of four classes: train and val as they are, test in all kinds of files."""
    classes = sorted(path.name for path in (data / "train").iterdir())[:CLASSES]
    for split, name in itertools.product(("train", "val"), classes):
        shutil.copytree(data / split / name, place / split / name)
    originals = {name: sorted((data / "test" / name).iterdir()) for name in classes}
    for number in range(count):
        name = classes[number % CLASSES]
        kind, mode = KINDS[number % len(KINDS)]
        picture = Image.open(originals[name][number // CLASSES % len(originals[name])])
        picture = picture.convert("RGB").resize(SIZES[number // 3 % len(SIZES)])
        write(picture, kind, mode, number, place / "test" / name)


def write(picture, kind, mode, number, folder):
    """Write a picture; every second JPEG is turned, every second one with alpha half clear."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:03d}-{kind.lower()}-{mode.replace(';', '')}.{kind.lower()}"
    grey = picture.convert("L")
    if mode == "I;16":
        shown = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    elif mode in ("RGBA", "LA"):
        shown = picture.convert(mode)
        shown.putalpha(grey if number % 2 else 255)
    else:
        shown = picture.convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 1 + number % 8
    named = {"exif": exif} if kind in ("JPEG", "WEBP") else {}
    shown.save(path, kind, **named)


def table(run, names):
    """Return the probabilities of predictions.csv."""
    with (run / "predictions.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    classes = Record(run).model["classes"]
    return np.array([[float(rows[name][f"p_{c}"]) for c in classes] for name in names])


def of_estimator(run, pictures):
    """Ask an estimator that holds this very record, as one that was pickled does."""
    estimator = ImageClassifier()
    estimator.record_, estimator._predictor, estimator._clear = Record(run), None, None
    estimator.classes_ = np.array(estimator.record_.model["classes"])
    return estimator.predict_proba([str(path) for path in pictures])


def of_onnx(run, out, pictures):
    """Ask the exported graph, by the steps that its card names."""
    api.export(run, out)
    session = onnxruntime.InferenceSession(str(out / "model-any-size.onnx"))
    answers = []
    for path in pictures:
        image = decode(path.read_bytes(), max_megapixels=100).image
        pixels = np.asarray(image)[None]
        [probs] = session.run(["probabilities"], {session.get_inputs()[0].name: pixels})
        answers.append(np.asarray(probs)[0])
    return np.array(answers)


def of_server(run, pictures):
    """Ask the server, one picture a request."""
    predictor = Predictor(Record(run), apart=True)
    about = describe(Record(run), predictor, Limits(), top=None, sets=None, reject=None)
    client = TestClient(build_app(predictor, about, Limits()), base_url="http://127.0.0.1:8000")
    answers = []
    for path in pictures:
        sent = {"images": (path.name, io.BytesIO(path.read_bytes()))}
        answer = client.post("/predict", files=sent)
        row = answer.json()["images"][0]
        answers.append([row["probabilities"][name] for name in Record(run).model["classes"]])
    return np.array(answers)


if __name__ == "__main__":
    sys.exit(main())
