"""What a good colleague would see in a run: sentences with their evidence and the next command.

Each finding leaves room for chance (an interval, or a p value corrected for the number of things
looked at), so that it stays silent where nothing is to be seen. No torch here.
"""

from smallset.findings.curves import (
    collapse,
    milestone_jump,
    not_learning,
    still_improving,
    unstable,
)
from smallset.findings.facts import Facts, Finding
from smallset.findings.mistakes import (
    confused,
    memorised,
    overconfident,
    overfitting,
    swallowing,
    wrong_labels_learnt,
)
from smallset.findings.test_set import few_test_images, label_errors, leaks

FINDERS = {
    "leaks": leaks,
    "not-learning": not_learning,
    "unstable": unstable,
    "collapse": collapse,
    "one-class": swallowing,
    "overfitting": overfitting,
    "memorised": memorised,
    "label-errors": label_errors,
    "wrong-labels-learnt": wrong_labels_learnt,
    "milestone-jump": milestone_jump,
    "still-improving": still_improving,
    "confused": confused,
    "miscalibrated": overconfident,
    "few-test-images": few_test_images,
}  # fmt: skip


def find(facts: Facts) -> list[Finding]:
    """Return what is to be said about a run, problems first."""
    found = [finding for finder in FINDERS.values() if (finding := finder(facts)) is not None]
    return sorted(found, key=lambda finding: finding.level == "hint")
