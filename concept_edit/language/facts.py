"""A fact: who it is about, how it is asked for, what the model should say and what it says now."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from concept_edit.language.tokens import place_of

Neighbour = tuple[str, str]
"""A prompt about something else, and the answer that shall stay."""


@dataclass(frozen=True)
class Fact:
    """One fact to rewrite: "The Space Needle", "{} is in the city of", new "Rome", old "Seattle"."""

    subject: str
    """As the prompts write it."""
    prompt: str
    """With {} where the subject stands; a prompt that holds the subject in full is understood too."""
    new: str
    """What the model shall say next. The space before it is added."""
    old: str = ""
    """What is true, and what the model says unedited; measures compare against it."""
    paraphrases: tuple[str, ...] = ()
    """Other ways of asking, with {} or with the subject in full."""
    neighbours: tuple[Neighbour, ...] = ()
    """Prompts about others and their true answers; a prompt alone means `old`."""
    generation: tuple[str, ...] = ()
    """Beginnings to go on from, for GE and RS; with {} or in full."""
    references: tuple[str, ...] = ()
    """Texts about what `new` is true of, for RS."""
    essence: tuple[str, ...] = ()
    """Texts about the subject that stay true, for its essence (perplexity)."""

    def __post_init__(self) -> None:
        for name in ("subject", "prompt", "new"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name).strip():
                raise ValueError(f"a fact needs a {name}; got {getattr(self, name)!r}")
        if "{}" not in self.prompt:
            start, stop = place_of(self.prompt, self.subject)
            object.__setattr__(self, "prompt", f"{self.prompt[:start]}{{}}{self.prompt[stop:]}")
        for name in ("paraphrases", "generation", "references", "essence"):
            object.__setattr__(self, name, _texts(getattr(self, name), name))
        object.__setattr__(self, "neighbours", tuple(self._neighbour(each) for each in self.neighbours))

    def _neighbour(self, given: Any) -> Neighbour:
        pair = (given, self.old) if isinstance(given, str) else tuple(given)
        if len(pair) != 2 or not all(isinstance(part, str) and part for part in pair):
            raise ValueError(
                f"{given!r} is no neighbour of {self.subject}; give a prompt and its answer, or a prompt alone where "
                "the fact has an `old` answer"
            )
        return pair[0], pair[1]

    @property
    def asked(self) -> str:
        """The prompt with the subject in it."""
        return self.prompt.replace("{}", self.subject)

    @property
    def told(self) -> str:
        """One line: prompt, new and old answer."""
        return f"{self.asked} {self.new}" + (f" (was {self.old})" if self.old else "")

    def filled(self, prompts: Sequence[str]) -> list[str]:
        """Prompts with the subject put where {} stands."""
        return [prompt.replace("{}", self.subject) for prompt in prompts]

    def plain(self) -> dict[str, Any]:
        """As JSON has it, without what is empty; `Fact(**plain)` is the same fact."""
        data = {name: value for name, value in asdict(self).items() if value}
        return {name: [list(v) if isinstance(v, tuple) else v for v in value] if isinstance(value, tuple) else value
                for name, value in data.items()}  # fmt: skip


def _texts(given: Any, name: str) -> tuple[str, ...]:
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise ValueError(f"{name} are texts; got {given!r}")
    return texts


def check_facts(facts: Fact | Iterable[Fact]) -> tuple[Fact, ...]:
    """Refuse none at all, and two answers to one question.

    Raises:
        ValueError: as said; the two answers are named.
    """
    held = (facts,) if isinstance(facts, Fact) else tuple(facts)
    if not held:
        raise ValueError("there are no facts; give at least one")
    asked: dict[str, str] = {}
    for fact in held:
        other = asked.setdefault(fact.asked, fact.new)
        if other != fact.new:
            raise ValueError(f"{fact.asked!r} shall be both {other!r} and {fact.new!r}; leave one of the two out")
    return tuple({(fact.asked, fact.new): fact for fact in held}.values())


def with_neighbours(facts: Sequence[Fact], most: int = 10, without: Collection[str] = ()) -> list[Fact]:
    """Facts with the same prompt as each other's neighbours: those with the same old answer first, then the others.

    A neighbour whose true answer is the new one is left out, and the subjects `without`, such as those that are edited
    in the same model, whose answers shall not stay.
    """
    found = []
    for n, fact in enumerate(facts):
        others = [
            other
            for other in [*facts[n + 1 :], *facts[:n]]
            if other.prompt == fact.prompt
            and other.subject != fact.subject
            and other.old not in ("", fact.new)
            and other.subject not in without
        ]
        near = sorted(others, key=lambda other: other.old != fact.old)[:most]
        found.append(replace(fact, neighbours=tuple((other.asked, other.old) for other in near)))
    return found
