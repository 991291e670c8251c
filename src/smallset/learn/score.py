"""Score a finished training on train, val and test: each image once, without augmentation."""

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy import ndarray

from smallset.data.batches import in_order
from smallset.learn.inputs import Inputs
from smallset.models.forward import BATCH_SIZE, forward, passes
from smallset.record.predictions import Predictions


def predict(
    inputs: Inputs, *, cached: bool, splits: Sequence[str] = ("train", "val", "test")
) -> tuple[Predictions, dict[str, ndarray]]:
    """Return the predictions, and the embeddings of each split.

    Args:
        cached: Go on from the features of the frozen part.
        splits: Which to score; the others are not looked at. One of them must have an image.
    """
    data, images = inputs.data, inputs.data.images
    model = inputs.model.classify if cached else inputs.model
    order: list[ndarray] = []
    probs: list[ndarray] = []
    embeddings: dict[str, ndarray] = {}
    for split in splits:
        at = data.of(split)
        if not len(at):
            continue
        progress = partial(inputs.reporter.counted, f"scoring {split}")
        outputs = passes(
            lambda batch: forward(model, batch.images, bfloat16=inputs.bfloat16),
            inputs.feed(split, cached=cached),
            in_order(len(at), BATCH_SIZE),
            progress=(lambda *_: None) if cached else progress,
        )
        vectors: list[ndarray] = []
        for output in outputs:
            probs.append(output.logits.softmax(dim=1).cpu().numpy())
            vectors.append(output.embeddings.cpu().numpy())
        order.append(at)
        embeddings[split] = np.concatenate(vectors)
    at = np.concatenate(order)
    return Predictions(
        ids=tuple(data.pixels.ids[row] for row in data.rows[at]),
        paths=tuple(images.paths[row] for row in at),
        splits=images.splits[at],
        classes=images.classes,
        labels=images.labels[at],
        given_labels=data.given_labels[at],
        probs=np.concatenate(probs),
    ), embeddings
