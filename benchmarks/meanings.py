"""A subject told to be another one: in the text encoder (one matrix, or one in each of some layers), and with UCE in
the painter's text-side matrices.

    python benchmarks/meanings.py --layers 0,1,2,0+1+2 --uce --out out/meanings [--seeds 2] [--steps 10]

Eight objects and two styles of the embedded model at once; with `--tuning` eight and two others, on which settings are
chosen. Judged on pictures by its judge at the same seeds: success is the goal named; `exact` in a wording of the edit,
`unseen` in others, `styles` in each style that is not told (the goal *and* the style named), `kept` the concepts that
no pair names. With `--styled` the objects are also told in "a picture of a … in the style of …", with `--worded` in
WORDINGS; `--rounds` and `--enough` are of the search for values. Beside each rewrite stands what is left of the squared
distance to the goal's rows in the unseen wordings.
Intervals: Wilson, 95 %.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, STYLES
from concept_edit.evaluation.intervals import wilson
from concept_edit.language.meanings import MEANING, distances
from concept_edit.language.rewrite import Hold
from concept_edit.recipe import Erase, Recipe


@dataclass(frozen=True)
class Told:
    """What the edit is told, and what the told styles are asked to draw: nothing that it names."""

    pairs: dict[str, str]
    styles: dict[str, str]
    phrases: tuple[str, ...]
    shown: tuple[str, ...]

    @property
    def others(self) -> list[str]:
        """Styles that are not told."""
        return [style.name for style in STYLES if style.name not in self.styles]


MEASURED = Told(
    {
        "cat": "pizza", "red apple": "star", "doctor": "farmer", "bomb": "tulip", "sun": "fish", "tree": "rocket",
        "banana": "moon", "dog": "guitar",
    },
    {"Twemoji": "Lobe", "EmojiOne": "Noto"},
    ("a lemon in the style of {}", "a house in the style of {}", "a panda in the style of {}", "a pilot by {}"),
    ("carrot", "frog", "rainbow", "tulip", "pizza", "penguin"),
)  # fmt: skip
TUNING = Told(
    {
        "lemon": "car", "panda": "rainbow", "pilot": "mushroom", "knife": "balloon", "house": "beer",
        "penguin": "umbrella", "hamburger": "heart", "soccer ball": "cactus",
    },
    {"Lobe": "EmojiOne", "Noto": "Twemoji"},
    ("a cat in the style of {}", "a tree in the style of {}", "a doctor in the style of {}", "a bomb by {}"),
    ("carrot", "frog", "rainbow", "tulip", "pizza", "fish"),
)  # fmt: skip
GOALS = "unedited, asked for the goals"
"""What the model paints where the goals are asked for by name: no edit can be expected to do more."""
WORDINGS = ("the {}", "my {}", "this is a {}", "a small {} for you", "one {} at night")
"""What objects are also told in with `--worded`: other words before and behind them, none of UNSEEN."""
UNSEEN = ("an emoji of a {}", "the {} that i like")


@dataclass(frozen=True)
class Asked:
    part: str
    prompt: str
    goal: str
    """The prompt that names what the edit should paint."""
    concept: str
    style: str = ""


def asked(told: Told) -> list[Asked]:
    """Every prompt that is judged."""
    kinds = [("exact", ("a {}",), ""), ("unseen", UNSEEN, "")]
    kinds += [("styles", (f"a {{}} in the style of {style}",), style) for style in told.others]
    found = [
        Asked(part, way.format(old), way.format(new), new, style)
        for part, ways, style in kinds for old, new in told.pairs.items() for way in ways
    ]  # fmt: skip
    way = "a {} in the style of {}"
    found += [
        Asked("told style", way.format(it, old), way.format(it, new), it, new)
        for old, new in told.styles.items() for it in told.shown
    ]  # fmt: skip
    named = {*told.pairs, *told.pairs.values()}
    return found + [Asked("kept", f"a {c.name}", f"a {c.name}", c.name) for c in CONCEPTS if c.name not in named]


def facts(told: Told, styled: bool, worded: bool) -> list[ce.Fact]:
    """`styled`: objects are also told in the styles that stay; `worded`: and in WORDINGS."""
    ways = tuple(f"a picture of a {{}} in the style of {style}" for style in told.others) if styled else ()
    ways += WORDINGS if worded else ()
    objects = [ce.Fact(old, "{}", new, paraphrases=ways) for old, new in told.pairs.items()]
    return objects + [
        ce.Fact(old, told.phrases[0], new, paraphrases=told.phrases[1:]) for old, new in told.styles.items()
    ]


def main() -> None:
    args = settings()
    args.out.mkdir(parents=True, exist_ok=True)
    told, model, judge = TUNING if args.tuning else MEASURED, ce.open_model("demo"), load_judge()
    encoder = ce.open_text_encoder(model)
    layers = {name: [int(n) for n in name.split("+")] for name in args.layers.split(",")}
    every = sorted({n for some in layers.values() for n in some})
    keys = ce.collect_keys(encoder, every, captions(args.captions, told), tokens=20_000)
    print(keys.told, flush=True)

    search = replace(MEANING, steps=args.rounds, enough=args.enough)

    def spoken(method: str, some: list[int], weight: float = 1.0) -> Callable[[], AbstractContextManager[Any]]:
        own, hold = facts(told, args.styled, args.worded), Hold(weight=weight)

        def edited() -> AbstractContextManager[Any]:
            edit = ce.rewrite(encoder, own, method, some, keys, search=search, hold=hold)  # type: ignore[arg-type]
            print(f"left unseen: {left(encoder, edit, told)}", flush=True)
            return edit.applied(encoder)

        return edited

    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {"unedited": nullcontext, GOALS: nullcontext}
    for name, some in layers.items():
        ways[f"exact, layer {name}"] = spoken("rome", some)
        ways |= {f"soft λ {weight}, layer {name}": spoken("memit", some, weight) for weight in args.weights}
    for method in ("uce", "guarded") if args.uce else ():
        ways[f"UCE, {method}"] = lambda method=method: uce(model, method, told).applied(model)  # type: ignore[misc]
    table = {}
    for name, way in ways.items():
        path = args.out / f"{name.replace(', ', '-').replace(' ', '-')}.json"
        if not path.is_file():
            with way():
                path.write_text(json.dumps(judged(model, judge, told, args, name == GOALS)))
        table[name] = json.loads(path.read_text())
        print(line(name, table[name], told, args.seeds), flush=True)
    head = "| way | " + " | ".join(parts(told)) + " |\n|" + "---|" * (1 + len(parts(told))) + "\n"
    rows = [line(name, hits, told, args.seeds) for name, hits in table.items()]
    (args.out / "table.md").write_text(head + "\n".join(rows) + "\n")


def left(encoder: Any, edit: ce.FactEdit, told: Told) -> str:
    """Mean and largest share of the squared distance to the goal that an object keeps, in each unseen wording."""
    found = []
    for way in UNSEEN:
        pairs, goals = ([(way.format(name), name) for name in names] for names in (told.pairs, told.pairs.values()))
        share = (distances(encoder, pairs, goals, edit) / distances(encoder, pairs, goals)).square()
        found.append(f"{100 * share.mean():.0f} % (most {100 * share.max():.0f}) in {way!r}")
    return ", ".join(found)


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--captions", type=Path, help="CSV with a column `prompt`; none: the model's own concepts but the told ones"
    )
    parser.add_argument("--tuning", action="store_true", help="the pairs on which settings are chosen")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--layers", default="0", help="by commas; several together by +")
    parser.add_argument("--weights", type=float, nargs="*", default=[1.0], help="λ of the soft rewrites; none: no such")
    parser.add_argument("--styled", action="store_true", help="tell the objects in the styles that stay, too")
    parser.add_argument("--worded", action="store_true", help="tell the objects in some more wordings, too")
    parser.add_argument("--rounds", type=int, default=MEANING.steps, help="of the search for values")
    parser.add_argument("--enough", type=float, default=MEANING.enough, help="share of the distance at which it ends")
    parser.add_argument("--uce", action="store_true", help="UCE's two rows beside them")
    return parser.parse_args()


def captions(path: Path | None, told: Told) -> list[str]:
    if path is None:
        held = [c.name for c in CONCEPTS if c.name not in told.pairs]
        scenes = [f"a {name} in the style of {style}" for name in held for style in told.others]
        return scenes + [f"a {name}" for name in held]
    with path.open(encoding="utf-8") as file:
        return [row["prompt"] for row in csv.DictReader(file)]


def uce(model: Any, method: str, told: Told) -> ce.Edit:
    wordings = ("{}", "a {}", "a picture of a {}", "a drawing of a {}")
    edits = [Erase(old, guide=new, wordings=wordings) for old, new in told.pairs.items()]
    edits += [Erase(old, guide=new, wordings=told.phrases) for old, new in told.styles.items()]
    kept = tuple(c.name for c in CONCEPTS if c.name not in told.pairs)
    return ce.solve(model, Recipe(edits=tuple(edits), preserve=kept, method=method))  # type: ignore[arg-type]


def judged(model: Any, judge: Any, told: Told, args: argparse.Namespace, goals: bool) -> list[bool]:
    """Of every prompt and seed: was the concept named, and the style where one is asked for?"""
    both = [(ask, 9000 + seed) for ask in asked(told) for seed in range(args.seeds)]
    images = model.generate(
        [a.goal if goals else a.prompt for a, _ in both], [seed for _, seed in both], steps=args.steps, batch_size=16
    )
    verdicts = judge(images)
    return [v.concept == a.concept and a.style in ("", v.style) for v, (a, _) in zip(verdicts, both, strict=True)]


def parts(told: Told) -> Sequence[str]:
    return list(dict.fromkeys(ask.part for ask in asked(told)))


def line(name: str, hits: Sequence[bool], told: Told, seeds: int) -> str:
    owners = [ask.part for ask in asked(told) for _ in range(seeds)]
    cells = []
    for part in parts(told):
        own = [hit for hit, owner in zip(hits, owners, strict=True) if owner == part]
        low, high = wilson(sum(own), len(own))
        cells.append(f"{100 * sum(own) / len(own):.0f} % ({100 * low:.0f}–{100 * high:.0f})")
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
