"""The embedded rooms: a procedural renderer, the generator trained on it, and the script that trained it."""
