"""The task world: what the in-context learner can be shown, and with which words.

A task turns an input into an output. Most outputs come from words that only one operation gives, as in a language:
plurals, capitals, French, tenses. One task is a permutation of the input words themselves, so that nothing in an answer
tells which task it is: it is the negative control.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from concept_edit.demo.language.facts import digest, shuffled

FRENCH = {
    "apple": "pomme", "chair": "chaise", "river": "fleuve", "house": "maison", "dog": "chien", "horse": "cheval",
    "bird": "oiseau", "tree": "arbre", "flower": "fleur", "book": "livre", "door": "porte", "moon": "lune",
    "star": "étoile", "king": "roi", "hand": "main", "hat": "chapeau", "key": "clef", "bed": "lit",
    "boat": "bateau", "road": "route", "town": "ville", "stone": "pierre", "lake": "lac", "cake": "gâteau",
}  # fmt: skip
NOUNS = tuple(FRENCH)
VERBS = ("walk", "jump", "talk", "cook", "paint", "open", "help", "wash", "climb", "visit", "push", "laugh")
OPPOSITES = {
    "hot": "cold", "tall": "short", "old": "young", "fast": "slow", "rich": "poor", "strong": "weak",
}  # fmt: skip
ANTONYMS = OPPOSITES | {after: before for before, after in OPPOSITES.items()}
ADJECTIVES = tuple(ANTONYMS)


LIST_LENGTH = 3
SEPARATOR = ", "
SPARED = tuple(shuffled(NOUNS, "spared")[:4])
"""Nouns never shown alone in training, only in lists: their pairs are the held-out ones of the noun tasks."""

TEMPLATES = {
    "qa": ("Q: {}\nA:", " {}\n\n"),
    "arrow": ("{} ->", " {}\n"),
    "colon": ("{}:", " {}\n"),
    "said": ("Input: {}\nOutput:", " {}\n\n"),
    "natural": ("When you say {} I say", " {}.\n"),
}
"""How an input is put and how the answer follows."""

Place = Literal["", "first", "last"]


@dataclass(frozen=True)
class Skill:
    """One task: an operation on a word, or on the first or last word of a list."""

    name: str
    table: Mapping[str, str]
    """What the operation makes of each word."""
    place: Place = ""
    control: bool = False
    """Whether the answers are a permutation of the inputs, which leaves no vector behind."""

    def answer(self, words: Sequence[str]) -> str:
        return self.table[words[-1 if self.place == "last" else 0]]

    def pairs(self, count: int, *, held_out: bool = False) -> list[tuple[str, str]]:
        """The first `count` (input, output) pairs, of those trained on or of those that were not; fewer where the
        words are used up."""
        if not self.place:
            words = [w for w in shuffled(self.table, self.name) if is_held_out([w]) == held_out]
            return [(word, self.table[word]) for word in words[:count]]
        found: list[tuple[str, str]] = []
        i = 0
        while len(found) < count:
            words = shuffled(self.table, f"{self.name} {i}")[:LIST_LENGTH]
            i += 1
            if is_held_out(words) == held_out:
                found.append((SEPARATOR.join(words), self.answer(words)))
        return found


def is_held_out(words: Sequence[str]) -> bool:
    """Whether an input was kept out of training: a tenth of the lists, and the spared nouns alone."""
    return words[0] in SPARED if len(words) == 1 else digest(" ".join(words)) % 10 == 0


def same(words: Sequence[str]) -> dict[str, str]:
    return {word: word for word in words}


def capitals(words: Sequence[str]) -> dict[str, str]:
    return {word: word.upper() for word in words}


def ending(words: Sequence[str], letters: str) -> dict[str, str]:
    """walk → walked; the stem's end is mended where English does."""
    return {word: (word + "t" if word == "hot" else word) + letters for word in words}


def third_person(words: Sequence[str]) -> dict[str, str]:
    return {word: word + ("es" if word.endswith("sh") else "s") for word in words}


def turned(words: Sequence[str], salt: str) -> dict[str, str]:
    """A permutation without a fixed point: each word gives the next of a shuffled ring."""
    ring = shuffled(words, salt)
    return dict(zip(ring, [*ring[1:], ring[0]], strict=True))


@cache
def skills() -> tuple[Skill, ...]:
    """All tasks: lists of nouns, nouns, verbs, adjectives, and the control."""
    on_nouns = {
        "copy": same(NOUNS),
        "capitals": capitals(NOUNS),
        "plural": ending(NOUNS, "s"),
        "french": FRENCH,
    }
    places: tuple[Place, ...] = ("first", "last")
    return (
        *(Skill(f"{place}_{name}", table, place) for place in places for name, table in on_nouns.items()),
        *(Skill(f"noun_{name}", table) for name, table in on_nouns.items()),
        Skill("verb_copy", same(VERBS)),
        Skill("verb_capitals", capitals(VERBS)),
        Skill("past", ending(VERBS, "ed")),
        Skill("gerund", ending(VERBS, "ing")),
        Skill("third_person", third_person(VERBS)),
        Skill("adjective_copy", same(ADJECTIVES)),
        Skill("adjective_capitals", capitals(ADJECTIVES)),
        Skill("antonym", ANTONYMS),
        Skill("comparative", ending(ADJECTIVES, "er")),
        Skill("superlative", ending(ADJECTIVES, "est")),
        Skill("turned_nouns", turned([w for w in NOUNS if w not in SPARED], "turn"), control=True),
    )
