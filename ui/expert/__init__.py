"""The workbench with every field: many edits in one recipe, the solver's settings, comparing, auditing, the device."""

from ui.workshop.card import Card

CARD = Card("expert", "Expert", "Every field: recipes, solver, audit, device.")
