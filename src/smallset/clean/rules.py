"""What is found and may be done, in words: rules, what they take for granted. No torch here."""

from collections.abc import Mapping
from typing import Any

from smallset.words import Text, text

RULES = {
    "posterior": text("relabelling or dropping by how probable each label is"),
    "pruning": text("dropping as many of each class as confident learning counts"),
    "contradicted": text("dropping what looks contradict"),
}
"""By the name that a `smallset.clean.decide.Cleaning` has."""
ASSUMPTIONS = {
    "even": text("{said}, if mistakes are spread evenly"),
    "by class": text("{said}, if mistakes differ by class"),
}
"""By the noise of a posterior: what its rate and its probabilities take for granted."""


def assumption(about: Mapping[str, Any]) -> str:
    """Return the template that says what the numbers of a cleaning take for granted.

    Args:
        about: clean.json; before it said its kind of noise, there was the even one alone.
    """
    return ASSUMPTIONS[about.get("noise_kind", "even")].template


def rate_said(about: Mapping[str, Any]) -> Text:
    """Return the range of wrong labels under what is taken for granted, and with that said."""
    return text(assumption(about), said=span(about["rate"]["low"], about["rate"]["high"]))


def span(low: float, high: float) -> Text:
    """Return a range of shares in percent; what is not nothing ends above 0%.

    Example:
        >>> [span(*ends).say("en") for ends in ((0.0, 0.153), (0.004, 0.09), (0.0, 0.0))]
        ['0 to 15%', '0.4 to 9.0%', '0 to 0.1%']
        >>> [span(*ends).say("en") for ends in ((0.061, 0.363), (0.004, 0.2))]
        ['6 to 36%', '0.4 to 20%']
        >>> span(0.12, 0.12).say("zh")
        '12%'
    """
    last = _digits(max(high, 0.001))
    first = _digits(low) if "." in last or low < 0.01 else f"{100 * low:.0f}"
    return text("{low} to {high}%", low=first, high=last) if first != last else Text(f"{last}%", {})


def _digits(share: float) -> str:
    said = f"{100 * share:.1f}"
    return f"{100 * share:.0f}" if share >= 0.0995 or float(said) == 0 else said
