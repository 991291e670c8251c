"""What the command line does, for Python."""

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
