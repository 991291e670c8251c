"""What may be done to suspects, in words. No torch here."""

from smallset.words import text

RULES = {
    "posterior": text("relabelling or dropping by how probable each label is"),
    "pruning": text("dropping as many of each class as confident learning counts"),
    "contradicted": text("dropping what looks contradict"),
}
"""By the name that a `smallset.clean.decide.Cleaning` has."""
