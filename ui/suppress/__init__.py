"""Suppress things: a list of what a model must not paint, checked in pictures, with a report."""

from ui.workshop.card import Card

CARD = Card("suppress", "Suppress things", "A list of what must not appear; counted in pictures, word by word.")
