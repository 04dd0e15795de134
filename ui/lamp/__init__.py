"""Find what lights the lamp: rooms, a mark, a switch solved from it, the units behind it."""

from ui.workshop.card import Card

CARD = Card(
    "lamp",
    "Find what lights the lamp",
    "Mark a lamp and switch it off: the glow and the mirror image go with it.",
)
