"""A vector of the text encoder's heads, as a language model's function vector is one, beside a solved slider (`Steer`).

    OMP_NUM_THREADS=1 python benchmarks/encoder_vectors.py --root work/vectors --out benchmarks/encoder_vectors.md

A task is a way of asking: "a woman farmer" less "a man farmer", "a cat in the style of Twemoji" less "a cat". Of the
concepts that are not measured, the mean difference of each head's output at the concept's last token and at the end of
the text goes through the output projection; the heads are ranked by how far each alone leads the encoder's rows to
those of the prompt that names it. Number of heads, layer and strength are chosen by that distance, on the same
prompts; no picture is painted for it. `Steer` is told the concepts it is measured on, as its user would. Both act on
prompts that say nothing of presentation or style; the judge says what is seen. Every part is kept and gone on with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import OBJECTS, PROFESSIONS, caption
from concept_edit.demo.judge import Verdict
from concept_edit.demo.recipes import kept
from concept_edit.evaluation.intervals import wilson
from concept_edit.files import replace_file
from concept_edit.language.encoder import TextEncoder, open_text_encoder
from concept_edit.models.opened import OpenedModel
from concept_edit.pictures import write_strip
from concept_edit.search.head_effects import head_place
from concept_edit.search.hooks import Place, changed, recorded

STYLE = "Twemoji"
SEED, STEPS = 9301, 12
SIZES, STRENGTHS = (2, 4, 8, 16), (0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
PLAIN = ("a {}", "a picture of a {}", "a drawing of a {}")
Roles = tuple[Tensor, Tensor]
"""What is added at the concept's last token, and from the end of the text on."""


@dataclass(frozen=True)
class Case:
    """One way of asking, with concepts to search on and others to measure on."""

    name: str
    ends: tuple[str, str]
    """Phrases with {}: towards, away."""
    searched: tuple[str, ...]
    measured: tuple[str, ...]
    shows: Callable[[Verdict], bool]

    def asked(self, concepts: Sequence[str], phrase: str) -> list[str]:
        return [caption(plain.replace("{}", "{thing}"), phrase.format(c)) for c in concepts for plain in PLAIN]

    def recipe(self) -> ce.Recipe:
        towards, away = ("" if end == "{}" else end for end in self.ends)
        edits = tuple(
            ce.Steer(c, towards=towards.format(c), away=away.format(c), wordings=PLAIN) for c in self.measured
        )
        return ce.Recipe(edits=edits, preserve=kept(*self.measured), method="guarded")


def cases() -> tuple[Case, ...]:
    people = tuple(c.name for c in PROFESSIONS)
    things = tuple(c.name for c in OBJECTS)
    return (
        Case("presentation", ("woman {}", "man {}"), people[4:], people[:4], lambda v: v.presentation == "woman"),
        Case("style", ("{} in the style of " + STYLE, "{}"), things[1::2], things[::6], lambda v: v.style == STYLE),
    )


