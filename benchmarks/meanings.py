"""A subject told to be another one: in the text encoder (one matrix), and with UCE in the painter's text-side matrices.

    python benchmarks/meanings.py --out out/meanings [--seeds 2] [--steps 10]

Eight objects and two styles of the embedded model at once. Judged on pictures by its judge at the same seeds: success
is the goal named; `exact` in a wording of the edit, `unseen` in others, `styles` the exact wording in each style (the
goal *and* the style named), `kept` the concepts that no pair names, relative to the unedited model's own share.
Intervals: Wilson, 95 %.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, STYLES
from concept_edit.evaluation.intervals import wilson
from concept_edit.recipe import Erase, Recipe

PAIRS = {
    "cat": "pizza", "red apple": "star", "doctor": "farmer", "bomb": "tulip", "sun": "fish", "tree": "rocket",
    "banana": "moon", "dog": "guitar",
}  # fmt: skip
TOLD = {"Twemoji": "Lobe", "EmojiOne": "Noto"}
PHRASES = ("a lemon in the style of {}", "a house in the style of {}", "a panda in the style of {}", "a pilot by {}")
UNSEEN = ("an emoji of a {}", "the {} that i like")
SHOWN = ("carrot", "frog", "rainbow", "tulip", "pizza", "penguin")
"""What the told styles are asked to draw; no wording of the edit names it but by chance of the pair."""


@dataclass(frozen=True)
class Asked:
    part: str
    prompt: str
    concept: str
    style: str = ""


def asked() -> list[Asked]:
    found = [Asked("exact", f"a {old}", new) for old, new in PAIRS.items()]
    found += [Asked("unseen", wording.format(old), new) for old, new in PAIRS.items() for wording in UNSEEN]
    styles = [style.name for style in STYLES if style.name not in TOLD]
    found += [Asked("styles", f"a {old} in the style of {s}", new, s) for old, new in PAIRS.items() for s in styles]
    found += [
        Asked("told style", f"a {it} in the style of {old}", it, new) for old, new in TOLD.items() for it in SHOWN
    ]
    named = {*PAIRS, *PAIRS.values()}
    return found + [Asked("kept", f"a {c.name}", c.name) for c in CONCEPTS if c.name not in named]


def facts() -> list[ce.Fact]:
    told = [ce.Fact(old, "{}", new) for old, new in PAIRS.items()]
    return told + [ce.Fact(old, PHRASES[0], new, paraphrases=PHRASES[1:]) for old, new in TOLD.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--captions", type=Path, help="CSV with a column `prompt`; none: the model's own concepts but the told ones"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--layers", default="0")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model, judge = ce.open_model("demo"), load_judge()
    encoder = ce.open_text_encoder(model)
    layers = [int(n) for n in args.layers.split(",")]
    keys = ce.collect_keys(encoder, layers, captions(args.captions), tokens=20_000)
    print(keys.told, flush=True)

    def rows(edit: AbstractContextManager[Any]) -> list[bool]:
        with edit:
            return judged(model, judge, args)

    def told(method: str, layer: int) -> Callable[[], AbstractContextManager[Any]]:
        return lambda: ce.rewrite(encoder, facts(), method, [layer], keys).applied(encoder)  # type: ignore[arg-type]

    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {"unedited": nullcontext}
    for layer in layers:
        ways |= {f"exact, layer {layer}": told("rome", layer), f"soft, layer {layer}": told("memit", layer)}
    ways |= {f"UCE, {method}": lambda method=method: uce(model, method).applied(model) for method in ("uce", "guarded")}  # type: ignore[misc]
    table = {}
    for name, way in ways.items():
        path = args.out / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if not path.is_file():
            path.write_text(json.dumps(rows(way())))
        table[name] = json.loads(path.read_text())
        print(line(name, table[name], args.seeds), flush=True)
    head = "| way | " + " | ".join(parts()) + " |\n|---" * 1 + "|---" * len(parts()) + "|\n"
    (args.out / "table.md").write_text(head + "\n".join(line(n, hits, args.seeds) for n, hits in table.items()) + "\n")


def captions(path: Path | None) -> list[str]:
    if path is None:
        held = [c.name for c in CONCEPTS if c.name not in PAIRS]
        scenes = [f"a {name} in the style of {s.name}" for name in held for s in STYLES if s.name not in TOLD]
        return scenes + [f"a {name}" for name in held]
    with path.open(encoding="utf-8") as file:
        return [row["prompt"] for row in csv.DictReader(file)]


def uce(model: Any, method: str) -> ce.Edit:
    wordings = ("{}", "a {}", "a picture of a {}", "a drawing of a {}")
    edits = [Erase(old, guide=new, wordings=wordings) for old, new in PAIRS.items()]
    edits += [Erase(old, guide=new, wordings=PHRASES) for old, new in TOLD.items()]
    kept = tuple(c.name for c in CONCEPTS if c.name not in PAIRS)
    return ce.solve(model, Recipe(edits=tuple(edits), preserve=kept, method=method))  # type: ignore[arg-type]


def judged(model: Any, judge: Any, args: argparse.Namespace) -> list[bool]:
    """Of every prompt and seed: was the concept named, and the style where one is asked for?"""
    both = [(ask, 9000 + seed) for ask in asked() for seed in range(args.seeds)]
    images = model.generate([a.prompt for a, _ in both], [seed for _, seed in both], steps=args.steps, batch_size=16)
    verdicts = judge(images)
    return [v.concept == a.concept and a.style in ("", v.style) for v, (a, _) in zip(verdicts, both, strict=True)]


def parts() -> Sequence[str]:
    return list(dict.fromkeys(ask.part for ask in asked()))


def line(name: str, hits: Sequence[bool], seeds: int) -> str:
    owners = [ask.part for ask in asked() for _ in range(seeds)]
    cells = []
    for part in parts():
        own = [hit for hit, owner in zip(hits, owners, strict=True) if owner == part]
        low, high = wilson(sum(own), len(own))
        cells.append(f"{100 * sum(own) / len(own):.0f} % ({100 * low:.0f}–{100 * high:.0f})")
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
