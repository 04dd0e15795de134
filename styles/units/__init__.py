"""Units of a generator: ranked by what their removal changes, turned, and put back."""
