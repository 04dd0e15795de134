"""Change a fact of a language model: where it is held, the rewrite, and what the model says before and after."""

from ui.workshop.card import Card

CARD = Card(
    "fact",
    "Change a fact",
    "Tell a language model another answer: it learns it in every wording, and its other answers stay.",
)
