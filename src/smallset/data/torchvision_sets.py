"""``torchvision:NAME``: download a torchvision data set and write it out as image folders, once."""

from pathlib import Path
from typing import Any

from smallset.errors import ConfigError, DataError, suggest
from smallset.files import cache_dir
from smallset.store import build_folder

_TRAIN_TEST: dict[str, dict[str, Any]] = {"train": {"train": True}, "test": {"train": False}}
_BY_NAME: dict[str, dict[str, Any]] = {"train": {"split": "train"}, "test": {"split": "test"}}
_WITH_VAL: dict[str, dict[str, Any]] = {
    "train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"},
}  # fmt: skip

TORCHVISION_SETS: dict[str, dict[str, dict[str, Any]]] = {
    "CIFAR10": _TRAIN_TEST,
    "CIFAR100": _TRAIN_TEST,
    "Caltech101": {"": {}},
    "Country211": {
        "train": {"split": "train"},
        "val": {"split": "valid"},
        "test": {"split": "test"},
    },
    "DTD": _WITH_VAL,
    "EuroSAT": {"": {}},
    "FGVCAircraft": _WITH_VAL,
    "FashionMNIST": _TRAIN_TEST,
    "Flowers102": _WITH_VAL,
    "Food101": _BY_NAME,
    "GTSRB": _BY_NAME,
    "Imagenette": {"train": {"split": "train"}, "val": {"split": "val"}},
    "KMNIST": _TRAIN_TEST,
    "MNIST": _TRAIN_TEST,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "STL10": _BY_NAME,
    "SVHN": _BY_NAME,
    "StanfordCars": _BY_NAME,
    "USPS": _TRAIN_TEST,
}
"""For each set, its splits and the arguments that ask for them; "" is split by smallset."""
MISNAMED = ("Caltech101", "Imagenette")
"""Sets whose classes had wrong names once: what the cache holds under the old place is not used."""


def torchvision_folder(name: str) -> Path:
    """Return a folder with the images of a torchvision data set, made once and kept.

    Images are written as PNG, so no pixel changes. A set without a val part has none here.

    Args:
        name: A key of `TORCHVISION_SETS`.

    Raises:
        ConfigError: If there is no such set.
        DataError: If it can be neither found nor downloaded.
    """
    if name not in TORCHVISION_SETS:
        raise ConfigError(f"no torchvision set named {name!r}; {suggest(name, TORCHVISION_SETS)}")
    folder = cache_dir() / "torchvision" / (f"{name}-2" if name in MISNAMED else name)
    return build_folder(folder, lambda aside: _write_out(name, aside))


def _write_out(name: str, folder: Path) -> None:
    from torchvision import datasets

    downloads = cache_dir() / "torchvision" / "downloads"
    for split, arguments in TORCHVISION_SETS[name].items():
        try:
            images = getattr(datasets, name)(root=str(downloads), download=True, **arguments)
        # Whatever a download raises (no network, a moved address, a broken archive) has one answer.
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(
                f"could not download torchvision's {name}: {error}; with a network, run this "
                f"again; without, put its files into {downloads} as torchvision lays them out"
            ) from None
        names = _class_names(images)
        for number in range(len(images)):
            image, label = images[number]
            place = folder / split / (names[label] if names else str(label))
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{number:06d}.png")


def _class_names(images: Any) -> list[str]:
    """Return the names of the classes as folders may have them; none where labels are all there is.

    SVHN, USPS and GTSRB have no names. Caltech101 calls them categories, and Imagenette has several
    for each class, the usual one first.
    """
    names = getattr(images, "classes", None) or getattr(images, "categories", [])
    first = [each if isinstance(each, str) else each[0] for each in names]
    return [each.replace("/", "_") for each in first]
