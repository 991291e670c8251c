"""A trained network as one ONNX graph, from whole grey levels to probabilities."""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float, UInt8
from onnx import compose, helper, numpy_helper
from torch import Tensor, nn

from smallset.data.feed import Normalise
from smallset.data.preprocessing import Preprocessing
from smallset.models.parts import Classifier
from smallset.use.onnx_resize import IR_VERSION, OPSET, Nodes, resize_graph

SMALL = 256
MOST = 2**14 - 1


class Shipped(nn.Module):
    """A network with what lies before and behind it, as `smallset predict` applies them.

    Args:
        temperature: What the logits are divided by.
    """

    def __init__(
        self, network: Classifier, preprocessing: Preprocessing, temperature: float
    ) -> None:
        super().__init__()
        normalise = Normalise(preprocessing)
        self.network = network
        self.temperature = temperature
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", normalise.scale)
        self.register_buffer("shift", normalise.shift)

    def forward(
        self, pixels: UInt8[Tensor, "batch size size 3"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "batch dim"]]:
        """Return probabilities, and what the last layer saw."""
        logits, embeddings = self.network(self.normalised(pixels))
        return (logits / self.temperature).softmax(dim=1), embeddings

    def normalised(
        self, pixels: UInt8[Tensor, "batch size size 3"]
    ) -> Float[Tensor, "batch 3 size size"]:
        """Return what the network sees of some squares."""
        return torch.addcmul(self.shift, pixels.permute(0, 3, 1, 2).float(), self.scale)


def to_onnx(shipped: Shipped, size: int) -> onnx.ModelProto:
    """Return the graph that takes squares of pixels, any number at a time.

    Its input "pixels" is uint8 (batch, size, size, 3); its outputs are "probabilities" (batch,
    classes) and "embeddings" (batch, dim), float32.

    Args:
        size: Side of the squares, px.
    """
    # Two pictures: an example of one would be taken for a batch that is always one.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(
            shipped.eval(),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["pixels"],
            output_names=["probabilities", "embeddings"],
            verbose=False,
        )
    model: onnx.ModelProto = program.model_proto
    model.ir_version = IR_VERSION
    return model


def with_resize(model: onnx.ModelProto, preprocessing: Preprocessing) -> onnx.ModelProto:
    """Return a graph that takes pictures of any size, and resizes them as the run did.

    Its input "image" is uint8 (batch, height, width, 3); its outputs are those of `to_onnx`, and
    "square", the pixels that the network sees.
    """
    resize = resize_graph(preprocessing.size, preprocessing.resize)
    whole = compose.merge_models(resize, model, io_map=[("square", "pixels")])
    whole.graph.output.extend(resize.graph.output)
    onnx.checker.check_model(whole, full_check=True)
    return whole


def in_fifteen_bits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that keeps its weights in 15 bits each and computes in float32 all the same.

    A weight is a whole number times the scale of its row (of an output, in most layers): seven
    times nearer to float32 than float16 is, for a network of ImageNet, and no larger when packed.
    High and low bytes lie apart, because the high ones pack well. Small tensors stay as they are.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph, g = made.graph, Nodes("weights")
    kept: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.ndim < 2 or values.size < SMALL:
            kept.append(tensor)
            continue
        largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
        scale = np.where(largest > 0, largest, 1) / MOST
        whole = np.round(values / scale).astype(np.int16)
        high, low = (
            g("Cast", g.constant(part, part.dtype), to=onnx.TensorProto.FLOAT)
            for part in ((whole >> 8).astype(np.int8), (whole & 255).astype(np.uint8))
        )
        number = g("Add", g("Mul", high, g.constant(256.0)), low)
        g.nodes.append(helper.make_node("Mul", [number, g.constant(scale)], [tensor.name]))
    nodes = [*g.nodes, *graph.node]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*kept, *g.constants])
    onnx.checker.check_model(made, full_check=True)
    return made


def set_metadata(model: onnx.ModelProto, content: Mapping[str, str]) -> None:
    """Write names and texts into the file itself, in place of what is there."""
    del model.metadata_props[:]
    for key, value in content.items():
        model.metadata_props.add(key=key, value=value)
