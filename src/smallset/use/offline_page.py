"""A record as one HTML file that classifies pictures in the browser, without a network."""

import base64
import gzip
import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float, Int
from markupsafe import Markup
from numpy import ndarray
from sklearn.utils.extmath import randomized_svd

from smallset.errors import ConfigError, DataError
from smallset.files import write_atomic
from smallset.record.doubt import read_temperature
from smallset.record.predictions import Predictions
from smallset.record.strange import NEAREST, Refusal, Space, fit_refusal
from smallset.show.report.how_good import headline
from smallset.show.report.render import render
from smallset.show.report.thumbnails import find_pictures, fit_thumbnails
from smallset.stats import directions
from smallset.use.card import licences
from smallset.use.onnx_check import answers, open_graph
from smallset.use.onnx_files import example, graphs, png
from smallset.use.onnx_model import in_fifteen_bits
from smallset.use.shipment import Shipment, Written
from smallset.use.web_runtime import PACKAGE, web_runtime
from smallset.words import Text, text

FILES = ("classify.html",)
GRAPH = "graph"
BUDGET_MB = 15.0
LEAST_FOR_PICTURES_MB = 2.0
"""For the training pictures, also where the network alone takes the budget."""
MOST_NEAR = 3000
DIMS = 64
"""Of the space in which a page looks for the nearest training pictures."""
REFUSED = 0.05
"""Share of known pictures that a page may call unknown."""


class Compact(Space):
    """A `Space` of few dimensions, the strongest of its pictures, so that a page has room for it.

    Args:
        vectors: One per training picture; two at least.
    """

    def __init__(self, vectors: Float[ndarray, "n dim"]) -> None:
        self.basis: ndarray | None = None
        super().__init__(vectors)
        few = min(DIMS, *self.unit.shape)
        *_, rows = randomized_svd(self.unit, few, random_state=0)
        self.basis = np.ascontiguousarray(rows.T, dtype=np.float32)
        self.unit = self._unit(vectors.astype(np.float32))

    def _unit(self, vectors: Float[ndarray, "m dim"]) -> Float[ndarray, "m few"]:
        unit = super()._unit(vectors)
        if self.basis is None:
            return unit
        return directions(unit @ self.basis)


def write_page(shipment: Shipment, folder: Path) -> Written:
    """Write classify.html: the graph for pictures of any size, and what runs it in a browser.

    The weights are kept in 15 bits each, which is tried on the pictures of the run like any other
    graph.

    Raises:
        DataError: If there is no onnxruntime-web.
        RunError: If the graph does not do what the run did.
    """
    record = shipment.record
    runtime = web_runtime(shipment.runtime)
    graph = in_fifteen_bits(graphs(shipment)[1])
    onnx.save(graph, folder / GRAPH)
    parity = shipment.compared(None, folder / GRAPH)
    said = shipment.said(parity, "", FILES[0])
    picture = example(90, 160)
    probs = answers(open_graph(folder / GRAPH), picture[None])[0]
    content: dict[str, Any] = {
        "classes": record.model["classes"],
        "maxMegapixels": shipment.preprocessing.max_megapixels,
        "example": {"picture": png(picture), "probabilities": probs},
        "thumbs": {},
        "reasons": [],
    }
    near, doubt = _near(shipment)
    content |= near
    packed = {
        "model": Markup(_packed((folder / GRAPH).read_bytes())),
        "wasm": Markup(_packed(runtime.wasm)),
        "runtime": Markup(runtime.script.replace("</script", "<\\/script")),
    }
    context = {
        "name": f"{record.model['model']} · {Path(record.config['data']['source']).name}",
        "measured": headline(record),
        "classes": record.model["classes"],
        "checked": said,
        "doubt": doubt,
        "licences": licences(record),
        "runtime_package": PACKAGE,
        "version": version("smallset"),
        **packed,
    }
    page = render("classify.html", lang=shipment.lang, data=content, notes=[], **context)
    content["thumbs"], notes = _thumbnails(shipment, content.get("near"), page)
    page = render("classify.html", lang=shipment.lang, data=content, notes=notes, **context)
    write_atomic(folder / FILES[0], page)
    return Written(FILES, parity, said)


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _floats(values: ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode()


def _near(shipment: Shipment) -> tuple[dict[str, Any], list[Text]]:
    """Return what a page needs to find the nearest training pictures and to say "unknown"."""
    record, predictions = shipment.record, shipment.record.predictions
    try:
        learnt = record.embeddings("train")
    except DataError as error:
        shipment.reporter.note(str(error))
        return {"near": None, "reject": None}, [
            text("This page shows no training pictures that are near, and calls no picture "
                 "unknown: what the network made of its training pictures is not in the record.")
        ]  # fmt: skip
    kept = _spread(predictions, MOST_NEAR)
    if len(kept) < 2:
        return {"near": None, "reject": None}, []
    rows = predictions.learnt[kept]

    def space_of(vectors: Float[ndarray, "n dim"]) -> Compact:
        return Compact(vectors[kept])

    temperature = read_temperature(record.model).value
    refusal: Refusal | None = None
    try:
        refusal, space, said = fit_refusal(record, temperature, REFUSED, space_of=space_of)
    except ConfigError:
        space = space_of(learnt)
        said = text(
            "This page calls no picture unknown: to choose when, it takes {count} images that the "
            "network did not learn from.",
            count=math.ceil(1 / REFUSED),
        )
    assert isinstance(space, Compact)
    assert space.basis is not None
    near = {
        "count": NEAREST,
        "few": space.basis.shape[1],
        "mean": _floats(space.mean),
        "scale": _floats(1 / space.std),
        "basis": _floats(space.basis),
        "codes": _floats(space.unit),
        "labels": predictions.labels[rows],
        "paths": [predictions.paths[row] for row in rows],
        "rows": rows,
    }
    limits = None
    if refusal is not None:
        limits = {"share": REFUSED, "least": refusal.least, "farthest": refusal.farthest}
    return {"near": near, "reject": limits}, [said]


def _spread(predictions: Predictions, most: int) -> Int[ndarray, " kept"]:
    """Return positions among the learnt images, as evenly over the classes as they go."""
    labels = predictions.labels[predictions.learnt]
    order = np.argsort(labels, kind="stable")
    turn = np.arange(len(order)) - np.searchsorted(labels[order], labels[order])
    return np.sort(order[np.argsort(turn, kind="stable")[:most]])


def _thumbnails(
    shipment: Shipment, near: dict[str, Any] | None, page: str
) -> tuple[dict[int, str], list[Any]]:
    """Return thumbnails of the training pictures that a page may show as the nearest ones."""
    if near is None:
        return {}, []
    if shipment.sample.kind == "generated":
        said = text("The data of the run was not at hand, so its pictures are not in this page.")
        return {}, [said]
    try:
        pictures = find_pictures(shipment.record, shipment.data)
    except DataError:
        return {}, [text("Some pictures of the run are missing or have changed, so its pictures "
                         "are not in this page.")]  # fmt: skip
    budget = max(BUDGET_MB, len(page.encode()) / 1e6 + LEAST_FOR_PICTURES_MB)
    return fit_thumbnails(pictures, near["rows"].tolist(), page=page, budget_mb=budget)
