"""A record as a folder in the layout of the Hugging Face hub, which timm loads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from smallset.errors import ConfigError, RunError
from smallset.files import write_atomic
from smallset.groups import Resize
from smallset.models.packages import PACKAGED
from smallset.models.parts import Classifier, last_linear
from smallset.record.record import Record
from smallset.use.card import write_card
from smallset.use.onnx_check import LARGEST, Sample, counted_pictures
from smallset.use.shipment import Shipment, Written
from smallset.words import Text, text

CARD, CONFIG, WEIGHTS = "README.md", "config.json", "model.safetensors"
FILES = (CONFIG, WEIGHTS, CARD)
CROPS: dict[Resize, tuple[str, float]] = {
    "squash": ("squash", 1.0), "pad": ("border", 1.0), "crop": ("center", 1.0),
    "zoom": ("center", 0.875),
}  # fmt: skip
"""timm's crop_mode and crop_pct, by smallset's policy."""


def write_hub_folder(shipment: Shipment, folder: Path) -> Written:
    """Write config.json, model.safetensors and a card, and load them with timm.

    The temperature is inside the last layer. timm resizes with bicubic code of its own or Pillow's
    bilinear, as config.json says; it resizes the short side first and crops then, which is not the
    same to the last grey level.

    Raises:
        ConfigError: If timm does not have the network, or the run averages the mirror image.
        RunError: If timm does not answer as the network does.
    """
    import timm

    record, network = shipment.record, shipment.shipped.network
    architecture = _architecture(record)
    cfg: Any = timm.models.get_pretrained_cfg(architecture)
    tensors = _renamed(network, cfg.classifier, shipment.shipped.temperature)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    seen = shipment.preprocessing
    mode, share = CROPS[seen.resize]
    classes = list(record.model["classes"])
    content = {
        "architecture": architecture,
        "num_classes": len(classes),
        "label_names": classes,
        "pretrained_cfg": {
            "input_size": [3, seen.size, seen.size],
            "fixed_input_size": bool(cfg.fixed_input_size),
            "interpolation": "bilinear",
            "crop_mode": mode,
            "crop_pct": share,
            "mean": list(seen.mean),
            "std": list(seen.std),
            "num_classes": len(classes),
            "first_conv": cfg.first_conv,
            "classifier": cfg.classifier,
        },
    }
    # It is timm's file, with nothing of smallset's in it.
    write_atomic(folder / CONFIG, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    said = _tried(shipment, folder)
    inside = [
        "timm's transform resizes as `config.json` says.",
        f"The temperature ({shipment.shipped.temperature:.4g}) is in the last layer: take the "
        "softmax of its output as it is.",
    ]
    card = write_card(record, _usage(), said, inside)
    (folder / CARD).write_text(card, encoding="utf-8")
    return Written(FILES, None, said)


def _architecture(record: Record) -> str:
    """Return timm's name of a network.

    Raises:
        ConfigError: If it has none, or the layout has no place for what the run does.
    """
    name = record.model["model"]
    if record.model.get("mirror"):
        raise ConfigError(
            "the run averages a picture and its mirror image (mirror=true), which timm does not; "
            "export it with --format onnx"
        )
    if name in PACKAGED:
        return PACKAGED[name].timm
    if name.startswith("timm:") and "+" not in name:
        return name.removeprefix("timm:")
    raise ConfigError(
        f"--format hf is for networks of timm (timm:NAME, efficientnet_lite0 to 2), and this one "
        f"is {name}; export it with --format onnx"
    )


def _renamed(network: Classifier, classifier: str, temperature: float) -> dict[str, Tensor]:
    """Return the weights by timm's names, the temperature inside the last layer."""
    found = last_linear(network.classifier)
    if found is None or found[1] is not network.classifier:
        raise ConfigError("the network does not end in one Linear layer, which timm expects")
    tensors = {name: value.contiguous() for name, value in network.features.state_dict().items()}
    head = network.classifier.state_dict()
    return tensors | {
        f"{classifier}.{name}": (value / temperature).contiguous() for name, value in head.items()
    }


def _tried(shipment: Shipment, folder: Path) -> list[Text]:
    """Return how near timm's answers are to the network's, on the same squares of pixels.

    Raises:
        RunError: If they differ by more than rounding.
    """
    import timm

    loaded: Any = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()

    def ask(sample: Sample) -> tuple[str, int, float] | None:
        largest, tried = 0.0, 0
        for each in sample.pixels(shipment.record, shipment.preprocessing):
            pixels = torch.from_numpy(each.square[None].copy())
            with torch.inference_mode():
                wanted = shipment.shipped(pixels)[0]
                logits = loaded(shipment.shipped.normalised(pixels))
            apart = np.abs((logits.softmax(dim=1) - wanted).numpy()).max()
            largest, tried = max(largest, float(apart)), tried + 1
            shipment.reporter.counted("checking", tried, len(sample))
        return (sample.kind, tried, largest) if tried else None

    kind, tried, largest = shipment.tried(ask)
    shipment.tell_left_out(kind, tried)
    if not largest <= LARGEST:
        raise RunError(
            f"timm does not answer as the network does: on {tried:,} pictures a probability is "
            f"off by {largest:.2g}. Nothing was exported. Please report it with the name of the "
            f"network and the version of timm ({timm.__version__})"
        )
    return [
        text("Loaded by timm {version}, on the same pixels of {pictures}: every probability "
             "within {apart:.1e} of the network's.",
             version=timm.__version__, pictures=counted_pictures(tried, kind), apart=largest)
    ]  # fmt: skip


def _usage() -> str:
    return """\
```python
import timm, torch
from PIL import Image, ImageOps
model = timm.create_model("local-dir:.", pretrained=True).eval()
config = timm.data.resolve_model_data_config(model)
see = timm.data.create_transform(**config, is_training=False)
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("RGBA")
picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
probabilities = model(see(picture)[None]).softmax(dim=1)[0]
print(model.pretrained_cfg["label_names"][probabilities.argmax()])
```"""
