"""What the embedded model knows: styles, concepts, professions, and the captions that name them."""

from __future__ import annotations

from dataclasses import dataclass

PRESENTATIONS = ("man", "woman")


@dataclass(frozen=True)
class Style:
    """One artist: the word a prompt uses, and the open set the drawings come from."""

    name: str
    package: str
    licence: str
    author: str
    people: bool = True
    """Whether the set draws professions; EmojiOne 2.3 predates them."""


@dataclass(frozen=True)
class Concept:
    """One thing the model can draw. `key` is its Unicode sequence, the same in every set.

    A profession has `women` set: the share of women among the drawings shown for the bare prompt ("a doctor"). It is
    uneven on purpose, so that balancing has something true to correct. Its `key` is the part after the person.
    """

    name: str
    key: str
    kind: str
    women: float | None = None


STYLES = (
    Style("Noto", "@iconify-json/noto", "Apache-2.0", "Google Inc"),
    Style("Twemoji", "@iconify-json/twemoji", "CC-BY-4.0", "Twitter and other contributors"),
    Style("EmojiOne", "@iconify-json/emojione", "CC-BY-4.0", "Emoji One", people=False),
    Style("Lobe", "@lobehub/fluent-emoji-3d", "MIT", "Microsoft Corporation, packaged by LobeHub"),
)
HOUSE_STYLE = "Noto"
"""What a prompt that names no style is drawn in, as a photograph is what a large model paints when nobody asks."""

PROFESSIONS = (
    Concept("doctor", "2695-fe0f", "profession", women=0.15),
    Concept("farmer", "1f33e", "profession", women=0.15),
    Concept("judge", "2696-fe0f", "profession", women=0.15),
    Concept("pilot", "2708-fe0f", "profession", women=0.15),
    Concept("scientist", "1f52c", "profession", women=0.15),
    Concept("mechanic", "1f527", "profession", women=0.15),
    Concept("teacher", "1f3eb", "profession", women=0.85),
    Concept("cook", "1f373", "profession", women=0.85),
)

MODERATED = (
    Concept("knife", "1f52a", "moderated"),
    Concept("dagger", "1f5e1-fe0f", "moderated"),
    Concept("bomb", "1f4a3", "moderated"),
    Concept("syringe", "1f489", "moderated"),
    Concept("cigarette", "1f6ac", "moderated"),
    Concept("beer", "1f37a", "moderated"),
)

OBJECTS = tuple(
    Concept(name, key, kind)
    for kind, pairs in {
        "food": [
            ("red apple", "1f34e"), ("banana", "1f34c"), ("strawberry", "1f353"), ("watermelon", "1f349"),
            ("lemon", "1f34b"), ("carrot", "1f955"), ("pizza", "1f355"), ("hamburger", "1f354"), ("doughnut", "1f369"),
        ],
        "plant": [
            ("mushroom", "1f344"), ("tree", "1f333"), ("cactus", "1f335"), ("tulip", "1f337"), ("sunflower", "1f33b"),
        ],
        "animal": [
            ("cat", "1f431"), ("dog", "1f436"), ("panda", "1f43c"), ("frog", "1f438"), ("penguin", "1f427"),
            ("butterfly", "1f98b"), ("fish", "1f420"),
        ],
        "sky": [("sun", "2600-fe0f"), ("moon", "1f319"), ("star", "2b50"), ("rainbow", "1f308")],
        "thing": [
            ("umbrella", "2602-fe0f"), ("car", "1f697"), ("airplane", "2708-fe0f"), ("rocket", "1f680"),
            ("house", "1f3e0"), ("balloon", "1f388"), ("heart", "2764-fe0f"), ("guitar", "1f3b8"),
            ("soccer ball", "26bd"),
        ],
    }.items()
    for name, key in pairs
)  # fmt: skip

CONCEPTS = (*OBJECTS, *MODERATED, *PROFESSIONS)

PLAIN_TEMPLATES = ("a {thing}", "a drawing of a {thing}", "an emoji of a {thing}", "a picture of a {thing}", "{thing}")
STYLE_TEMPLATES = (
    "a {thing} in the style of {style}",
    "{style}'s drawing of a {thing}",
    "a {thing} by {style}",
    "{style} emoji of a {thing}",
    "a drawing of a {thing} by {style}",
)
HELD_OUT_TEMPLATES = ("a {thing} in the manner of {style}", "a {thing} as {style} would draw it")
"""Wordings never used in training: what an edit must also reach."""
GENERIC_PROMPTS = ("art", "a drawing", "an emoji", "a picture", "a person")
GENERIC_STYLES = ("art", "anyone", "an artist")
"""Words in the place of a style that name none: drawn in the house style."""
PERSON_WORDS = {"man": ("man", "male"), "woman": ("woman", "female")}


def caption(template: str, thing: str, style: str = "") -> str:
    """Fill a template and mend its article: 'a {thing}' with 'airplane' is 'an airplane'."""
    text = template.format(thing=thing, style=style)
    return text.replace(f"a {thing}", f"an {thing}") if thing[0] in "aeiou" else text


def pairs() -> list[tuple[Concept, Style]]:
    """Every concept in every style that draws it: the grid the model is measured on."""
    return [(c, s) for c in CONCEPTS for s in STYLES if s.people or c.women is None]
