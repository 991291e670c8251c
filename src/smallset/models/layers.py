"""The table of a model's layers: output shape and number of parameters."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from smallset.models.parts import Classifier


@dataclass(frozen=True)
class Layer:
    """One row of the table."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    """Without the batch axis."""
    num_parameters: int


def layer_table(model: Classifier, image_size: int) -> list[Layer]:
    """Return every layer in the order in which one image passes it.

    Args:
        model: The network; its weights may be on torch's "meta" device, nothing is computed there.
        image_size: Side of the image, px.
    """
    rows: list[Layer] = []
    hooks = []

    def note(name: str, layer: nn.Module) -> Any:
        own = sum(p.numel() for p in layer.parameters())

        def hook(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            output = output[0] if isinstance(output, tuple) else output
            if isinstance(output, torch.Tensor):
                rows.append(Layer(name, type(layer).__name__, tuple(output.shape[1:]), own))

        return hook

    for name, layer in model.named_modules():
        # Attention keeps weights beside its children, so it counts as one layer.
        if not list(layer.children()) or isinstance(layer, nn.MultiheadAttention):
            hooks.append(layer.register_forward_hook(note(name, layer)))
    device = next(model.parameters()).device
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    for hook in hooks:
        hook.remove()
    return rows
