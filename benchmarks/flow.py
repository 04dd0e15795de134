"""Erasing from a Z-Image whose prompts a language model reads: UCE's two token rules, guarded and gated, on pictures.

    python benchmarks/flow.py paint --out out/flow    # resumable; --shard 1/2
    python benchmarks/flow.py rows --out out/flow     # which rows move, and what the diagnosis foretells
    python benchmarks/flow.py table --out out/flow    # the page, its plot and its pictures

The embedded `demo-flow`, and the concepts, wordings, seeds and figures of `erase_quality.py`; all methods are told the
same: edits in the same wordings towards the same guide, everything else preserved, but in the row that says otherwise.
Rows of prompts are computed once and shared by all edits, which change what is read from them only.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import torch
from erase_quality import SEEDS, Cell, Result, Shot, distance, erased, gated, guarded, shots
from PIL import Image as Pictures
from PIL.Image import Image
from torch import Tensor

import concept_edit as ce
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS
from concept_edit.demo.flow import DEFAULTS
from concept_edit.demo.training.pictures import sheet
from concept_edit.recipe import Recipe

STEPS, BATCH = 10, 32
SIZES = {"concept": (1, 5, 12, 24), "style": (1, 2)}


def uce_alone(cell: Cell) -> Recipe:
    """UCE 2025 with nothing named to keep: the last token's row is moved."""
    return guarded(cell).model_copy(update={"method": "uce", "tokens": "last", "preserve": ()})


def uce(cell: Cell) -> Recipe:
    """The same as a careful user would write it: everything else preserved."""
    return guarded(cell).model_copy(update={"method": "uce", "tokens": "last"})


def uce_rows(cell: Cell) -> Recipe:
    """The same with every row that has heard of the concept."""
    return guarded(cell).model_copy(update={"method": "uce", "tokens": "subject"})


def guarded_phrases(cell: Cell) -> Recipe:
    """Guarded, with every kept concept also named as it is asked for."""
    gone = erased(cell)
    phrases = tuple(f"a {concept.name}" for concept in CONCEPTS if concept.name not in gone)
    recipe = guarded(cell)
    return recipe.model_copy(update={"preserve": (*recipe.preserve, *phrases)})


METHODS: dict[str, Callable[[Cell], Recipe]] = {
    "UCE, last token, nothing kept": uce_alone,
    "UCE, last token": uce,
    "UCE, every row": uce_rows,
    "guarded": guarded,
    "guarded, kept as asked for": guarded_phrases,
    "gated": gated,
    "gated, 1 % of captions": lambda cell: gated(cell).model_copy(update={"caption_alarm": 0.01}),
}


def cells() -> list[Cell]:
    """The originals first."""
    found = [Cell(kind, "original", 0) for kind in SIZES]
    return found + [Cell(kind, method, n) for kind, sizes in SIZES.items() for n in sizes for method in METHODS]


