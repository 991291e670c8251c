"""Where a trained network looked, and what it was shown: for the report of a run."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor, nn

from smallset.data.augment import Augmenter
from smallset.data.feed import Normalise
from smallset.data.preprocessing import Preprocessing
from smallset.errors import SmallsetError
from smallset.groups import AugmentConfig
from smallset.models.parts import Classifier
from smallset.models.restore import restore
from smallset.record.explained import Explained
from smallset.record.measures import least_sure, worst_mistakes
from smallset.record.record import Record
from smallset.words import Text, text


def explain(
    record: Record,
    images_of: Callable[[Sequence[int]], UInt8[ndarray, "n size size 3"]],
    wanted: Sequence[int],
    *,
    own_code: bool = False,
) -> tuple[Explained | None, list[Text]]:
    """Ask the network of a run where it looked, and say why it could not be asked.

    Args:
        images_of: Gives the images of rows of predictions.csv.
        wanted: Rows to explain, beside the worst mistakes and the least sure images.
        own_code: Whether the record may name the function that builds its network.
    """
    try:
        model, preprocessing, _ = restore(record, own_code=own_code)
    except SmallsetError as error:
        return None, [text("Grad-CAM is left out: {why}", why=str(error))]
    model.mirror = False  # a map belongs to the picture as it is
    predictions = record.predictions
    rows = [*wanted, *worst_mistakes(predictions, 8)]
    rows += [row for row in least_sure(predictions, 4) if row not in rows]
    images = images_of(rows)
    predicted = grad_cam(model, preprocessing, images, predictions.predicted[rows])
    true = grad_cam(model, preprocessing, images, predictions.labels[rows])
    notes: list[Text] = []
    if predicted is None:
        notes.append(text("Grad-CAM is left out: this network has no feature maps."))
    config = record.settings
    train = predictions.learnt
    views = train[:: max(1, len(train) // 6)][:6].tolist()
    shown = None
    if record.joined is not None:  # its members saw training images each in its own way
        views = []
    if config.augment.is_on and views:
        shown = augmented(
            images_of(views), config.augment, seed=config.seed, mean=preprocessing.mean, views=7
        )
    return Explained(
        tuple(rows),
        None if predicted is None else predicted.maps,
        None if true is None else true.maps,
        predicted.side if predicted else 0,
        tuple(views),
        shown,
    ), notes


class Looks(NamedTuple):
    """Where the network looked for one class, per image."""

    maps: Float[ndarray, "n size size"]
    """In [0, 1]: 1 where the class gained most in its image."""
    side: int
    """Side of the feature maps that they were made from, px; the maps are no finer than that."""


def grad_cam(
    model: Classifier,
    preprocessing: Preprocessing,
    images: UInt8[ndarray, "n size size 3"],
    classes: Int[ndarray, " n"],
) -> Looks | None:
    """Return which parts of each image spoke for a class; None for a network without feature maps.

    The last feature maps of more than one place are weighted by the mean gradient of the class's
    logit with respect to them, summed, and what speaks against the class is cut off.

    Args:
        model: In eval mode; its parameters ask for no slopes from then on.
        classes: Which class to ask about, per image.

    Source:
        Selvaraju et al. 2017, "Grad-CAM", equations 1 and 2.
    """
    size, side, parts = images.shape[1], 0, []
    normalise, place = Normalise(preprocessing), None
    model.requires_grad_(False)  # else a graph begins at its first layer
    for start in range(0, len(images), 32):
        batch = torch.from_numpy(images[start : start + 32].copy()).permute(0, 3, 1, 2)
        batch = normalise(batch.float())
        place = place or _last_place(model, batch[:1])
        if place is None:
            return None
        maps, logits = _maps_of(place, model, batch)
        at = torch.from_numpy(np.asarray(classes[start : start + 32], dtype=np.int64))
        (slopes,) = torch.autograd.grad(logits.gather(1, at[:, None]).sum(), maps)
        weights = slopes.mean(dim=(2, 3), keepdim=True)
        looks = (weights * maps).sum(dim=1, keepdim=True).relu().detach()
        looks = looks / looks.amax(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        side = maps.shape[2]
        large = F.interpolate(looks, size=(size, size), mode="bilinear", align_corners=False)
        parts.append(large[:, 0].numpy())
    return Looks(np.concatenate(parts), side)


def _is_map(output: object) -> bool:
    return isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1


def _last_place(model: Classifier, image: Tensor) -> nn.Module | None:
    """Return the module that gives the last feature maps of more than one place."""
    seen: list[nn.Module] = []

    def keep(module: nn.Module, _inputs: object, output: object) -> None:
        if _is_map(output):
            seen[:] = [module]

    leaves = [m for m in model.modules() if not list(m.children())]
    hooks = [leaf.register_forward_hook(keep) for leaf in leaves]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0] if seen else None


def _maps_of(place: nn.Module, model: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Run the network and return what a module of it gave last, and the logits.

    A graph is kept from there on alone: that of several joined networks takes gigabytes.
    """
    seen: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: object, output: Any) -> Any:
        if not _is_map(output):
            return output
        # What comes next may change it in place, which a leaf of the graph does not allow.
        seen[:] = [output.detach().requires_grad_().clone()]
        return seen[0]

    with place.register_forward_hook(cut):
        logits = model(images).logits
    return seen[0], logits


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
        mean: Mean colour, in [0, 1].
    """
    shown = []
    for epoch in range(views):
        augmenter = Augmenter(config, seed=seed, stage=0, epoch=epoch, mean=tuple(mean))
        moved = augmenter.move(torch.from_numpy(images.copy())).permute(0, 3, 1, 2).float()
        changed = augmenter.change(moved.contiguous()).round().clamp(0, 255)
        shown.append(changed.to(torch.uint8).permute(0, 2, 3, 1).numpy())
    return np.stack(shown)
