"""The toolkit's version, that every file it writes carries."""

__version__ = "0.1.0"
