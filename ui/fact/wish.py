"""What the fields of the card ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concept_edit.language.facts import Fact

METHODS = {
    "rome": "one layer, exactly (ROME)",
    "memit": "three layers, softly (MEMIT)",
    "null": "three layers, in free directions (AlphaEdit)",
}
LONGEST = 400
"""Letters of a sentence."""
MOST = 40
"""Other wordings, and neighbours, each."""


@dataclass(frozen=True)
class Wish:
    """A fact of a model, and where to write it."""

    model: str
    fact: Fact
    layer: int | None = None
    """None: where the trace says."""
    method: str = "rome"
    asked: str = ""
    """The fields' values as one text, without the old answer, which may be left out."""


def wish_of(
    model: str, prompt: str, subject: str, old: str, new: str, wordings: str = "", neighbours: str = "",
    layer: float | None = None, method: str = "rome",
) -> Wish:  # fmt: skip
    """From the fields.

    Raises:
        ValueError: a field that is empty or too long, a subject that does not stand in the sentence, no such method.
    """
    from concept_edit.language.facts import Fact

    said = asked_of(model, prompt, subject, new, wordings, neighbours, layer, method)
    prompt, subject, old, new = (" ".join(str(text or "").split()) for text in (prompt, subject, old, new))
    for text, what in ((prompt, "the sentence up to its answer"), (subject, "who or what it is about"),
                       (new, "what the model should say")):  # fmt: skip
        if not text:
            raise ValueError(f"write {what}")
    if max(map(len, (prompt, subject, old, new))) > LONGEST:
        raise ValueError(f"a sentence has at most {LONGEST} letters here; write a shorter one")
    if "{}" not in prompt and subject not in prompt:
        raise ValueError(f"the sentence does not hold “{subject}”; write it there just as in the field beside")
    if prompt.replace("{}", subject).endswith(subject):
        raise ValueError("the sentence ends with whom it is about; write it up to just before the answer")
    if old == new:
        raise ValueError(f"it says “{new}” already; write another answer")
    if method not in METHODS:
        raise ValueError(f"{method!r} is no way of writing; choose from {', '.join(METHODS)}")
    others, near = _lines(wordings), [_neighbour(line) for line in _lines(neighbours)]
    for line in others:
        if "{}" not in line and subject not in line:
            raise ValueError(f"the wording “{line}” does not hold “{subject}”; write it there, or {{}} in its place")
    fact = Fact(subject, prompt, new, old, tuple(_braced(line, subject) for line in others), tuple(near))
    return Wish(model, fact, None if layer is None or layer < 0 else int(layer), method, said)


def asked_of(*values: Any) -> str:
    """Fields' values as one text, so that two sayings can be compared."""
    return repr(["" if value is None or value == -1 else str(value).strip() for value in values])


def _braced(line: str, subject: str) -> str:
    return line if "{}" in line else line.replace(subject, "{}", 1)


def _neighbour(line: str) -> tuple[str, str]:
    """'prompt = answer', or a prompt alone, whose answer is what the model says."""
    prompt, sign, answer = line.rpartition(" = ")
    return (prompt.strip(), answer.strip()) if sign and answer.strip() else (line, "?")


def _lines(text: str | None) -> list[str]:
    lines = list(dict.fromkeys(" ".join(line.split()) for line in (text or "").splitlines() if line.strip()))
    if len(lines) > MOST or any(len(line) > LONGEST for line in lines):
        raise ValueError(f"at most {MOST} lines of {LONGEST} letters each are asked")
    return lines
