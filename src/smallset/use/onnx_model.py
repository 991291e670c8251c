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
from smallset.use.onnx_resize import IR_VERSION, OPSET, resize_graph

SMALL = 256
MAX_HALF = 6e4


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


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that keeps its weights in float16 and computes in float32 all the same.

    Small tensors, and those with values too large for float16, stay as they are.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    casts: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < SMALL or np.abs(values).max() > MAX_HALF:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def set_metadata(model: onnx.ModelProto, content: Mapping[str, str]) -> None:
    """Write names and texts into the file itself, in place of what is there."""
    del model.metadata_props[:]
    for key, value in content.items():
        model.metadata_props.add(key=key, value=value)
