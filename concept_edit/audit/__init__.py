"""Who changed what, and does it still hold: a release, its page, its signatures, and their verification."""