class Painter:
    """Solves, paints and has judged; what one process needs."""

    def __init__(self, out: Path) -> None:
        self.out, self.model, self.judge = out, ce.open_model("demo-flow"), load_judge()
        self.known: dict[str, Tensor] = {}

    def rows(self, prompts: list[str]) -> list[Tensor]:
        """What the encoder makes of prompts, each computed once."""
        new = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        with torch.no_grad():
            for i in range(0, len(new), BATCH):
                part = new[i : i + BATCH]
                found, _ = self.model.pipeline.encode_prompt(
                    list(part), device="cpu", do_classifier_free_guidance=False
                )
                self.known.update(zip(part, found, strict=True))
        return [self.known[prompt] for prompt in prompts]

    def paint(self, asked: list[Shot]) -> list[Image]:
        """As `generate` does, from rows that are known."""
        images: list[Image] = []
        options = {**DEFAULTS, "num_inference_steps": STEPS}
        with torch.no_grad():
            for i in range(0, len(asked), BATCH):
                part = asked[i : i + BATCH]
                images += self.model.pipeline(
                    prompt_embeds=self.rows([shot.prompt for shot in part]),
                    generator=[torch.Generator().manual_seed(shot.seed) for shot in part],
                    **options,
                ).images
        return images

    def __call__(self, cell: Cell) -> None:
        target = self.out / f"{cell.key}.json"
        if target.exists():
            return
        asked, folder = list(shots(cell)), self.out / cell.key
        facts: dict[str, Any] = {}
        if cell.count:
            start = time.perf_counter()
            edit = ce.solve(self.model, METHODS[cell.method](cell))
            facts = {"seconds": time.perf_counter() - start, "predicted": dict(edit.predicted)}
            edit.save(self.out / f"{cell.key}.part")
            facts["bytes"] = (self.out / f"{cell.key}.part").stat().st_size
            (self.out / f"{cell.key}.part").unlink()
            with edit.applied(self.model):
                images = self.paint(asked)
        else:
            images = self.paint(asked)
        folder.mkdir(exist_ok=True)
        for shot, image in zip(asked, images, strict=True):
            image.save(folder / name_of(shot))
        before = [Pictures.open(self.out / f"{cell.kind}-0-original" / name_of(shot)) for shot in asked]
        answers = [v.style if cell.kind == "style" else v.concept for v in self.judge(images)]
        rows = [
            vars(shot) | {"named": named, "distance": distance(image, old)}
            for shot, named, image, old in zip(asked, answers, images, before, strict=True)
        ]
        part = target.with_suffix(".part")
        part.write_text(json.dumps({"cell": vars(cell), **facts, "rows": rows}))
        part.replace(target)
        print(f"{cell.key}: {len(images)} pictures, {facts}", flush=True)

    @torch.no_grad()
    def spread(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of "a NAME" for every concept, the name's last token and what follows: its rows (concepts x places x d_text),
        what the reader makes of them, and how far that lies from the mean of all concepts in the place, squared."""
        encoded = self.model.encode([f"a {concept.name}" for concept in CONCEPTS])["text"]
        assert encoded.suffix is not None
        after = int(encoded.suffix[0])
        places = [list(range(int(eos) - 1, int(eos) + after)) for eos in encoded.eos]
        rows = torch.stack([own[at] for own, at in zip(encoded.rows, places, strict=True)])
        read = self.model.pipeline.transformer.cap_embedder[1](rows)
        return rows, read, (read - read.mean(dim=0)).square().sum(dim=2)

    @torch.no_grad()
    def moved(self, cell: Cell, edit: ce.Edit) -> dict[str, float]:
        """How far the edit moves what the reader makes of "a NAME", of its distance from the mean of all concepts in
        the same place: of erased and of kept concepts, at the name's last token and at the template's rows after it.
        Rows are read one by one, as this transformer reads them, so that a gate does not take seven for a prompt."""
        gone, (rows, before, far), reader = erased(cell), self.spread(), self.model.pipeline.transformer.cap_embedder[1]
        with edit.applied(self.model):
            shift = reader(rows.flatten(0, 1)).unflatten(0, rows.shape[:2]) - before
        own = torch.tensor([concept.name in gone for concept in CONCEPTS])
        return {
            f"{who}, {where}": float((shift.square().sum(dim=2)[whose, part].sum() / far[whose, part].sum()).sqrt())
            for who, whose in (("erased", own), ("kept", ~own))
            for where, part in (("last token", slice(0, 1)), ("rows after it", slice(1, None)))
        }

    def rows_of(self, count: int) -> dict[str, Any]:
        """Method -> `moved`, and what `diagnose` says without a picture, with so many concepts erased; under `spread`,
        how far concepts lie apart in each place, root mean square."""
        found: dict[str, Any] = {"spread": self.spread()[2].mean(dim=0).sqrt().tolist()}
        for method, recipe in METHODS.items():
            cell = Cell("concept", method, count)
            edit = ce.solve(self.model, recipe(cell))
            told = {check.name: check.value for check in ce.diagnose(self.model, edit).checks}
            found[method] = self.moved(cell, edit) | {name: told[name] for name in FORETOLD if name in told}
        return found


def name_of(shot: Shot) -> str:
    """A picture's file."""
    return f"{shot.prompt.replace(' ', '_') or 'empty'}__{shot.seed}.png"


HEAD = ("erased", "method", "erased ↓", "unseen wording ↓", "kept ↑", "H ↑ (95 %)", "distance ↓", "empty ↓")
MORE = ("solve, s", "kB")
FORETOLD = ("erased concept left", "drift of kept prompts", "drift of plain captions")
COUNT = 12
"""Concepts erased where single rows and single pictures are looked at."""


def table(results: list[Result]) -> str:
    """One row a cell."""
    lines = [f"| {' | '.join((*HEAD, *MORE))} |", "|" + "---|" * (len(HEAD) + len(MORE))]
    for r in results:
        low, high = numpy.quantile(r.draws(), (0.025, 0.975))
        own = (
            f"{r.count}", r.name, f"{r.erased('trained', r.gone):.3f}", f"{r.erased('unseen', r.gone):.3f}",
            f"{r.accuracy(r.kept):.3f}", f"{r.harmonic(r.gone, r.kept):.3f} ({low:.3f} to {high:.3f})",
            f"{r.distance():.3f}", f"{r.empty():.4f}", f"{r.facts['seconds']:.1f}", f"{r.facts['bytes'] / 1000:.0f}",
        )  # fmt: skip
        lines.append(f"| {' | '.join(own)} |")
    return "\n".join(lines)


def strips(out: Path, path: Path) -> None:
    """A row of pictures for the original and each method, of eight erased and of every fourth kept concept."""
    gone = erased(Cell("concept", "", COUNT))
    kept = [concept.name for concept in CONCEPTS if concept.name not in gone]
    asked = [f"a {name}" for name in (*gone[:8], *kept[::4])]
    rows = ["concept-0-original", *(f"concept-{COUNT}-{method}" for method in METHODS)]
    images = [
        Pictures.open(out / row / f"{prompt.replace(' ', '_')}__{SEEDS[0]}.png") for row in rows for prompt in asked
    ]
    sheet(images, len(asked), path)


def report(out: Path) -> str:
    """The page from what was painted."""
    parts = []
    for kind in SIZES:
        original = json.loads((out / f"{kind}-0-original.json").read_text())
        named = [r["named"] == r["wanted"] for r in original["rows"] if r["wanted"]]
        found = [json.loads((out / f"{c.key}.json").read_text()) for c in cells() if c.kind == kind and c.count]
        results = [Result(cell, original, {}) for cell in found]
        parts += [f"Erased {kind}s; the judge names {sum(named)} of the original's {len(named)} pictures right:\n"]
        parts += [table(results), ""]
    found = json.loads((out / "rows.json").read_text())
    last, *after = (f"{value:.1f}" for value in found.pop("spread"))
    parts += [f"Concepts lie {last} from their mean at the last token, and {', '.join(after)} at the rows after it.\n"]
    names = list(dict.fromkeys(name for own in found.values() for name in own))
    parts += [f"{COUNT} concepts erased, without a picture:\n", f"| method | {' | '.join(names)} |"]
    parts += ["|" + "---|" * (len(names) + 1)]
    for method, own in found.items():
        parts.append(f"| {method} | {' | '.join(f'{own[n]:.2f}' if n in own else '' for n in names)} |")
    return "\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("paint", "rows", "table"))
    parser.add_argument("--out", type=Path, default=Path("out/flow"))
    parser.add_argument("--shard", default="1/1", help="i/n: this process's share of the edits")
    parser.add_argument("--only", default="", help="only cells whose name holds this")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.verb == "table":
        text = report(args.out)
        args.out.with_suffix(".md").write_text(text)
        strips(args.out, args.out.with_suffix(".png"))
        print(text)
        return
    if args.verb == "rows":
        (args.out / "rows.json").write_text(json.dumps(Painter(args.out).rows_of(COUNT), indent=1))
        return
    index, count = map(int, args.shard.split("/"))
    painter, first = Painter(args.out), cells()[: len(SIZES)]
    for cell in first if index == 1 else ():
        painter(cell)
    while not all((args.out / f"{cell.key}.json").exists() for cell in first):
        time.sleep(2)
    rest = [cell for cell in cells()[len(SIZES) :] if args.only in cell.key]
    for cell in rest[index - 1 :: count]:
        painter(cell)


if __name__ == "__main__":
    main()
