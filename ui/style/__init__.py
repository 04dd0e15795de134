"""Take a style out: one artist's manner, or any word, painted in another way from now on."""

from ui.workshop.card import Card

CARD = Card("style", "Take a style out", "One artist's manner goes; everybody else's stays. A LoRA in seconds.")
