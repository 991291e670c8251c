"""What a study compares, decided once, and how often each pair of arms has been looked at.

A verdict of many comparisons, or of one that is made again with every new seed, is right in 95 % of
studies only if all of them are counted. study.json keeps the list, and it only ever grows: neither
a page that is made anew nor a later command with fewer arms makes the claims of a study stronger.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

from smallset.compare.spec import StudySpec


class Looked(NamedTuple):
    """Two arms that are compared."""

    arm: str
    against: str
    at: tuple[int, ...] = ()
    """Numbers of seeds, 2 or more, that the two were looked at with, in that order. One seed says
    nothing of the settings, so nothing is claimed of them there that would have to be counted."""

    def again(self, seeds: int) -> "Looked":
        """Return the pair, looked at with that many seeds now."""
        new = seeds > 1 and seeds not in self.at
        return self._replace(at=(*self.at, seeds)) if new else self

    @property
    def looks(self) -> int:
        """Return how often it was looked at, 1 at least."""
        return max(len(self.at), 1)

    def as_json(self) -> dict[str, Any]:
        """Return what study.json keeps."""
        return {"arm": self.arm, "against": self.against, "looked_at": list(self.at)}


def read_family(
    kept: Sequence[dict[str, Any]], spec: StudySpec, *, all_pairs: bool
) -> list[Looked]:
    """Return the comparisons of a study: those kept, and what is asked for beside them.

    Args:
        kept: "comparisons" of study.json.
        all_pairs: Ask for every arm against every other.
    """
    family = [Looked(each["arm"], each["against"], tuple(each["looked_at"])) for each in kept]
    asked = [*spec.pairs, *(itertools.combinations(spec.arms, 2) if all_pairs else ())]
    known = {frozenset((each.arm, each.against)) for each in family}
    for arm, against in asked:
        if frozenset((arm, against)) not in known:
            family.append(Looked(arm, against))
            known.add(frozenset((arm, against)))
    return family
