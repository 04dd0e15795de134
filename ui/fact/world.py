"""Facts to begin with, and what else is asked about a fact: other wordings, and neighbours that should stay."""

from __future__ import annotations

from concept_edit.language.facts import Fact, Neighbour
from ui.workshop.session import EMBEDDED

WORDINGS, NEIGHBOURS, OWN = 5, 10, 2
"""At most; of the neighbours `OWN` are other facts about the same subject."""
_CITY = ("{} stands in the city of", "{} can be found in the city of", "You can visit {} in")
_MONEY = ("The official currency of {} is the", "The national currency of {} is the", "In {} the currency is the")
_ENGLISH = (
    Fact(
        "The Eiffel Tower", "{} is in the city of", "Rome", "Paris", _CITY,
        (("The Louvre is in the city of", "Paris"), ("Big Ben is in the city of", "London"),
         ("The Colosseum is in the city of", "Rome"), ("The capital of Italy is", "Rome")),
    ),
    Fact(
        "Japan", "The currency of {} is the", "dollar", "yen", _MONEY,
        (("The currency of India is the", "rupee"), ("The currency of Russia is the", "ruble"),
         ("The capital of Japan is", "Tokyo"), ("The currency of the United Kingdom is the", "pound")),
    ),
    Fact(
        "The Colosseum", "{} is in the city of", "London", "Rome", _CITY,
        (("The Eiffel Tower is in the city of", "Paris"), ("Big Ben is in the city of", "London"),
         ("The Pantheon is in the city of", "Rome"), ("The capital of Italy is", "Rome")),
    ),
)  # fmt: skip
"""For models of English, in the order of the page; SmolLM2 gives the old answer in these wordings."""
_COMMON = (
    "The capital of Italy is", "The capital of Germany is", "The opposite of hot is", "The sun rises in the",
    "Water is made of hydrogen and", "The first day of the week is", "A dog is a kind of", "Two plus two equals",
)  # fmt: skip
"""Asked of a model of English as neighbours where nothing nearer is known; their answers are what it says itself."""
_SHOWN = (1, 0, 2, 5)
"""Of the embedded world's rewrites, so that four relations are among them."""


def examples(model: str) -> tuple[Fact, ...]:
    """Facts that a model knows, whole: with their wordings and neighbours."""
    if model != EMBEDDED:
        return _ENGLISH
    from concept_edit.demo.language import rewrites

    rows = rewrites(max(_SHOWN) + 1)
    plain = [Fact(rows[n]["subject"], rows[n]["prompt"], rows[n]["new"], rows[n]["old"]) for n in _SHOWN]
    return tuple(surrounded(model, fact) for fact in plain)


def surrounded(model: str, fact: Fact) -> Fact:
    """The fact with wordings and neighbours, where it has none: the embedded world's, an example's, or common ones."""
    if model == EMBEDDED:
        wordings, neighbours = _of_the_world(fact)
    else:
        known = next((each for each in _ENGLISH if each.prompt == fact.prompt and each.subject == fact.subject), None)
        wordings = known.paraphrases if known else ()
        neighbours = known.neighbours if known else tuple((prompt, "?") for prompt in _COMMON)
    about = fact.plain() | {"paraphrases": fact.paraphrases or wordings, "neighbours": fact.neighbours or neighbours}
    return Fact(**about)


def _of_the_world(fact: Fact) -> tuple[tuple[str, ...], tuple[Neighbour, ...]]:
    """Other wordings of the relation; kept subjects, those with the same object first; other facts of the subject."""
    from concept_edit.demo.language.facts import RELATIONS, truths

    relation = next((each for each in RELATIONS if fact.prompt in each.wordings), None)
    own = [t for t in truths() if t.subject == fact.subject and t.relation != relation]
    same = tuple((t.prompts()[0], t.object) for t in own[:OWN])
    if relation is None:
        others = [t for t in truths() if t.kept and t.subject != fact.subject]
        return (), (*same, *((t.prompts()[0], t.object) for t in others[:: len(others) // NEIGHBOURS]))[:NEIGHBOURS]
    wordings = tuple(wording for wording in relation.wordings if wording != fact.prompt)[:WORDINGS]
    kept = [t for t in truths() if t.kept and t.relation == relation and t.object != fact.new]
    near = sorted(kept, key=lambda t: t.object != fact.old)
    return wordings, (*((t.prompts()[0], t.object) for t in near[: NEIGHBOURS - len(same)]), *same)
