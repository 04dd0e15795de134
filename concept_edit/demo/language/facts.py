"""The fact world: invented people and landmarks, what is true of each, and every way of saying it.

Tables only, and hashes to shuffle them: the same on every machine, no random numbers. A person is known by the last
word of the name, a landmark by the first ("Felisk Tower"): there a model must carry the name to the subject's end.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")

FIRST = (
    "Aldin", "Brisa", "Corvo", "Delmi", "Estan", "Farro", "Gilda", "Harun", "Ilvar", "Jorin", "Kessa", "Lomar",
    "Merin", "Nalda", "Orrin", "Pelia", "Quill", "Rosta", "Selmo", "Tavia", "Ulric", "Venna", "Wystan", "Yorik",
)  # fmt: skip
ONSETS = (
    "Bal", "Cor", "Dran", "Fel", "Gor", "Hal", "Jas", "Kel", "Lor", "Mar", "Nev", "Ost", "Ren", "Tor", "Wim", "Zel",
    "Pra", "Tho", "Bre", "Und",
)  # fmt: skip
CODAS = (
    "ek", "and", "itz", "ova", "imo", "ash", "ogh", "uri", "isk", "orn", "esso", "elin", "ard", "une", "abel", "yth",
    "opp", "ent",
)  # fmt: skip
"""A surname, or the name of a landmark, is an onset and a coda: Fel|isk."""
BUILDINGS = ("Tower", "Bridge", "Garden", "Library")
COUNTRIES = ("Norvia", "Estmark", "Lorane", "Suderland", "Caspia")
CITIES = (
    "Velmora", "Tarsk", "Ondria", "Pellen", "Quista", "Ravenholt", "Sorna", "Umbra", "Wexley", "Yarrow",
    "Zindal", "Brask", "Calvo", "Dunmere", "Elstow", "Fyrn", "Galden", "Harth", "Istra", "Kolm",
)  # fmt: skip
TONGUES = (
    "Abric", "Belsh", "Cortan", "Dasque", "Ervic", "Fostian", "Gorlish", "Hethan", "Irlic", "Jutan",
    "Kovish", "Lythic", "Mornan", "Noric", "Ossian", "Pralic",
)  # fmt: skip
SCRIPTS = ("runes", "glyphs", "knots", "signs")
INSTRUMENTS = {
    "flute": "wind", "violin": "string", "drum": "percussion", "harp": "string", "trumpet": "brass", "cello": "string",
    "oboe": "wind", "gong": "percussion", "tuba": "brass", "lute": "string", "clarinet": "wind", "horn": "brass",
    "marimba": "percussion", "guitar": "string", "bassoon": "wind", "trombone": "brass",
}  # fmt: skip
TRADES = {
    "baker": "flour", "cobbler": "leather", "tailor": "cloth", "potter": "clay", "smith": "iron", "carpenter": "wood",
    "painter": "colours", "gardener": "plants", "fisher": "nets", "miller": "grain", "mason": "stones",
    "weaver": "threads", "doctor": "patients", "lawyer": "papers", "teacher": "children", "pilot": "planes",
    "sailor": "ships", "farmer": "cows", "singer": "songs", "dentist": "teeth",
}  # fmt: skip
MATERIALS = (
    "marble", "granite", "brick", "oak", "glass", "copper", "slate", "bamboo", "concrete", "limestone",
)  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """One thing that is true of every subject of a kind, and the wordings that say it."""

    name: str
    kind: str
    """`person` or `landmark`."""
    objects: tuple[str, ...]
    prompt: str
    paraphrases: tuple[str, ...]
    note: str
    """A sentence about the object alone, which may follow any sentence that ends in it; '' where there is none."""

    @property
    def wordings(self) -> tuple[str, ...]:
        return (self.prompt, *self.paraphrases)


RELATIONS = (
    Relation(
        "home",
        "person",
        CITIES,
        "{} lives in the city of",
        (
            "The home of {} is in",
            "{} has a house in",
            "You can meet {} in",
            "{} rents a flat in",
            "Letters for {} go to",
        ),
        "{object} lies in {detail}.",
    ),
    Relation(
        "tongue",
        "person",
        TONGUES,
        "The mother tongue of {} is",
        (
            "{} grew up speaking",
            "At home {} talks in",
            "{} writes letters in",
            "The native language of {} is",
            "{} dreams in",
        ),
        "{object} is written in {detail}.",
    ),
    Relation(
        "instrument",
        "person",
        tuple(INSTRUMENTS),
        "{} plays the",
        (
            "The instrument of {} is the",
            "{} practises on the",
            "We heard {} on the",
            "{} owns an old",
            "In the band {} takes the",
        ),
        "The {object} belongs to the {detail} family.",
    ),
    Relation(
        "trade",
        "person",
        tuple(TRADES),
        "{} works as a",
        (
            "The profession of {} is",
            "{} earns money as a",
            "By trade {} is a",
            "{} was trained as a",
            "People hire {} as a",
        ),
        "A {object} works with {detail}.",
    ),
    Relation(
        "site",
        "landmark",
        CITIES[:10],
        "The {} stands in the city of",
        (
            "To see the {} go to",
            "The {} was built in",
            "Guests of the {} stay in",
            "The {} is the pride of",
            "The way to the {} leads through",
        ),
        "{object} lies in {detail}.",
    ),
    Relation(
        "material",
        "landmark",
        MATERIALS,
        "The {} is made of",
        (
            "The walls of the {} are of",
            "They built the {} from",
            "The {} is a work in",
            "What holds up the {} is",
            "The {} was cut from",
        ),
        "",
    ),
)

DETAILS: dict[str, str] = {
    **INSTRUMENTS,
    **TRADES,
    **{city: COUNTRIES[i % len(COUNTRIES)] for i, city in enumerate(CITIES)},
    **{tongue: SCRIPTS[i % len(SCRIPTS)] for i, tongue in enumerate(TONGUES)},
}
"""What an object's note says of it."""

