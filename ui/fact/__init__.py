"""Change a fact of a language model: where it is held, the rewrite, and what the model says before and after."""

from ui.workshop.card import Card

CARD = Card(
    "fact",
    "Change a fact",
    "Tell a language model another answer; see where it held the old one, and what else changed.",
)
