"""Where a trained network looked, and what it was shown: for the report of a run."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from safetensors.torch import load_file
from torch import Tensor, nn

from smallset.config import AugmentConfig, RunConfig
from smallset.data.augment import Augmenter
from smallset.errors import DataError
from smallset.models.parts import Classifier
from smallset.models.registry import build_model
from smallset.record.record import Record


class Looks(NamedTuple):
    """Where the network looked for one class, per image."""

    maps: Float[ndarray, "n size size"]
    """In [0, 1]: 1 where the class gained most in its image."""
    side: int
    """Side of the feature maps that they were made from, px; the maps are no finer than that."""


def load_run(record: Record) -> Classifier:
    """Build the network of a finished run with its trained weights, in eval mode.

    Args:
        record: The run.

    Raises:
        ConfigError: If its model is not to be had, such as a function that cannot be imported.
        DataError: If the weights are missing or do not fit.
    """
    config = RunConfig.model_validate(record.config["config"])
    assert config.image_size is not None
    model = build_model(
        config.model, len(record.config["data"]["classes"]), image_size=config.image_size,
        weights="none", seed=0,
    )  # fmt: skip
    path = record.folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (OSError, RuntimeError) as error:
        raise DataError(f"cannot load the weights {path}: {error}") from None
    spec = json.loads((record.folder / "model.json").read_text(encoding="utf-8"))["preprocessing"]
    model.mean, model.std = tuple(spec["mean"]), tuple(spec["std"])
    return model.eval()


def grad_cam(
    model: Classifier, images: UInt8[ndarray, "n size size 3"], classes: Int[ndarray, " n"]
) -> Looks | None:
    """Return which parts of each image spoke for a class; None for a network without feature maps.

    The last feature maps of more than one place are weighted by the mean gradient of the class's
    logit with respect to them, summed, and what speaks against the class is cut off.

    Args:
        model: In eval mode, on the CPU.
        images: As decoded, channels last.
        classes: Which class to ask about, per image.

    Source:
        Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2.
    """
    size, side, parts = images.shape[1], 0, []
    for start in range(0, len(images), 32):
        batch = torch.from_numpy(images[start : start + 32].copy())
        maps, logits = _last_maps(model, _normalised(model, batch))
        if maps is None:
            return None
        at = torch.from_numpy(np.asarray(classes[start : start + 32], dtype=np.int64))
        (slopes,) = torch.autograd.grad(logits.gather(1, at[:, None]).sum(), maps)
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        looks = (weights * maps).sum(dim=1, keepdim=True).relu().detach()
        looks = looks / looks.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        side = maps.shape[2]
        large = F.interpolate(looks, size=(size, size), mode="bilinear", align_corners=False)
        parts.append(large[:, 0].numpy())
    return Looks(np.concatenate(parts), side)


def _last_maps(model: Classifier, images: Tensor) -> tuple[Tensor | None, Tensor]:
    """Run the network and return its last feature maps of more than one place, and the logits."""
    seen: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
            seen[:] = [output]

    leaves = [m for m in model.modules() if not list(m.children())]
    hooks = [leaf.register_forward_hook(keep) for leaf in leaves]
    try:
        # The slope is taken with respect to the maps, so they must hang on something.
        logits = model(images.requires_grad_()).logits
    finally:
        for hook in hooks:
            hook.remove()
    return (seen[0] if seen else None), logits


def _normalised(model: Classifier, batch: UInt8[Tensor, "n size size 3"]) -> Tensor:
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (model.mean, model.std))
    return (batch.permute(0, 3, 1, 2).float() / 255 - mean) / std


def augmented(
    images: UInt8[ndarray, "n size size 3"],
    config: AugmentConfig,
    *,
    seed: int,
    mean: Sequence[float],
    views: int,
) -> UInt8[ndarray, "views n size size 3"]:
    """Return what training saw of images: other random changes in each of the first epochs.

    Args:
        images: As decoded, channels last.
        config: Which changes.
        seed: The run's seed.
        mean: Mean colour, in [0, 1].
        views: How many epochs.
    """
    shown = []
    for epoch in range(views):
        augmenter = Augmenter(config, seed=seed, stage=0, epoch=epoch, mean=tuple(mean))
        moved = augmenter.move(torch.from_numpy(images.copy())).permute(0, 3, 1, 2).float()
        changed = augmenter.change(moved.contiguous()).round().clamp(0, 255)
        shown.append(changed.to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.stack(shown)
