"""Seeds as a person writes them."""

from __future__ import annotations

MOST = 100_000
"""Seeds of one call, unless a caller takes fewer."""


def seeds_of(text: str, *, most: int = MOST, what: str = "seeds") -> tuple[int, ...]:
    """'1, 2; 5-7' as seeds, each once, in the order they were written.

    Raises:
        ValueError: none, something that is no seed, a range that runs backwards, or more than `most`, which messages
            call `what`.
    """
    found: dict[int, None] = {}
    for part in text.replace(";", ",").replace(" ", ",").split(","):
        first, dash, last = part.partition("-")
        if part and not (
            first.isdecimal() and (last.isdecimal() if dash else True) and int(first) <= int(last or first)
        ):
            raise ValueError(f"'{part}' is no seed; write whole numbers such as 1, 2, 5-7")
        if part and int(last or first) - int(first) >= most:
            raise ValueError(f"{part} names more than {most} {what}; name at most {most}")
        if part:
            found |= dict.fromkeys(range(int(first), int(last or first) + 1))
    if not found:
        raise ValueError("give at least one seed, such as 1")
    if len(found) > most:
        raise ValueError(f"{len(found)} {what} are too many; name at most {most}")
    return tuple(found)
