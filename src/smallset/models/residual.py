"""`residual` and `bottleneck`: MyBaseModel1 and 2 of the course report (He et al. 2016)."""

from collections.abc import Callable

from torch import Tensor, nn

from smallset.models.parts import Classifier


class ResidualBlock(nn.Module):
    """relu(body(x) + shortcut(x)).

    The shortcut is the identity where shapes agree, else conv1x1-BatchNorm.

    Args:
        out_channels: Channels that `body` gives.
        stride: Stride of `body`.
    """

    def __init__(
        self, body: nn.Module, in_channels: int, out_channels: int, *, stride: int
    ) -> None:
        super().__init__()
        self.body = body
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = _conv(in_channels, out_channels, kernel=1, stride=stride)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Return the block's output."""
        return self.relu(self.body(maps) + self.shortcut(maps))


def _conv(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> nn.Sequential:
    # BatchNorm subtracts the mean, so a bias before it would do nothing.
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    )


def _basic(in_channels: int, width: int, stride: int) -> ResidualBlock:
    body = nn.Sequential(
        _conv(in_channels, width, kernel=3, stride=stride),
        nn.ReLU(inplace=True),
        _conv(width, width, kernel=3),
    )
    return ResidualBlock(body, in_channels, width, stride=stride)


def _bottleneck(in_channels: int, width: int, stride: int) -> ResidualBlock:
    body = nn.Sequential(
        _conv(in_channels, width, kernel=1),
        nn.ReLU(inplace=True),
        # The stride sits on the 3x3, as in torchvision (ResNet v1.5), where no pixel is skipped.
        _conv(width, width, kernel=3, stride=stride),
        nn.ReLU(inplace=True),
        _conv(width, 4 * width, kernel=1),
    )
    return ResidualBlock(body, in_channels, 4 * width, stride=stride)


def _network(
    num_classes: int, block: Callable[[int, int, int], ResidualBlock], *, expansion: int
) -> Classifier:
    layers: list[nn.Module] = [_conv(3, 32, kernel=3, stride=2), nn.ReLU(inplace=True)]
    in_channels = 32
    for number, width in enumerate((32, 64, 128, 256)):
        layers.append(block(in_channels, width, 2 if number else 1))
        in_channels = expansion * width
    classifier = nn.Sequential(
        nn.Linear(in_channels, 128),
        nn.BatchNorm1d(128),
        nn.ReLU(inplace=True),
        nn.Linear(128, num_classes),
    )
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Classifier(nn.Sequential(*layers, *pooled), classifier)


def residual(num_classes: int) -> Classifier:
    """A stem and four BasicBlocks of 32 to 256 channels, average pooling, two Linear layers."""
    return _network(num_classes, _basic, expansion=1)


def bottleneck(num_classes: int) -> Classifier:
    """A stem and four Bottleneck blocks of width 32 to 256 (four times the channels out)."""
    return _network(num_classes, _bottleneck, expansion=4)
