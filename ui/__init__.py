"""The page: one errand a card, and an expert's workbench with every field."""