def head_rows(encoder: TextEncoder, prompts: Sequence[str], back: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean outputs of all heads `back` tokens before the end and at it: layers x heads x d_head each."""
    tokens = encoder.encode(prompts)
    places = [head_place(encoder, layer) for layer in range(encoder.layers)]
    with torch.no_grad(), recorded(encoder.model, places) as seen:
        encoder.logits(tokens)
    rows, ends = torch.arange(len(prompts)), torch.tensor(encoder.ends(tokens))
    columns = (ends - torch.tensor(back), ends)
    told = [torch.stack([seen[p][rows, column].mean(dim=0) for p in places]) for column in columns]
    return told[0].unflatten(1, (encoder.heads, -1)), told[1].unflatten(1, (encoder.heads, -1))


def differences(encoder: TextEncoder, case: Case) -> tuple[Tensor, Tensor]:
    """Of the heads' mean outputs, towards less away, at both roles."""
    found = []
    for end in case.ends:
        after = end.split("{}")[1]
        back = 1 + (len(encoder.own_ids(after)) - 2 if after.strip() else 0)
        prompts = case.asked(case.searched, end)
        found.append(head_rows(encoder, prompts, [back] * len(prompts)))
    return found[0][0] - found[1][0], found[0][1] - found[1][1]


def vector(encoder: TextEncoder, means: tuple[Tensor, Tensor], heads: Sequence[tuple[int, int]]) -> Roles:
    """Sum over the heads of what their mean difference writes."""
    width, total = means[0].shape[-1], [torch.zeros(encoder.width), torch.zeros(encoder.width)]
    for layer, head in heads:
        columns = encoder.matrix(encoder.site("head", layer))[:, head * width : (head + 1) * width].float()
        for role in range(2):
            total[role] += columns @ means[role][layer, head]
    return total[0], total[1]


@contextmanager
def added(encoder: TextEncoder, roles: Roles, layer: int, strength: float) -> Iterator[None]:
    """Inside the block every text that is not empty has the vector in its rows, in the output of block `layer`."""
    ends: list[Tensor] = []
    hook = encoder.model.register_forward_pre_hook(
        lambda _, given, named: ends.append(_ends(encoder, given[0] if given else named["input_ids"])), with_kwargs=True
    )

    def add(value: Tensor) -> Tensor:
        end, columns = ends[-1][:, None], torch.arange(value.shape[1])
        for where, what in zip((columns == end - 1, columns >= end), roles, strict=True):
            value[where & (end > 1)] += (strength * what).to(value)
        return value

    try:
        with changed(encoder.model, {Place(encoder.site("hidden", layer).module): add}, idle=True):
            yield
    finally:
        hook.remove()


def _ends(encoder: TextEncoder, ids: Tensor) -> Tensor:
    return (ids == encoder.tokenizer.eos_token_id).int().argmax(dim=1)


@torch.no_grad()
def said(encoder: TextEncoder, prompts: Sequence[str]) -> Tensor:
    """The rows at the end of each text."""
    tokens = encoder.encode(prompts)
    return encoder.logits(tokens)[torch.arange(len(prompts)), torch.tensor(encoder.ends(tokens))].float()


def reached(encoder: TextEncoder, case: Case, roles: Roles, layer: int, strength: float) -> float:
    """How much of the way from the plain prompt's end to the named one's is gone: 1 is there, below 0 farther away."""
    plain, goal = (case.asked(case.searched, phrase) for phrase in ("{}", case.ends[0]))
    start, end = said(encoder, plain), said(encoder, goal)
    with added(encoder, roles, layer, strength):
        now = said(encoder, plain)
    return 1 - float((now - end).square().sum() / (start - end).square().sum())


def choose(encoder: TextEncoder, case: Case) -> tuple[Roles, dict[str, Any]]:
    """Heads one by one, then their number, layer and strength by the distance alone."""
    means = differences(encoder, case)
    grid = [(layer, head) for layer in range(encoder.layers) for head in range(encoder.heads)]
    alone = {at: reached(encoder, case, vector(encoder, means, [at]), at[0], 1.0) for at in grid}
    ranked = sorted(grid, key=lambda at: -alone[at])
    best: tuple[float, int, int, float] = (-9.0, 0, 0, 0.0)
    for size in SIZES:
        roles = vector(encoder, means, ranked[:size])
        for layer in range(encoder.layers):
            for strength in STRENGTHS:
                best = max(best, (reached(encoder, case, roles, layer, strength), size, layer, strength))
    way, size, layer, strength = best
    told = {"way": way, "size": size, "layer": layer, "strength": strength}
    told |= {"heads": [[*at, alone[at]] for at in ranked]}
    return vector(encoder, means, ranked[:size]), told


def random_like(roles: Roles) -> Roles:
    """The control: directions by chance, as long as the vector's."""
    drawn = [torch.randn(r.shape, generator=torch.Generator().manual_seed(n)) for n, r in enumerate(roles)]
    return drawn[0] / drawn[0].norm() * roles[0].norm(), drawn[1] / drawn[1].norm() * roles[1].norm()


def paint(model: OpenedModel, concepts: Sequence[str], seed: int) -> list[Image]:
    """One picture of each, seeds counting on."""
    seeds = [seed + i for i in range(len(concepts))]
    return model.generate([caption("a {thing}", name) for name in concepts], seeds, steps=STEPS)


def counted(model: OpenedModel, case: Case, others: Sequence[str], count: int) -> dict[str, list[int]]:
    """Pictures that show what was asked for, in which the concept is named, and of others: [hits, n] each."""
    judge = load_judge()
    names = [case.measured[i % len(case.measured)] for i in range(count)]
    own, rest = (judge(paint(model, asked, SEED + 500 * n)) for n, asked in enumerate((names, others)))
    return {
        "shown": [sum(case.shows(v) for v in own), count],
        "named": [sum(v.concept == n for v, n in zip(own, names, strict=True)), count],
        "others shown": [sum(case.shows(v) for v in rest), len(rest)],
        "others named": [sum(v.concept == n for v, n in zip(rest, others, strict=True)), len(rest)],
    }


def measured(case: Case, root: Path, count: int) -> dict[str, Any]:
    """One case under every condition; what was counted is read."""
    model = ce.open_model("demo", device="cpu")
    encoder = open_text_encoder(model)
    roles, told = choose(encoder, case)
    chance, edit = random_like(roles), ce.solve(model, case.recipe())
    layer, base = told["layer"], told["strength"]
    ways: dict[str, Callable[[], AbstractContextManager[object]]] = {"as it is": nullcontext}
    for times in (1.0, 2.0):
        ways[f"vector x {times:g}"] = lambda times=times: added(encoder, roles, layer, times * base)
        ways[f"Steer x {times:g}"] = lambda times=times: edit.applied(model, times)
    ways["random vector x 1"] = lambda: added(encoder, chance, layer, base)
    if case.name == "presentation":
        others = [c.name for c in OBJECTS[::3]] + list(case.searched) * 2
    else:
        others = [c.name for c in OBJECTS if c.name not in case.measured][:12] + [c.name for c in PROFESSIONS]
    found, columns = {}, []
    for name, way in ways.items():
        path = root / f"{case.name}-{name.replace(' ', '_')}.json"
        with way():
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, json.dumps(counted(model, case, others, count)).encode())
            columns.append([p.resize((128, 128)) for p in paint(model, case.measured[:4], SEED)])
        found[name] = json.loads(path.read_text())
        print(case.name, name, found[name], flush=True)
    return {"told": told, "found": found, "columns": columns}


