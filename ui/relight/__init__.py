"""Relight a photograph: its lamps dimmed or lit by a small network, all of them or the one that is painted over."""

from ui.workshop.card import Card

CARD = Card(
    "relight",
    "Relight a photograph",
    "Dim the lamps of a photograph, or light them: all, or the one you paint over.",
)
