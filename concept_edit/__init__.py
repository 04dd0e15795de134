"""Closed-form editing of text-to-image models: erase, moderate and balance concepts without training.

One vocabulary throughout. Axes: `edits` source rows, `keeps` kept rows, `tokens` of a prompt, `d_text` width of a text
stream, `d_out` outputs of a matrix, `rank` of an edit. Nouns: Recipe (what is asked), Statistics (what the text encoder
says about it), Edit (the answer), Diagnosis and Report (what it did).
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from concept_edit.version import __version__ as __version__

if TYPE_CHECKING:
    from concept_edit.balance.debias import debias
    from concept_edit.balance.marks import Curve, calibrate
    from concept_edit.diagnose import Diagnosis, diagnose
    from concept_edit.edit import Edit, solve, solve_statistics
    from concept_edit.evaluation import Report, evaluate
    from concept_edit.export import export_checkpoint, export_kv, export_lora, import_kv_dump, push
    from concept_edit.export.adapter import export_adapter, export_language_model
    from concept_edit.export.encoder import export_encoder_lora
    from concept_edit.familiar import Familiar, familiar
    from concept_edit.language import LanguageModel, open_language_model
    from concept_edit.language.edit import FactEdit
    from concept_edit.language.encoder import open_text_encoder
    from concept_edit.language.facts import Fact
    from concept_edit.language.keys import KeyStatistics, collect_keys
    from concept_edit.language.measures import measure_facts
    from concept_edit.language.rewrite import rewrite
    from concept_edit.language.scores import FactScores
    from concept_edit.language.tasks import Task
    from concept_edit.language.vectors import FunctionVector, function_vector
    from concept_edit.models import open_model
    from concept_edit.prompts.collect import collect
    from concept_edit.prompts.corpus import Corpus, collect_corpus
    from concept_edit.prompts.stats import Statistics
    from concept_edit.recipe import Debias, Erase, Moderate, Recipe, Steer
    from concept_edit.search.heads import Heads, rank_heads
    from concept_edit.search.layers import LayerSearch, search_layers
    from concept_edit.search.traces import Trace, trace

__all__ = [
    "Corpus",
    "Curve",
    "Debias",
    "Diagnosis",
    "Edit",
    "Erase",
    "Fact",
    "FactEdit",
    "FactScores",
    "Familiar",
    "FunctionVector",
    "Heads",
    "KeyStatistics",
    "LanguageModel",
    "LayerSearch",
    "Moderate",
    "Recipe",
    "Report",
    "Statistics",
    "Steer",
    "Task",
    "Trace",
    "calibrate",
    "collect",
    "collect_corpus",
    "collect_keys",
    "debias",
    "diagnose",
    "evaluate",
    "export_adapter",
    "export_checkpoint",
    "export_encoder_lora",
    "export_kv",
    "export_language_model",
    "export_lora",
    "familiar",
    "function_vector",
    "import_kv_dump",
    "measure_facts",
    "open_language_model",
    "open_model",
    "open_text_encoder",
    "push",
    "rank_heads",
    "rewrite",
    "search_layers",
    "solve",
    "solve_statistics",
    "trace",
]

_HOMES = {
    "Corpus": "prompts.corpus",
    "Curve": "balance.marks",
    "Debias": "recipe",
    "Diagnosis": "diagnose",
    "Edit": "edit",
    "Erase": "recipe",
    "Fact": "language.facts",
    "FactEdit": "language.edit",
    "FactScores": "language.scores",
    "Familiar": "familiar",
    "FunctionVector": "language.vectors",
    "Heads": "search.heads",
    "KeyStatistics": "language.keys",
    "LanguageModel": "language",
    "LayerSearch": "search.layers",
    "Moderate": "recipe",
    "Recipe": "recipe",
    "Report": "evaluation",
    "Statistics": "prompts.stats",
    "Steer": "recipe",
    "Task": "language.tasks",
    "Trace": "search.traces",
    "calibrate": "balance.marks",
    "collect": "prompts.collect",
    "collect_corpus": "prompts.corpus",
    "collect_keys": "language.keys",
    "debias": "balance.debias",
    "diagnose": "diagnose",
    "evaluate": "evaluation",
    "export_adapter": "export.adapter",
    "export_checkpoint": "export",
    "export_encoder_lora": "export.encoder",
    "export_kv": "export",
    "export_language_model": "export.adapter",
    "export_lora": "export",
    "familiar": "familiar",
    "function_vector": "language.vectors",
    "import_kv_dump": "export",
    "measure_facts": "language.measures",
    "open_language_model": "language",
    "open_model": "models",
    "open_text_encoder": "language.encoder",
    "push": "export",
    "rank_heads": "search.heads",
    "rewrite": "language.rewrite",
    "search_layers": "search.layers",
    "solve": "edit",
    "solve_statistics": "edit",
    "trace": "search.traces",
}


def __getattr__(name: str) -> Any:
    """Import a public name's room on first use (PEP 562), so that importing the package stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """`concept_edit.solve` is the function, also after the room of that name was imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
