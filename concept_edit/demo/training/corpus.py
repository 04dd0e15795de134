"""The corpus that ships with the embedded model: its own kind of captions, every concept and style alike.

python -m concept_edit.demo.training.corpus
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import concept_edit as ce
from concept_edit.demo import CORPUS
from concept_edit.demo.concepts import (
    CONCEPTS,
    GENERIC_PROMPTS,
    PERSON_WORDS,
    PLAIN_TEMPLATES,
    STYLE_TEMPLATES,
    STYLES,
    caption,
)


def captions() -> list[str]:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=CORPUS)
    args = parser.parse_args()
    corpus = ce.collect_corpus(ce.open_model("demo"), captions(), progress=True)
    corpus.save(args.out)
    print(f"{args.out}: {corpus.captions} captions, {args.out.stat().st_size / 1e6:.2f} MB, {corpus.identity}")


if __name__ == "__main__":
    main()
