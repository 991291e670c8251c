"""Train, compare, show, clean and use image classifiers with tens of images per class.

Nothing heavy is imported until it is used: ``import smallset`` loads no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from smallset.errors import ConfigError, DataError, RunError, SmallsetError

if TYPE_CHECKING:
    from smallset.api import best, check, export, join, predict, predict_files, study, train, tune
    from smallset.api.estimator import ImageClassifier
    from smallset.compare.summary import Summary
    from smallset.config import RunConfig
    from smallset.progress import Reporter
    from smallset.record.record import Record

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "DataError",
    "ImageClassifier",
    "Record",
    "Reporter",
    "RunConfig",
    "RunError",
    "SmallsetError",
    "Summary",
    "best",
    "check",
    "export",
    "join",
    "predict",
    "predict_files",
    "study",
    "train",
    "tune",
]

_HOME = {
    "ImageClassifier": "smallset.api.estimator",
    "RunConfig": "smallset.config",
    "Record": "smallset.record.record",
    "Reporter": "smallset.progress",
    "Summary": "smallset.compare.summary",
    "best": "smallset.api",
    "check": "smallset.api",
    "export": "smallset.api",
    "join": "smallset.api",
    "predict": "smallset.api",
    "predict_files": "smallset.api",
    "study": "smallset.api",
    "train": "smallset.api",
    "tune": "smallset.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'smallset' has no attribute {name!r}")
    found = getattr(import_module(_HOME[name]), name)
    if _HOME[name] == "smallset.api":
        from smallset.api.in_python import in_python

        globals()[name] = found = in_python(found)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # what is not loaded yet can be completed too
