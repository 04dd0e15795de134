"""What a card of the page is: an errand with a name of its own in the address, `/?do=name`."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

    from ui.workshop.session import Workshop

PICTURES = Path(__file__).parent.parent / "pictures"


@dataclass(frozen=True)
class Shared:
    """What the page hands to every card."""

    workshop: Workshop
    visit: gr.State
    model: gr.Dropdown
    """The chooser on top; its `change` tells a card that `visit.model` is another."""


@dataclass(frozen=True)
class Card:
    """One errand. `ui/<name>/layout.py` has `build(shared)`, called inside the card's own tab."""

    name: str
    title: str
    line: str
    """What a person gets, in a sentence."""

    def build(self, shared: Shared) -> None:
        """Lay the card out and wire it."""
        import_module(f"ui.{self.name}.layout").build(shared)

    @property
    def pictures(self) -> tuple[Path, ...]:
        """Before and after, as the home page shows them; none where nothing is to be seen."""
        return tuple(sorted(PICTURES.glob(f"{self.name}-*.png"), reverse=True))
