"""Forward passes: one in the precision that was asked for, and the one loop without gradients."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from smallset.data.batches import Rows
from smallset.data.feed import Batch, Feed
from smallset.models.parts import Classifier, Output

T = TypeVar("T")
BATCH_SIZE = 64
"""Images at a time where nothing is learnt."""


def placed(model: Classifier, device: str) -> Classifier:
    """Return a network in eval mode on a device, laid out as it computes fastest."""
    return model.eval().to(device).to(memory_format=torch.channels_last)


def forward(network: Callable[[Tensor], Any], images: Tensor, *, bfloat16: bool) -> Any:
    """Return what a network gives, an `Output` or a tensor, in float32.

    Args:
        network: Maps `images` to it.
        bfloat16: Compute in bfloat16 inside.
    """
    # bfloat16 has float32's exponent range, so no GradScaler, so one path for both precisions.
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        given = network(images)
    if isinstance(given, Tensor):
        return given.float()
    logits, embeddings = given
    return Output(logits.float(), embeddings.float())


def one_by_one(model: Classifier, images: Tensor) -> Output:
    """Return what a network gives, its classifier run on one image at a time.

    A product of matrices sums in another order for 1, 2 or 4 rows; here the last bits of an answer
    do not depend on how many images there are beside it.

    Args:
        images: Normalised (batch, 3, side, side).
    """
    maps = model.look(images)
    answers = [model.classify(maps[row : row + 1]) for row in range(len(maps))]
    return Output(*(torch.cat(each) for each in zip(*answers, strict=True)))


def passes(
    step: Callable[[Batch], T],
    feed: Feed,
    batches: Iterable[Rows],
    *,
    progress: Callable[[int, int], object] = lambda done, total: None,  # noqa: ARG005
) -> Iterator[T]:
    """Yield what `step` makes of each batch, without gradients and without augmentation.

    Validation, features and predictions all come through here; networks are in eval mode already.

    Args:
        step: Maps a batch to what is wanted of it.
        progress: Told the number of images done and of all.
    """
    done = 0
    for batch in feed.load(batches, None):
        with torch.inference_mode():
            made = step(batch)
        done += batch.labels.shape[-1]
        progress(done, len(feed.labels))
        yield made
