"""The mathematics of an edit: solve (soft), guard (bounds held) and gate. Torch only; no model, no prompt, no file."""
