"""Where batches come from: decoded pixels, or features that a frozen part gave once."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from torch import Tensor

from smallset.data.augment import Augmenter
from smallset.data.batches import Rows


class Selection:
    """Some rows of a memory-mapped array, in some order, not copied until they are asked for.

    Args:
        array: The whole array.
        rows: Which rows; row i of this object is row ``rows[i]`` of `array`.
    """

    def __init__(self, array: ndarray, rows: Int[ndarray, " n"]) -> None:
        self.array = array
        self.rows = rows
        self.nbytes = len(rows) * array[:1].nbytes

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Int[ndarray, " batch"]) -> ndarray:
        return self.array[self.rows[at]]


class PixelSource:
    """Normalised images from a uint8 array; on a GPU the whole array moves there where it fits.

    Args:
        array: Decoded images, channels last; may be memory-mapped.
        labels: Class index of each.
        mean: Mean colour to normalise with, in [0, 1].
        std: Spread to normalise with.
        device: Where batches are wanted.
        augmenter: Gives the changes of one epoch; None for none.
    """

    def __init__(
        self,
        array: UInt8[ndarray, "n size size 3"] | Selection,
        labels: Int[ndarray, " n"],
        *,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        device: str,
        augmenter: Callable[[int], Augmenter] | None = None,
    ) -> None:
        self.array = array
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self.device = device
        self.augmenter = augmenter
        # (pixel / 255 - mean) / std as one product and one sum.
        scale = 1 / (255 * torch.tensor(std, device=device))
        self.scale = scale.view(1, 3, 1, 1)
        self.shift = -torch.tensor(mean, device=device).mul(255).mul(scale).view(1, 3, 1, 1)
        self.on_device: Tensor | None = None
        if device == "cuda" and array.nbytes < torch.cuda.mem_get_info()[0] / 2:
            self.on_device = torch.from_numpy(array[np.arange(len(array))]).to(device)

    def __len__(self) -> int:
        return len(self.labels)

    def load(
        self, batches: Iterable[Rows], epoch: int | None
    ) -> Iterator[tuple[Float[Tensor, "batch 3 size size"], Int[Tensor, " batch"]]]:
        """Yield normalised images (channels-last in memory) and labels.

        Args:
            batches: Rows.
            epoch: Which epoch's augmentation to apply; None for none.
        """
        augment = self.augmenter(epoch) if self.augmenter and epoch is not None else None
        for rows in batches:
            images = self._bytes(rows)
            if augment is not None:
                images = augment.move(images)
            # (batch, size, size, 3) seen as (batch, 3, size, size) is torch's channels-last form.
            images = images.permute(0, 3, 1, 2).float()
            if augment is not None:
                images = augment.change(images)
            yield torch.addcmul(self.shift, images, self.scale), self.labels[rows]

    def _bytes(self, rows: Int[ndarray, " batch"]) -> UInt8[Tensor, "batch size size 3"]:
        if self.on_device is not None:
            return self.on_device[torch.from_numpy(rows).to(self.device)]
        return torch.from_numpy(self.array[rows]).to(self.device)


class FeatureSource:
    """What a frozen feature part gave for each image, once.

    Args:
        array: One feature map or vector per image, float32; may be memory-mapped.
        labels: Class index of each.
        device: Where batches are wanted.
    """

    def __init__(
        self,
        array: Float[ndarray, "n ..."],
        labels: Int[ndarray, " n"],
        *,
        device: str,
    ) -> None:
        self.array = array
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(device)
        self.device = device

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_flat(self) -> bool:
        """Whether there is one vector per image."""
        return self.array.ndim == 2

    def load(
        self,
        batches: Iterable[Rows],
        epoch: int | None,  # noqa: ARG002  features are never augmented
    ) -> Iterator[tuple[Float[Tensor, "..."], Int[Tensor, "..."]]]:
        """Yield features and labels.

        Args:
            batches: Rows, (batch,); or (lanes, batch), and what is yielded has lanes too.
            epoch: Not used.
        """
        for rows in batches:
            at = torch.from_numpy(rows).to(self.device)
            yield torch.from_numpy(self.array[rows]).to(self.device), self.labels[at]
