"""Random changes of a training batch, on tensors, each kind with its own random stream.

Shape letters: B images, S side in px. Values stay in [0, 255]; sizes never change.
"""

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from smallset.groups import AugmentConfig
from smallset.seeds import stream

Batch = Float[Tensor, "B 3 S S"]


class Augmenter:
    """Draws the changes of one epoch; batches must come in the epoch's order.

    Args:
        epoch: Number of the epoch; the same epoch always draws the same changes.
        mean: Mean colour, in [0, 1]; erased rectangles take it.
    """

    def __init__(
        self, config: AugmentConfig, *, seed: int, stage: int, epoch: int, mean: tuple[float, ...]
    ) -> None:
        self.config = config
        self.mean = mean
        self.rng = {
            kind: stream(seed, f"augment.{kind}", stage, epoch)
            for kind in ("flip", "crop", "cut", "rotation", "color", "erasing")
        }

    def move(self, images: UInt8[Tensor, "B S S 3"]) -> UInt8[Tensor, "B S S 3"]:
        """Flip and shift whole pixels: exact, so it works on bytes before anything else.

        Args:
            images: Channels last, as the cache holds them.
        """
        count, size = images.shape[:2]
        if not (self.config.flip or self.config.crop_fraction):
            return images
        rows, columns = np.tile(np.arange(size), (2, count, 1))
        if self.config.crop_fraction:
            reach = round(self.config.crop_fraction * size)
            shifts = self.rng["crop"].integers(-reach, reach + 1, (2, count, 1))
            rows, columns = _mirror(rows + shifts[0], size), _mirror(columns + shifts[1], size)
        if self.config.flip:
            flipped = self.rng["flip"].random((count, 1)) < 0.5
            columns = np.where(flipped, columns[:, ::-1], columns)
        image = torch.arange(count, device=images.device)[:, None, None]
        r, c = (torch.from_numpy(at.copy()).to(images.device) for at in (rows, columns))
        return images[image, r[:, :, None], c[:, None, :]]

    def change(self, images: Batch) -> Batch:
        """Cut out, rotate, recolour and erase.

        Args:
            images: Values in [0, 255].
        """
        if self.config.smallest_crop < 1:
            images = self._cut(images)
        if self.config.rotation_degrees:
            images = self._rotate(images)
        if self.config.color:
            images = self._recolour(images)
        if self.config.erasing:
            self._erase(images)
        return images

    def _cut(self, images: Batch) -> Batch:
        """Cut out a random rectangle of each image, and bring it to full size.

        Source:
            Szegedy et al. 2015, "Going Deeper with Convolutions", section 6.
        """
        area, ratio, x, y = self.rng["cut"].random((len(images), 4)).T
        area = self.config.smallest_crop + (1 - self.config.smallest_crop) * area
        ratio = 0.75 * (16 / 9) ** ratio  # width to height, from 3:4 to 4:3
        width = np.minimum(np.sqrt(area * ratio), 1)
        height = np.minimum(np.sqrt(area / ratio), 1)
        zero = np.zeros(len(images))
        x, y = (2 * x - 1) * (1 - width), (2 * y - 1) * (1 - height)
        theta = np.stack([width, zero, x, zero, height, y], axis=1)
        return _sampled(images, theta)

    def _rotate(self, images: Batch) -> Batch:
        reach = np.deg2rad(self.config.rotation_degrees)
        angles = self.rng["rotation"].uniform(-reach, reach, len(images))
        cos, sin, zero = np.cos(angles), np.sin(angles), np.zeros(len(images))
        return _sampled(images, np.stack([cos, -sin, zero, sin, cos, zero], axis=1))

    def _recolour(self, images: Batch) -> Batch:
        reach = self.config.color
        factors = self.rng["color"].uniform(1 - reach, 1 + reach, (3, len(images), 1, 1, 1))
        brightness, contrast, saturation = torch.from_numpy(factors).to(images)
        # Grey as ITU-R 601 weighs it, the same as Pillow's and torchvision's.
        weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
        images = images * brightness
        middle = (images * weights).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
        images = middle + (images - middle) * contrast
        grey = (images * weights).sum(dim=1, keepdim=True)
        return (grey + (images - grey) * saturation).clamp(0, 255)

    def _erase(self, images: Batch) -> None:
        rng, size = self.rng["erasing"], images.shape[-1]
        colour = images.new_tensor(self.mean).view(3, 1, 1) * 255
        for image in images:
            # The same number of draws per image, so that no image depends on another's luck.
            chance, area, ratio, top, left = rng.random(5)
            if chance >= self.config.erasing:
                continue
            # Area and aspect ratio as in Zhong et al. 2020, "Random Erasing Data Augmentation".
            area, ratio = 0.02 + 0.31 * area, 0.3 * (1 / 0.3**2) ** ratio
            height = min(size, round(size * (area * ratio) ** 0.5))
            width = min(size, round(size * (area / ratio) ** 0.5))
            y, x = int(top * (size - height + 1)), int(left * (size - width + 1))
            image[:, y : y + height, x : x + width] = colour


def _sampled(images: Batch, theta: Float[np.ndarray, "B 6"]) -> Batch:
    """Return images seen through affine maps, bilinear; what lies outside repeats the edge."""
    matrices = torch.from_numpy(theta.reshape(-1, 2, 3)).to(images)
    grid = F.affine_grid(matrices, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _mirror(positions: np.ndarray, size: int) -> np.ndarray:
    """Fold positions that lie outside [0, size) back inside, the edge pixel not repeated."""
    positions = np.abs(positions)
    return np.where(positions >= size, 2 * (size - 1) - positions, positions)
