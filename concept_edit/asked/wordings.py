"""Prompts as plain text: when two count as the same, and the wordings that speak for a concept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_ART = ("painting by {}", "art by {}", "artwork by {}", "picture by {}", "style of {}")
WORDINGS: Mapping[str, tuple[str, ...]] = {
    "art": _ART,
    "style": (
        *_ART, "a chair in the style of {}", "a bridge in {} style", "a tiger by {}", "a rose by the artist {}",
        "{}'s drawing of a ship", "{}'s painting of a castle", "a boat painted by {}", "a portrait of a woman by {}",
    ),
    "object": ("image of {}", "photo of {}", "portrait of {}", "picture of {}", "painting of {}"),
}  # fmt: skip
"""Sets of prompt templates. "art" and "object" are those of the UCE code for artists and for objects
(`--expand_prompts`, `--concept_type`). "style" also has things in the style: in a causal encoder the rows after "a
chair in the style of X" carry both, and are near none of "art by X"."""
UNTOLD = ("style", "object")
"""The sets of a gate where a recipe names none, and of a guarded erasure of what is called like a style."""
UNTOLD_THING = ("a {}", "a drawing of a {}", "a picture of a {}", "object")
"""The wordings of a guarded erasure of a thing where a recipe names none."""
_IN_MANNER = (
    *("{thing} in the style of {}", "{thing} by {}", "{}'s drawing of {thing}"),
    *("{thing} in {} style", "{thing} painted by {}"),
)
_LONG = 3
"""Words that a kept prompt has at most where it is taken for a thing."""

AUTO, NEUTRALLY = "auto", "neutral"
"""The guide that is chosen from what the recipe keeps, and the one that is nobody's style."""
NEUTRAL: tuple[str, ...] = (
    *("a picture", "an image", "a drawing", "a painting", "a sketch", "an illustration", "an artwork", "a print"),
    *("a photograph", "a study", "a scene", "a figure", "a shape", "an object", "a thing", "a place"),
)
"""Generic descriptors whose centroid is the guide "neutral", and "auto" where a recipe keeps few prompts."""


def normal(prompt: str) -> str:
    """The form in which two prompts count as the same: case and spacing do not matter."""
    return " ".join(prompt.split()).casefold()


def named(concept: str) -> str:
    """The concept without spaces around it.

    Raises:
        ValueError: nothing is left.
    """
    if not concept.strip():
        raise ValueError("a concept is empty; name a word or a short phrase, such as 'Van Gogh'")
    return concept.strip()


def is_manner(concept: str) -> bool:
    """Whether a concept is called as artists and styles are: by a proper name, or as in "cubism" and "pop art". The
    proper name may be that of a character or a place: no spelling tells."""
    words = concept.split()
    last = words[-1].casefold() if words else ""
    return any(word[0].isupper() for word in words) or last in ("art", "style") or last.endswith("ism")


def told_in_manner(kept: Sequence[str], most: int, common: Sequence[str] = ()) -> tuple[str, ...]:
    """Templates of things in a manner, "a dog in the style of {}", of at most so many of the things that are kept:
    short prompts that do not themselves name a manner; five ways of saying it in turn. Where these are fewer, `common`
    things fill them up."""
    things = [prompt for prompt in kept if prompt and len(prompt.split()) <= _LONG and not is_manner(prompt)]
    named, room = set(map(normal, things)), most - len(things)
    others = [thing for thing in common if normal(thing) not in named] if room > 0 else []
    chosen = (*_spread(things, most), *_spread(others, room))
    return tuple(_IN_MANNER[n % len(_IN_MANNER)].replace("{thing}", _a(thing)) for n, thing in enumerate(chosen))


def _spread(things: Sequence[str], most: int) -> tuple[str, ...]:
    """At most so many, evenly."""
    count = max(0, min(len(things), most))
    return tuple(things[n * len(things) // count] for n in range(count))


def _a(thing: str) -> str:
    """With an article, where it has none."""
    if thing.split()[0].casefold() in ("a", "an", "the"):
        return thing
    return f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"


def templates_of(wordings: Sequence[str]) -> tuple[str, ...]:
    """`{}` and every wording as it was given, sets spelt out, each once, in order."""
    return tuple(dict.fromkeys(["{}", *(t.strip() for name in wordings for t in WORDINGS.get(name, (name,)))]))


def prompts_of(concept: str, wordings: Sequence[str]) -> tuple[str, ...]:
    """The concept itself and every wording of it, each once, in order."""
    return tuple(dict.fromkeys(template.replace("{}", concept).strip() for template in templates_of(wordings)))


def refuse_repeats(prompts: Sequence[str], where: str) -> None:
    """Refuse two prompts that count as the same in the list called `where`.

    Raises:
        ValueError: a repeated prompt; both spellings are named.
    """
    seen: dict[str, str] = {}
    for prompt in prompts:
        if normal(prompt) in seen:
            raise ValueError(f"{prompt!r} stands twice in {where} (first as {seen[normal(prompt)]!r}); name it once")
        seen[normal(prompt)] = prompt
