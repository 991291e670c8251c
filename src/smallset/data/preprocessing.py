"""From a picture file to what a network sees: the one description of it, at every stage.

It is made once, when a network is built for a run; it is saved in model.json and read back by
whatever meets the network or its pictures later.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from jaxtyping import UInt8
from numpy import ndarray

from smallset.config import RunConfig
from smallset.data.pictures import Picture, decode, resize
from smallset.groups import Resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
THUMBNAIL = 160  # px, of the largest thumbnails of pages
LOOKED_AT = 96  # px, of pictures in which copies are looked for


@dataclass(frozen=True, kw_only=True)
class Square:
    """How a picture file becomes a square of pixels."""

    size: int
    """Side, px."""
    resize: Resize = "squash"
    max_megapixels: float = 80.0
    """Larger pictures are refused before they are decoded, in millions of pixels."""

    def read(self, content: bytes) -> tuple[UInt8[ndarray, "size size 3"], str]:
        """Return the pixels of a picture file, and its id (the sha256 of all its pixels).

        Raises:
            Unreadable: If it is no picture, is damaged or is too large.
        """
        picture = decode(content, max_megapixels=self.max_megapixels)
        return self.of(picture), picture.id

    def of(self, picture: Picture) -> UInt8[ndarray, "size size 3"]:
        """Return the pixels of a picture that was decoded, which may be larger than allowed."""
        return resize(picture.image, self.size, self.resize)


@dataclass(frozen=True, kw_only=True)
class Preprocessing(Square):
    """Everything between a picture file and the tensor that a network sees."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    """Mean colour that is subtracted, in [0, 1]."""
    std: tuple[float, ...] = IMAGENET_STD
    """What it is divided by then."""

    def to_json(self) -> dict[str, Any]:
        """Return what model.json holds."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Preprocessing":
        """Read what `to_json` returned."""
        return cls(**{**content, "mean": tuple(content["mean"]), "std": tuple(content["std"])})


def square_of(config: RunConfig) -> Square:
    """Return how the pictures of a run become squares.

    Args:
        config: Settings of the run, its image size resolved.
    """
    assert config.image_size is not None
    return Square(
        size=config.image_size,
        resize=config.data.resize,
        max_megapixels=config.data.max_megapixels,
    )
