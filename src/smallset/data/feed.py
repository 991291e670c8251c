"""Where batches come from: decoded pixels, or features that a frozen part gave once."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from smallset.data.augment import Augmenter
from smallset.data.batches import Rows
from smallset.data.preprocessing import Preprocessing


class Batch(NamedTuple):
    """Some images, ready for the network, on its device."""

    images: Tensor
    """Normalised images (batch, 3, size, size), or what a frozen feature part gave for them."""
    labels: Int[Tensor, "*lanes batch"]
    """Class index of each."""
    rows: Rows
    """Which images of the feed they are."""


@runtime_checkable
class Feed(Protocol):
    """Images or their features, with their labels, batch by batch."""

    labels: Tensor

    def load(self, batches: Iterable[Rows], epoch: int | None) -> Iterator[Batch]:
        """Yield batches.

        Args:
            epoch: Which epoch's augmentation to apply; None for none.
        """
        ...


class Selection:
    """Some rows of a memory-mapped array, in some order, not copied until they are asked for.

    Args:
        rows: Which rows; row i of this object is row ``rows[i]`` of `array`.
    """

    def __init__(self, array: "ndarray | Selection", rows: Int[ndarray, " n"]) -> None:
        self.array = array
        self.rows = rows
        self.nbytes = len(rows) * array[rows[:1]].nbytes
        self.ndim = array.ndim

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Int[ndarray, " batch"]) -> ndarray:
        return self.array[self.rows[at]]


class Normalise:
    """(pixel / 255 - mean) / std, as one product and one sum.

    An exported graph does the same with the `scale` and `shift` from here.
    """

    def __init__(self, preprocessing: Preprocessing, device: str = "cpu") -> None:
        mean, std = (
            torch.tensor(each, device=device) for each in (preprocessing.mean, preprocessing.std)
        )
        scale = 1 / (255 * std)
        self.scale = scale.view(1, 3, 1, 1)
        self.shift = -mean.mul(255).mul(scale).view(1, 3, 1, 1)

    def __call__(
        self, images: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Return normalised images.

        Args:
            images: Values in [0, 255].
        """
        return torch.addcmul(self.shift, images, self.scale)


class PixelFeed:
    """Normalised images from a uint8 array; on a GPU the whole array moves there where it fits.

    Args:
        array: Decoded images, channels last; may be memory-mapped.
        augmenter: Gives the changes of one epoch; None for none.
    """

    def __init__(
        self,
        array: UInt8[ndarray, "n size size 3"] | Selection,
        labels: Int[ndarray, " n"],
        preprocessing: Preprocessing,
        *,
        device: str,
        augmenter: Callable[[int], Augmenter] | None = None,
    ) -> None:
        self.array = array
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self.preprocessing = preprocessing
        self.normalise = Normalise(preprocessing, device)
        self.device = device
        self.augmenter = augmenter
        self.on_device: Tensor | None = None
        if device == "cuda" and array.nbytes < torch.cuda.mem_get_info()[0] / 2:
            self.on_device = torch.from_numpy(array[np.arange(len(array))]).to(device)

    def load(self, batches: Iterable[Rows], epoch: int | None) -> Iterator[Batch]:
        """Yield batches of images, channels-last in memory; see `Feed`."""
        augment = self.augmenter(epoch) if self.augmenter and epoch is not None else None
        for rows in batches:
            images = self._bytes(rows)
            if augment is not None:
                images = augment.move(images)
            # (batch, size, size, 3) seen as (batch, 3, size, size) is torch's channels-last form.
            images = images.permute(0, 3, 1, 2).float()
            if augment is not None:
                images = augment.change(images)
            yield Batch(self.normalise(images), self.labels[rows], rows)

    def _bytes(self, rows: Int[ndarray, " batch"]) -> UInt8[Tensor, "batch size size 3"]:
        if self.on_device is not None:
            return self.on_device[torch.from_numpy(rows).to(self.device)]
        return torch.from_numpy(self.array[rows]).to(self.device)


class FeatureFeed:
    """What a frozen feature part gave for each image, once; never augmented.

    Args:
        array: One feature map or vector per image, float32; may be memory-mapped.
    """

    def __init__(
        self, array: Float[ndarray, "n ..."] | Selection, labels: Int[ndarray, " n"], *, device: str
    ) -> None:
        self.array = array
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self.device = device

    def only(self, rows: Int[ndarray, " m"]) -> "FeatureFeed":
        """Return some of the images; nothing is copied."""
        assert isinstance(self.array, ndarray)
        labels = self.labels.cpu().numpy()[rows]
        return FeatureFeed(Selection(self.array, rows), labels, device=self.device)

    @property
    def is_flat(self) -> bool:
        """Whether there is one vector per image."""
        return self.array.ndim == 2

    def load(self, batches: Iterable[Rows], epoch: int | None) -> Iterator[Batch]:  # noqa: ARG002
        """Yield batches; see `Feed`. Rows (lanes, batch) give features and labels with lanes."""
        for rows in batches:
            at = torch.from_numpy(rows).to(self.device)
            yield Batch(torch.from_numpy(self.array[rows]).to(self.device), self.labels[at], rows)
