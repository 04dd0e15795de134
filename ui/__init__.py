"""The page: edit, compare, relight."""
