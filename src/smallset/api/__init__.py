"""What the command line does, for Python.

Each function comes with what it needs when it is asked for: `check` waits for no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smallset.api.choosing import best, tune
    from smallset.api.comparing import draw_record, report, study
    from smallset.api.exporting import export
    from smallset.api.labels import clean, review
    from smallset.api.runs import check, join, train
    from smallset.api.using import predict, predict_files, serve

__all__ = [
    "best",
    "check",
    "clean",
    "draw_record",
    "export",
    "join",
    "predict",
    "predict_files",
    "report",
    "review",
    "serve",
    "study",
    "train",
    "tune",
]

_HOME = {
    "best": "choosing",
    "check": "runs",
    "clean": "labels",
    "draw_record": "comparing",
    "export": "exporting",
    "join": "runs",
    "predict": "using",
    "predict_files": "using",
    "report": "comparing",
    "review": "labels",
    "serve": "using",
    "study": "comparing",
    "train": "runs",
    "tune": "choosing",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'smallset.api' has no attribute {name!r}")
    return getattr(import_module(f"smallset.api.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})  # what is not loaded yet can be completed too
