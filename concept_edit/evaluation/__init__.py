"""Did an edit work, by how much: pictures at equal seeds before and after, measured, with 95 % intervals."""

from concept_edit.evaluation.clips import OpenClip, TransformersClip
from concept_edit.evaluation.inception import Inception
from concept_edit.evaluation.instruments import (
    Confusion,
    Instruments,
    JudgeLabeller,
    ZeroShot,
    confusion,
    embedded_instruments,
)
from concept_edit.evaluation.intervals import Figure, wilson
from concept_edit.evaluation.report import Report
from concept_edit.evaluation.rows import Row, read_rows
from concept_edit.evaluation.run import Settings, evaluate
from concept_edit.evaluation.sets import choose_rows

__all__ = [
    "Confusion",
    "Figure",
    "Inception",
    "Instruments",
    "JudgeLabeller",
    "OpenClip",
    "Report",
    "Row",
    "Settings",
    "TransformersClip",
    "ZeroShot",
    "choose_rows",
    "confusion",
    "embedded_instruments",
    "evaluate",
    "read_rows",
    "wilson",
]
