"""What the stages of a run are fed with: images or features of a split, and batches."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor, nn

from smallset.config import RunConfig
from smallset.data.augment import Augmenter
from smallset.data.batches import Rows, balanced_batches, in_order, pk_batches, random_batches
from smallset.data.feed import FeatureFeed, PixelFeed, Selection
from smallset.data.prepare import Prepared
from smallset.data.preprocessing import Preprocessing
from smallset.errors import ConfigError
from smallset.groups import BatchConfig
from smallset.models.features import compute_features
from smallset.models.forward import BATCH_SIZE, forward, passes
from smallset.models.parts import Classifier, last_linear
from smallset.progress import Reporter
from smallset.seeds import stream

BATCHES: dict[str, Callable[[np.ndarray, BatchConfig, np.random.Generator], list[Rows]]] = {
    "random": lambda labels, config, rng: (
        balanced_batches(labels, config.size, rng)
        if config.balance
        else random_batches(len(labels), config.size, rng)
    ),
    "pk": lambda labels, config, rng: pk_batches(
        labels, classes=config.classes_per_batch, per_class=config.images_per_class, rng=rng
    ),
}
"""From the labels, the settings and a random stream to the batches of an epoch."""


class Inputs:
    """Images of a run, ready for its network.

    Args:
        model: The network, in eval mode, on its device.
        scratch: Folder for features of weights that only this run has; None where the frozen part
            is as it was loaded, so that its features go to the cache.
        features: What the frozen part gave, by split; runs on one frozen network share it.
    """

    def __init__(
        self,
        config: RunConfig,
        data: Prepared,
        model: Classifier,
        preprocessing: Preprocessing,
        *,
        reporter: Reporter,
        scratch: Path | None,
        features: dict[str, FeatureFeed] | None = None,
    ) -> None:
        self.config = config
        self.data = data
        self.model = model
        self.preprocessing = preprocessing
        self.reporter = reporter
        self.scratch = scratch
        self.features = {} if features is None else features
        self.device = config.compute.device
        self.bfloat16 = config.compute.precision == "bfloat16"

    def feed(self, split: str, *, cached: bool, stage: int = 0) -> PixelFeed | FeatureFeed:
        """Return the images of a split, or what the frozen feature part gives for them.

        Args:
            split: "train", "val" or "test".
            stage: Number of the stage, for the stream of augmentation.
        """
        if cached and split in self.features:
            return self.features[split]
        at = self.data.of(split)
        labels = self.data.given_labels[at]
        changes = self.config.augment.is_on and split == "train" and not cached
        pixels = PixelFeed(
            Selection(self.data.pixels.array, self.data.rows[at]),
            labels,
            self.preprocessing,
            device=self.device,
            augmenter=partial(self._augmenter, stage) if changes else None,
        )
        if not cached:
            return pixels
        features = compute_features(
            self.model,
            pixels,
            ids=self.data.ids(split),
            bfloat16=self.bfloat16,
            folder=self.scratch,
            progress=partial(self.reporter.counted, f"features of {split}"),
            note=self.reporter.note,
        )
        self.features[split] = FeatureFeed(features, labels, device=self.device)
        return self.features[split]

    def vectors(self, split: str) -> Float[ndarray, "n dim"]:
        """Return what the last layer sees of the images of a split, as the network now is.

        Raises:
            ConfigError: If the classifier part does not end in a Linear layer.
        """
        seen: list[Tensor] = []
        last = self.last_layer()
        hook = last.register_forward_pre_hook(lambda _, given: seen.append(given[0].detach()))
        feed = self.feed(split, cached=True)
        rows = in_order(len(feed.labels), BATCH_SIZE)
        step = lambda batch: forward(self.model.classify, batch.images, bfloat16=False)  # noqa: E731
        vectors: list[ndarray] = []
        with hook:
            for output in passes(step, feed, rows):
                given = seen.pop().float()
                if self.model.mirror:  # a linear layer of the mean is the mean of its outputs
                    given = given.unflatten(0, (-1, 2)).mean(dim=1)
                vectors.append(given.cpu().numpy())
                assert len(output.logits) == len(given)
        return np.concatenate(vectors)

    def last_layer(self) -> nn.Linear:
        """Return the last layer of the network.

        Raises:
            ConfigError: If it is no Linear layer.
        """
        found = last_linear(self.model.classifier)
        if found is None:
            raise ConfigError(
                f"head=probe needs a network that ends in a Linear layer, and {self.config.model} "
                "does not; use --set head=sgd"
            )
        return found[1]

    def batches(self, stage: int, epoch: int) -> Sequence[Rows]:
        """Return the batches of an epoch of a stage."""
        labels = self.data.given_labels[self.data.of("train")]
        rng = stream(self.config.seed, "order", stage, epoch)
        return BATCHES[self.config.batches.kind](labels, self.config.batches, rng)

    def _augmenter(self, stage: int, epoch: int) -> Augmenter:
        return Augmenter(
            self.config.augment,
            seed=self.config.seed,
            stage=stage,
            epoch=epoch,
            mean=self.preprocessing.mean,
        )
