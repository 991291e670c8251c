"""The card of an export: what the network is, how good, and how to run it; Markdown."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from smallset.models.registry import stated_licences
from smallset.record.measures import held_out_share
from smallset.record.predictions import Predictions
from smallset.record.record import Record
from smallset.show.report.how_good import Headline, headline
from smallset.show.report.search_section import search_section
from smallset.stats import Interval
from smallset.words import Text, text

MOST_CONFUSIONS = 10


def write_card(record: Record, usage: str, checked: Sequence[Text], inside: Sequence[str]) -> str:
    """Return the card of a record.

    Args:
        usage: How to run what was exported; Markdown.
        checked: What was found when it was run, as sentences.
        inside: What lies before and behind the network there, as sentences.
    """
    described, data = record.model, record.config["data"]
    found, seen = record.predictions, described["preprocessing"]
    measured = headline(record)
    parts = [
        f"# {_text(described['model'])} on {_text(Path(data['source']).name)}",
        f"It tells {len(found.classes)} classes apart. It was trained with smallset "
        f"{record.config['versions']['smallset']}, and exported from the record of that run.",
        "## How good it is",
        *_accuracy(record, measured),
        *(_classes(found, measured) if measured else ()),
        "## How to run it",
        usage,
        "## What it was checked on",
        _list(each.say("en") for each in checked),
        "## What is inside",
        _list([
            f"Pictures become {seen['size']} x {seen['size']} px (`{seen['resize']}`).",
            *inside,
            f"{data['images']['train']:,} images to learn from, fingerprint of the data "
            f"`{data['fingerprint'][:16]}`, digest of the run `{record.config['digest']}`.",
            *(each.say("en") for each in licences(record)),
        ]),
        "To train it again:",
        f"```\n{record.command()}\n```",
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part) + "\n"


def licences(record: Record) -> list[Text]:
    """Return under which licence the pretrained weights of a record are, as sentences."""
    config = record.config
    if record.joined is not None:
        names = ", ".join(Path(each["folder"]).name for each in record.joined["members"])
        return [
            text("Joined from the runs {names}, whose pretrained weights have their own licences.",
                 names=names)
        ]  # fmt: skip
    if not config["weights"]:
        return [text("It starts from random weights, so no weights of others are in it.")]
    named = stated_licences(record.model["model"], config["config"]["weights"])
    return [
        text("Pretrained weights of {name}: licence {licence}.", name=name, licence=licence)
        if licence
        else text(
            "Pretrained weights of {name}: licence not stated, ask where they are from.", name=name
        )
        for name, licence in named
    ]


def _accuracy(record: Record, seen: Headline | None) -> list[str]:
    if seen is None:
        return ["It was measured on no image that it did not learn from."]
    value, low, high = seen.accuracy
    where = f"{seen.images:,} " + ("out-of-fold" if seen.source == "folds" else seen.source)
    said = [f"**{value:.1%}** ({low:.1%} to {high:.1%}) are right, by {where} images."]
    search = search_section(record)
    expected: Interval | None = search["estimate"] if search else None
    if expected and seen.source == "folds":
        said.append("It is the best of several, and the price of choosing is taken off.")
    elif expected:
        said.append(
            "It is the best of several. With the price of choosing taken off, "
            f"{expected.value:.1%} ({expected.low:.1%} to {expected.high:.1%}) were to be expected "
            "before test was read."
        )
    if seen.source == "val":
        said.append("Settings may have been chosen on these; new pictures may do worse.")
    said.append("The range is what chance in the choice of images leaves open (95%).")
    return said


def _classes(found: Predictions, seen: Headline) -> list[str]:
    counts = found.confusion("test" if seen.source == "folds" else seen.source)
    return [_recall(found, counts, seen.folds), *_confusions(found, counts)]


def _recall(found: Predictions, counts: Int[ndarray, "classes classes"], folds: int) -> str:
    """Return the recall of each class, the lowest first; folds judged each other, or 0."""
    totals, rights = counts.sum(axis=1), counts.diagonal()
    lines: list[list[str]] = []
    for k in np.argsort(rights / np.maximum(totals, 1), kind="stable").tolist():
        name, total, hits = found.classes[k], int(totals[k]), int(rights[k])
        recall = "no image"
        if total:
            value, low, high = held_out_share(hits, total, folds=folds)
            recall = f"{value:.0%} ({low:.0%} to {high:.0%})"
        lines.append([_text(name), recall, str(total)])
    return _table(["class", "of its images, right", "images"], lines)


def _confusions(found: Predictions, counts: Int[ndarray, "classes classes"]) -> list[str]:
    counts = counts.copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(at), len(counts)) for at in order if counts.flat[at]]
    if not pairs:
        return []
    names = [_text(name) for name in found.classes]
    lines = [[names[i], names[j], str(counts[i, j])] for i, j in pairs]
    return ["Most often confused:", _table(["class", "taken for", "images"], lines)]


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _list(said: Iterable[str]) -> str:
    return "\n".join(f"- {each}" for each in said)


def _text(name: str) -> str:
    """Return a name that Markdown shows as it is."""
    shown = "".join(f"\\{c}" if c in "\\`*_{}[]<>#|$~" else c for c in name)
    return " ".join(shown.split())


def onnx_usage(record: Record) -> str:
    """Return how to run model-any-size.onnx in three languages."""
    size = record.model["preprocessing"]["size"]
    return f"""\
`model-any-size.onnx` takes a picture as it is: uint8 (batch, height, width, 3), RGB, upright.
`model.onnx` takes pictures that were resized already: uint8 (batch, {size}, {size}, 3). Both give
`probabilities` (batch, {len(record.model["classes"])}) and `embeddings`; class names, preprocessing
and a picture with its answer are in the metadata of both.

Python (`pip install onnxruntime pillow`):

```python
import json, numpy, onnxruntime
from PIL import Image, ImageOps
graph = onnxruntime.InferenceSession("model-any-size.onnx")
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGBA")
picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
probabilities = graph.run(["probabilities"], {{"image": numpy.asarray(picture)[None]}})[0][0]
print(json.loads(graph.get_modelmeta().custom_metadata_map["classes"])[probabilities.argmax()])
```

JavaScript (`npm install onnxruntime-node sharp`):

```js
const ort = require("onnxruntime-node"), sharp = require("sharp");
(async () => {{
  const graph = await ort.InferenceSession.create("model-any-size.onnx");
  const {{ data, info }} = await sharp("picture.jpg").rotate().flatten({{ background: "white" }})
    .toColourspace("srgb").raw().toBuffer({{ resolveWithObject: true }});
  const image = new ort.Tensor("uint8", data, [1, info.height, info.width, 3]);
  console.log((await graph.run({{ image }})).probabilities.data);
}})();
```

C++ (onnxruntime; `rgb`, `height` and `width` from any decoder):

```cpp
Ort::Env env; Ort::Session graph(env, "model-any-size.onnx", Ort::SessionOptions{{}});
int64_t shape[] = {{1, height, width, 3}};
const char *in[] = {{"image"}}, *out[] = {{"probabilities"}};
auto cpu = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
auto image = Ort::Value::CreateTensor<uint8_t>(cpu, rgb, size_t(height) * width * 3, shape, 4);
auto given = graph.Run(Ort::RunOptions{{nullptr}}, in, &image, 1, out, 1);
const float* probabilities = given[0].GetTensorData<float>();
```

The order of the classes: {json.dumps(list(record.model["classes"]), ensure_ascii=False)}"""