def table(case: Case, part: Mapping[str, Any]) -> str:
    """Markdown of one case."""
    told, found = part["told"], part["found"]
    best = ", ".join(f"({layer}, {head}) {gone:+.2f}" for layer, head, gone in told["heads"][:4])
    lines = [
        f"## {case.name}: {case.ends[0]} less {case.ends[1]}",
        "",
        f"Searched on {', '.join(case.searched)}; measured on {', '.join(case.measured)}. The way gone by single heads "
        f"(layer, head): {best}. Chosen: {told['size']} heads, layer {told['layer']}, strength {told['strength']:g}, "
        f"which go {told['way']:.2f} of the way.",
        "",
        "| | shown | concept named | others: shown | others: named |",
        "|---|---|---|---|---|",
    ]
    for name, row in found.items():
        cells = [_cell(*row[key]) for key in ("shown", "named", "others shown", "others named")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(hits: int, n: int) -> str:
    low, high = wilson(hits, n)
    return f"{hits / n:.2f} [{low:.2f}, {high:.2f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/encoder_vectors"))
    parser.add_argument("--count", type=int, default=24, help="pictures of the measured concepts")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    parts = {case: measured(case, given.root, given.count) for case in cases()}
    if given.out:
        tables = [table(case, part) for case, part in parts.items()]
        replace_file(given.out, "\n\n".join(["# Vectors in the text encoder", *tables, ""]).encode())
        shown = [part["columns"] for part in parts.values()]
        columns = [[picture for part in rows for picture in part] for rows in zip(*shown, strict=True)]
        write_strip(given.out.with_suffix(".png"), columns, list(next(iter(parts.values()))["found"]), {})


if __name__ == "__main__":
    main()
