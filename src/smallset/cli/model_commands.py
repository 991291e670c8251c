"""Networks and their pretrained weights."""

from pathlib import Path
from typing import Annotated

import typer

from smallset.cli.options import console


def models(
    name: Annotated[str | None, typer.Argument(help="Model whose layers to print.")] = None,
    num_classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 35,
    image_size: Annotated[int | None, typer.Option(min=32, help="Side of the image, px.")] = None,
) -> None:
    """List the models, or print each layer of one with output shape and parameter count."""
    from smallset.models.by_name import MODELS, default_image_size
    from smallset.models.layers import layer_table
    from smallset.models.packages import PACKAGED
    from smallset.models.pretrained import torchvision_names
    from smallset.models.registry import outline
    from smallset.show.terminal import layers_table

    shown = console()
    if name is None:
        shown.print("from scratch:", ", ".join(MODELS), highlight=False)
        shown.print("weights by pip:", ", ".join(PACKAGED), highlight=False)
        shown.print("torchvision:", ", ".join(torchvision_names()), highlight=False)
        shown.print("timm (extra): timm:NAME", highlight=False)
        return
    size = image_size or default_image_size(name)
    model = outline(name, num_classes, size)
    total, head = (sum(p.numel() for p in part.parameters()) for part in (model, model.classifier))
    layers, title = layer_table(model, size), f"{name} at {size} px"
    shown.print(layers_table(layers, title=title, classes=num_classes, total=total, head=head))


def weights_list() -> None:
    """Say of every pretrained network whether its weights are here, and how they come if not."""
    from smallset.models.registry import weight_sources
    from smallset.models.weights import store_dir

    sources = weight_sources()
    width = max(len(source.name) for source in sources)
    for state in ("here", "by pip", "by download"):
        chosen = [source for source in sources if source.state == state]
        print(f"{state} ({len(chosen)}):")
        for source in chosen:
            print(f"  {source.name:<{width}}  {source.licence:<12}  {source.place}")
    print(f"imported files are in {store_dir()}")
    print("not stated: of imported files, and where torchvision names no licence of the weights;")
    print("            it says of all that the images they were trained on may set terms")
    print("timm:NAME: downloaded by timm from its hub, under the licence that is said there")


def weights_import(
    file: Annotated[Path, typer.Argument(help="A .pth or .safetensors file.")],
    model: Annotated[str, typer.Option(help="The model it belongs to.")],
) -> None:
    """Check a weight file against a model, and keep a copy that runs will find."""
    from smallset.models.registry import check_weights
    from smallset.models.weights import import_weights

    check_weights(model, str(file))
    print(f"{model} will use {import_weights(file, model)}")


def weights_verify(
    file: Annotated[Path, typer.Argument(help="A .pth or .safetensors file.")],
    model: Annotated[str | None, typer.Option(help="The model it should fit.")] = None,
) -> None:
    """Check a weight file: its sha256 against its name, its tensors against a model."""
    from smallset.models.pretrained import weight_file
    from smallset.models.registry import check_weights
    from smallset.models.weights import read_weights

    read = read_weights(weight_file(str(file)))
    print(f"sha256 {read.sha256}, {len(read.tensors)} tensors")
    if model is not None:
        check_weights(model, str(file))
        print(f"fits {model}")
