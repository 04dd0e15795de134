"""Find the StyleGAN units behind a marked region, and turn them.

    z -> map -> w -> styles -> synthesize -> image;  mask + images -> rank_units -> Ranking -> turned -> image, sweep
    pairs -> train_relighter -> Relighter;  photo + fraction -> relight -> photo

Axes: batch (images), channels, h, w; layers (rows of w), d_z, d_w; units (all (layer, channel) pairs). Images are
float32 display values in [-1, 1], masks floats in [0, 1].
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from styles.checkpoints.checkpoint import convert, load_generator, save_generator
    from styles.checkpoints.stored import UnsafeFileError
    from styles.dissection.intervention import AreaChange, area_changes
    from styles.dissection.segmenter import Segmenter, load_segmenter
    from styles.dissection.units import Dissection, dissect
    from styles.generator import Generator, Layer
    from styles.layers import GeneratorConfig
    from styles.pictures import contact_sheet, grid, save_sweep, to_pil, unit_pictures
    from styles.relighting.network import Relighter, load_relighter
    from styles.relighting.pairs import write_pairs
    from styles.relighting.photo import relight
    from styles.relighting.photographs import FolderPairs
    from styles.relighting.rooms import RenderedPairs, SwitchedPairs
    from styles.relighting.training import Schedule, train_relighter
    from styles.rules.edit import RuleEdit
    from styles.rules.keys import KeyMoment, key_moment
    from styles.rules.rewrite import rewrite_rule
    from styles.rules.wanted import Region
    from styles.units.control import even_strengths, solve_control
    from styles.units.modulate import (
        Statistics,
        UnitEdit,
        light_layer,
        mixed,
        relit,
        style_statistics,
        sweep,
        to_display,
        to_linear,
        turned,
    )
    from styles.units.rank import rank_units
    from styles.units.ranking import Ranking, Row
    from styles.units.search import RankingCancelledError

_HOMES = {
    "AreaChange": "dissection.intervention",
    "Dissection": "dissection.units",
    "FolderPairs": "relighting.photographs",
    "Generator": "generator",
    "GeneratorConfig": "layers",
    "KeyMoment": "rules.keys",
    "Layer": "generator",
    "Ranking": "units.ranking",
    "RankingCancelledError": "units.search",
    "Region": "rules.wanted",
    "Relighter": "relighting.network",
    "RenderedPairs": "relighting.rooms",
    "Row": "units.ranking",
    "RuleEdit": "rules.edit",
    "Schedule": "relighting.training",
    "Statistics": "units.modulate",
    "Segmenter": "dissection.segmenter",
    "SwitchedPairs": "relighting.rooms",
    "UnitEdit": "units.modulate",
    "UnsafeFileError": "checkpoints.stored",
    "area_changes": "dissection.intervention",
    "contact_sheet": "pictures",
    "convert": "checkpoints.checkpoint",
    "dissect": "dissection.units",
    "even_strengths": "units.control",
    "grid": "pictures",
    "key_moment": "rules.keys",
    "light_layer": "units.modulate",
    "load_generator": "checkpoints.checkpoint",
    "load_relighter": "relighting.network",
    "load_segmenter": "dissection.segmenter",
    "mixed": "units.modulate",
    "rank_units": "units.rank",
    "relight": "relighting.photo",
    "relit": "units.modulate",
    "rewrite_rule": "rules.rewrite",
    "save_generator": "checkpoints.checkpoint",
    "save_sweep": "pictures",
    "solve_control": "units.control",
    "style_statistics": "units.modulate",
    "sweep": "units.modulate",
    "to_display": "units.modulate",
    "to_linear": "units.modulate",
    "to_pil": "pictures",
    "train_relighter": "relighting.training",
    "turned": "units.modulate",
    "unit_pictures": "pictures",
    "write_pairs": "relighting.pairs",
}

__all__ = [
    "AreaChange",
    "Dissection",
    "FolderPairs",
    "Generator",
    "GeneratorConfig",
    "KeyMoment",
    "Layer",
    "Ranking",
    "RankingCancelledError",
    "Region",
    "Relighter",
    "RenderedPairs",
    "Row",
    "RuleEdit",
    "Schedule",
    "Segmenter",
    "Statistics",
    "SwitchedPairs",
    "UnitEdit",
    "UnsafeFileError",
    "area_changes",
    "contact_sheet",
    "convert",
    "dissect",
    "even_strengths",
    "grid",
    "key_moment",
    "light_layer",
    "load_generator",
    "load_relighter",
    "load_segmenter",
    "mixed",
    "rank_units",
    "relight",
    "relit",
    "rewrite_rule",
    "save_generator",
    "save_sweep",
    "solve_control",
    "style_statistics",
    "sweep",
    "to_display",
    "to_linear",
    "to_pil",
    "train_relighter",
    "turned",
    "unit_pictures",
    "write_pairs",
]


def __getattr__(name: str) -> object:
    """Public names are loaded on first use, so that `import styles` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'styles' has no attribute {name!r}")
    return getattr(import_module(f"styles.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