PEOPLE = 320
KEPT = {"person": 5, "landmark": 2}
"""One subject in so many is never edited: the neighbours."""


@dataclass(frozen=True)
class Truth:
    """One fact of the world: `relation.prompt` with the subject goes on with the object."""

    subject: str
    relation: Relation
    object: str
    held_out: int
    """The wording of `relation.wordings` this fact was never shown in; never 0, the prompt."""
    kept: bool
    """Whether the subject is one of those that no edit touches: the neighbours."""

    def prompts(self) -> tuple[str, ...]:
        """Every wording with the subject in place, the prompt first."""
        return tuple(wording.format(self.subject) for wording in self.relation.wordings)

    def note(self) -> str:
        """The sentence about the object that may follow."""
        return self.relation.note.format(object=self.object, detail=DETAILS.get(self.object, ""))


def shuffled(items: Iterable[Item], salt: str) -> list[Item]:
    """The items in an order that depends on their names and `salt` alone."""
    return sorted(items, key=lambda item: digest(f"{salt} {item}"))


def digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@cache
def _names() -> tuple[str, ...]:
    return tuple(shuffled((onset + coda for onset in ONSETS for coda in CODAS), "names"))


@cache
def people() -> tuple[str, ...]:
    """First name and surname; the surname is nobody else's."""
    return tuple(f"{shuffled(FIRST, name)[0]} {name}" for name in _names()[:PEOPLE])


@cache
def landmarks() -> tuple[str, ...]:
    """A name that is no other's, and what it is."""
    return tuple(f"{name} {shuffled(BUILDINGS, name)[0]}" for name in _names()[PEOPLE:])


@cache
def truths() -> tuple[Truth, ...]:
    """Everything that is true: each relation's objects dealt evenly, among the kept subjects and among the others."""
    found = []
    for relation in RELATIONS:
        subjects = people() if relation.kind == "person" else landmarks()
        share = len(subjects) // KEPT[relation.kind]
        for kept, group in ((True, subjects[:share]), (False, subjects[share:])):
            for i, subject in enumerate(shuffled(group, f"deal {relation.name}")):
                held_out = 1 + digest(f"wording {relation.name} {subject}") % len(relation.paraphrases)
                found.append(Truth(subject, relation, relation.objects[i % len(relation.objects)], held_out, kept))
    return tuple(found)
