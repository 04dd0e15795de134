"""Balance people: who is shown when nobody says, counted in pictures and led to the shares that are wanted."""

from ui.workshop.card import Card

CARD = Card("balance", "Balance people", "Who appears when a prompt does not say: counted, balanced, counted again.")
