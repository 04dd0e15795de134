"""Slide an attribute: older and younger, day and night, one style and another, as one edit with a strength."""

from ui.workshop.card import Card

CARD = Card("slide", "Slide an attribute", "Older to younger, one look to another: a slider solved in seconds.")
