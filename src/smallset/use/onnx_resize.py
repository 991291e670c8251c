"""A record's resize as an ONNX graph: pictures of any size become the squares a network takes.

Pillow's bilinear resize is linear in the rows and in the columns of a picture, so it is two matrix
products. The graph computes their weights from the size of the picture that comes in.
"""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from smallset.groups import Resize

OPSET = 18
IR_VERSION = 10
"""That of what torch writes for this opset; two graphs of one version can be put together."""
_FLOAT, _INT = np.float32, np.int64


class Nodes:
    """Nodes and constants of a graph, each named as it is added.

    Args:
        prefix: Of their names.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, kind: Any = _FLOAT) -> str:
        """Keep a value of a numpy type; return its name."""
        name = f"{self.prefix}_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output; return the name of that."""
        name = f"{self.prefix}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name


def resize_graph(size: int, policy: Resize) -> onnx.ModelProto:
    """Return a graph that does what `data.pictures.resize` does, to one grey level, rarely two.

    Its input "image" is uint8 (batch, height, width, 3), its output "square" uint8 (batch, size,
    size, 3). Like Pillow it resizes the columns first, and rounds to whole grey levels after each
    of both; where a value lies just between two levels, Pillow's integers may round it otherwise.

    Args:
        size: Side of the squares, px.
        policy: As in the settings of the run.
    """
    g = Nodes("resize")
    planes = g("Transpose", "image", perm=[0, 3, 1, 2])
    shape = g("Shape", planes)
    counts = [_entry(g, shape, axis) for axis in (2, 3)]
    sides = [g("Cast", count, to=TensorProto.FLOAT) for count in counts]
    down, across = (
        _weights(g, size, count, *box)
        for count, box in zip(counts, _boxes(g, size, policy, *sides), strict=True)
    )
    values = g("Cast", planes, to=TensorProto.FLOAT)
    values = _rounded(g, g("MatMul", values, g("Transpose", across, perm=[1, 0])))
    values = _rounded(g, g("MatMul", down, values))
    pixels = g("Cast", values, to=TensorProto.UINT8)
    g.nodes.append(helper.make_node("Transpose", [pixels], ["square"], perm=[0, 2, 3, 1]))
    uint8 = TensorProto.UINT8
    graph = helper.make_graph(
        g.nodes, "resize",
        [helper.make_tensor_value_info("image", uint8, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info("square", uint8, ["batch", size, size, 3])],
        g.constants,
    )  # fmt: skip
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


def _entry(g: Nodes, shape: str, axis: int) -> str:
    at = g.constant([axis], _INT), g.constant([axis + 1], _INT)
    return g("Squeeze", g("Slice", shape, *at))


def _boxes(
    g: Nodes, size: int, policy: Resize, height: str, width: str
) -> list[tuple[str, str, str, str]]:
    """Return, for the rows and for the columns, which part of a picture goes where.

    Each is where the part begins and how long it is, and how many pixels it becomes and the first
    of them; `pad` leaves the others black.
    """
    whole, none = g.constant(size), g.constant(0)
    if policy == "squash":
        return [(none, side, whole, none) for side in (height, width)]
    half = g.constant(0.5)
    if policy == "pad":
        # In float64, as Pillow does: float32 has halves where that has a little less.
        longer = g("Cast", g("Max", width, height), to=TensorProto.DOUBLE)
        boxes: list[tuple[str, str, str, str]] = []
        for side in (height, width):
            share = g("Div", g("Cast", side, to=TensorProto.DOUBLE), longer)
            new = g("Round", g("Mul", share, g.constant(size, np.float64)))
            new = g("Cast", new, to=TensorProto.FLOAT)
            first = g("Round", g("Mul", g("Sub", whole, new), half))
            boxes.append((none, side, new, first))
        return boxes
    share = g.constant(7 / 8 if policy == "zoom" else 1.0)
    square = g("Mul", g("Min", width, height), share)
    return [
        (g("Mul", g("Sub", side, square), half), square, whole, none) for side in (height, width)
    ]


def _weights(g: Nodes, size: int, count: str, begin: str, length: str, new: str, first: str) -> str:
    """Return the matrix (size, count) whose rows say what each new pixel is made of.

    A new pixel sees a triangle around its centre: of two old pixels where a picture grows, and of
    two new ones where it shrinks.
    """
    one, none, half, axis = g.constant(1.0), g.constant(0.0), g.constant(0.5), g.constant([1], _INT)
    scale = g("Div", length, new)
    row = g("Sub", g.constant(np.arange(size)), first)
    centre = g("Add", begin, g("Mul", g("Add", row, half), scale))
    old = g("Range", g.constant(0, _INT), count, g.constant(1, _INT))
    place = g("Add", g("Cast", old, to=TensorProto.FLOAT), half)
    away = g("Sub", g("Unsqueeze", place, g.constant([0], _INT)), g("Unsqueeze", centre, axis))
    weight = g("Max", none, g("Sub", one, g("Abs", g("Div", away, g("Max", scale, one)))))
    weight = g("Div", weight, g("ReduceSum", weight, axis, keepdims=1))
    inside = g("And", g("Not", g("Less", row, none)), g("Less", row, new))
    return g("Where", g("Unsqueeze", inside, axis), weight, none)


def _rounded(g: Nodes, values: str) -> str:
    up = g("Floor", g("Add", values, g.constant(0.5)))
    return g("Clip", up, g.constant(0.0), g.constant(255.0))
