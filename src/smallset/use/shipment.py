"""What is exported, and the pictures that it is tried on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from smallset.data.preprocessing import Preprocessing
from smallset.progress import Reporter
from smallset.record.record import Record
from smallset.stats import share_interval
from smallset.use.onnx_check import Parity, Sample, compare, counted_pictures
from smallset.use.onnx_model import Shipped
from smallset.words import Lang, Text, text

T = TypeVar("T")


class Written(NamedTuple):
    """What a format left in its folder."""

    files: tuple[str, ...]
    parity: Parity | None
    """How near its graphs are to the network; None where it holds no graph."""
    said: list[Text]
    """What was found, as sentences."""


@dataclass(frozen=True)
class Shipment:
    """A record on its way out."""

    record: Record
    shipped: Shipped
    """Its network with what lies before and behind it, in eval mode and float32."""
    preprocessing: Preprocessing
    sample: Sample
    data: str | None
    """Where the images of the run are now; None for the place where they were."""
    lang: Lang
    runtime: Path | None
    """Folder of onnxruntime-web; None for the one in the cache, or npm's."""
    reporter: Reporter

    def tried(self, ask: Callable[[Sample], T | None]) -> T:
        """Return what `ask` finds on pictures of the run, or on generated ones where none is left.

        Args:
            ask: Tries an export on a sample; None where no picture of it was left.
        """
        if self.sample.said:
            self.reporter.note(f"{self.sample.said}; the export is tried on generated pictures")
        found = ask(self.sample)
        if found is None:
            self.reporter.note(
                f"the {self.sample.kind} pictures of the run are missing or have changed since; "
                "the export is tried on generated pictures"
            )
            found = ask(Sample("generated", self.sample.rows[:0]))
        assert found is not None
        self.reporter.close()
        return found

    def tell_left_out(self, kind: str, tried: int) -> None:
        """Say how many pictures of the run an export was not tried on."""
        left = len(self.sample) - tried
        if kind == self.sample.kind and left:
            self.reporter.note(
                f"{left:,} of {len(self.sample):,} {kind} pictures are missing or have changed "
                "since; the export is not tried on them"
            )

    def compared(self, squares: Path | None, any_size: Path) -> Parity:
        """Compare graphs with the network.

        Raises:
            RunError: If a difference is larger than rounding.
        """

        def ask(sample: Sample) -> Parity | None:
            return compare(
                (squares, any_size), self.shipped, self.preprocessing, sample, self.record,
                partial(self.reporter.counted, "checking"),
            )  # fmt: skip

        parity = self.tried(ask)
        self.tell_left_out(parity.kind, parity.pictures)
        parity.require(squares.name if squares else "", any_size.name)
        return parity

    def said(self, parity: Parity, squares: str, any_size: str) -> list[Text]:
        """Return what was found, as sentences."""
        import onnxruntime

        tried = {
            "version": onnxruntime.__version__,
            "pictures": counted_pictures(parity.pictures, parity.kind),
        }
        said = [text("Tried with onnxruntime {version} on {pictures}.", **tried)]
        if parity.squares is not None:
            found = {"file": squares, "apart": parity.squares}
            said.append(
                text("{file}, 1, 2 and 7 pictures at a time: every probability within {apart:.1e} "
                     "of the network's.", **found)
            )  # fmt: skip
        found = {"file": any_size, "levels": parity.levels, "apart": parity.resized}
        found |= {"agree": parity.agree, "count": parity.pictures}
        said.append(
            text("{file}: grey levels of pixels within {levels}, probabilities within {apart:.1e}, "
                 "the same class for {agree:,} of {count:,}.", **found)
        )  # fmt: skip
        if parity.right is not None:
            found = share_interval(parity.right, parity.pictures)._asdict()
            found |= {"file": squares or any_size}
            found |= {"measured": self.record.predictions.accuracy("test")}
            said.append(
                text("Accuracy of {file}: {value:.2%} ({low:.1%} to {high:.1%}); the run has "
                     "{measured:.2%} of its test images right.", **found)
            )  # fmt: skip
        if self.record.model["precision"] != "float32":
            said.append(text("The run computed in bfloat16; the graphs compute in float32."))
        return said
