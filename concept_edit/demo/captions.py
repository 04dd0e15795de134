"""Captions of the embedded model's own kind, every concept and style alike: another corpus than the plain one.

python -m concept_edit.demo.captions > own.txt
concept-edit corpus own.txt --model demo --out own.safetensors      # then: concept-edit solve ... --corpus
"""

from __future__ import annotations

from itertools import product

from concept_edit.demo.concepts import (
    CONCEPTS,
    GENERIC_PROMPTS,
    PERSON_WORDS,
    PLAIN_TEMPLATES,
    STYLE_TEMPLATES,
    STYLES,
    caption,
)


def own_captions() -> list[str]:
    """Each concept in each plain template and, with the templates in turn, in each style; professions said both ways
    and bare; the prompts that ask for nothing in particular."""
    things = [
        name
        for c in CONCEPTS
        for name in (
            [c.name, *(f"{w[0]} {c.name}" for w in PERSON_WORDS.values())] if c.women is not None else [c.name]
        )
    ]
    plain = [caption(template, thing, "") for thing, template in product(things, PLAIN_TEMPLATES)]
    pairs = list(product(things, [style.name for style in STYLES]))
    styled = [caption(STYLE_TEMPLATES[i % len(STYLE_TEMPLATES)], *pair) for i, pair in enumerate(pairs)]
    mixed = [text for pair in zip(styled, plain, strict=False) for text in pair]
    rest = plain[len(styled) :] + styled[len(plain) :]
    return [*GENERIC_PROMPTS, *mixed[::7], *(t for i, t in enumerate(mixed) if i % 7), *rest]


if __name__ == "__main__":
    print(*own_captions(), sep="\n")
