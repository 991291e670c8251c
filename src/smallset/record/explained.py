"""What only the network of a run can tell of its images; asked by `learn`, shown by the page."""

from dataclasses import dataclass

from jaxtyping import Float, UInt8
from numpy import ndarray


@dataclass(frozen=True)
class Explained:
    """Where a network looked, and what training showed to it."""

    rows: tuple[int, ...]
    """Of predictions.csv: whose Grad-CAM there is."""
    predicted: Float[ndarray, "n size size"] | None
    """What spoke for the class that was predicted; None for networks without feature maps."""
    true: Float[ndarray, "n size size"] | None
    """What spoke for the true class."""
    side: int
    """Side of the feature maps behind them, px."""
    view_rows: tuple[int, ...]
    """Whose augmentation there is."""
    views: UInt8[ndarray, "epochs shown size size 3"] | None
    """What training saw of them; None where nothing is changed at random."""
