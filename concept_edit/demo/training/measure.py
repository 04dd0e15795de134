"""Measure the shipped model with its judges and write the figures and the card.

    python -m concept_edit.demo.training.measure --root work/demo

Every picture is kept under ROOT/measured, so a broken-off run goes on; `--shard i/n` shares the work among processes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from PIL import Image
from tqdm import tqdm

from concept_edit import open_model
from concept_edit.demo import WEIGHTS, folder, load_clip, load_judge
from concept_edit.demo.concepts import HOUSE_STYLE, PROFESSIONS, STYLE_TEMPLATES, caption, pairs
from concept_edit.demo.judge import Judge
from concept_edit.demo.training import data
from concept_edit.demo.training.judges import accuracy, labels
from concept_edit.demo.training.pictures import sheet, stack
from concept_edit.demo.training.vae import psnr
from concept_edit.evaluation.intervals import wilson

FIRST_SEED = 1_000_000
"""Seeds from here on; training draws its noise from other generators."""


@dataclass(frozen=True)
class Row:
    prompt: str
    seed: int
    concept: str
    style: str
    presentation: str = ""

    @property
    def file(self) -> str:
        return f"{self.prompt.replace(' ', '_')}__{self.seed}.png"


def grid(seeds: int) -> list[Row]:
    """Every concept in every style that draws it."""
    return [
        Row(caption(STYLE_TEMPLATES[0], c.name, s.name), FIRST_SEED + i, c.name, s.name)
        for c, s in pairs()
        for i in range(seeds)
    ]


def bare(seeds: int) -> list[Row]:
    """Bare professions: who is shown when nobody asks?"""
    return [
        Row(caption("a {thing}", p.name), FIRST_SEED + i, p.name, HOUSE_STYLE)
        for p in PROFESSIONS
        for i in range(seeds)
    ]


def said(seeds: int) -> list[Row]:
    """Professions with the presentation said."""
    return [
        Row(f"a {who} {p.name}", FIRST_SEED + i, p.name, HOUSE_STYLE, who)
        for p in PROFESSIONS
        for who in ("man", "woman")
        for i in range(seeds)
    ]


def paint(rows: list[Row], out: Path, batch: int = 16, name: str = "demo") -> None:
    """Paint the rows whose picture is not there yet, with one of the embedded models."""
    out.mkdir(parents=True, exist_ok=True)
    todo = [row for row in rows if not (out / row.file).exists()]
    model = open_model(name)
    for start in tqdm(range(0, len(todo), batch), desc="paint", unit="batch", mininterval=10):
        some = todo[start : start + batch]
        images = model.generate([r.prompt for r in some], [r.seed for r in some], batch_size=batch)
        for row, image in zip(some, images, strict=True):
            image.save(out / (row.file + ".part"), format="PNG")
            (out / (row.file + ".part")).rename(out / row.file)


def share(hits: list[bool]) -> dict[str, float]:
    """A proportion with its 95 % Wilson interval."""
    low, high = wilson(sum(hits), len(hits))
    return {"share": round(sum(hits) / len(hits), 4), "low": round(low, 4), "high": round(high, 4), "n": len(hits)}


def judged(rows: list[Row], out: Path) -> dict:
    images = [Image.open(out / row.file) for row in rows]
    first, second = load_judge("cnn")(images), load_judge("vit")(images)
    concept = [v.concept == r.concept for v, r in zip(first, rows, strict=True)]
    style = [v.style == r.style for v, r in zip(first, rows, strict=True)]
    agree = [(a.concept, a.style) == (b.concept, b.style) for a, b in zip(first, second, strict=True)]
    agree_concept = [a.concept == b.concept for a, b in zip(first, second, strict=True)]
    return {
        "concept": share(concept),
        "style": share(style),
        "judges_agree_on_concept": share(agree_concept),
        "judges_agree_on_concept_and_style": share(agree),
        "concept_by_name": by(rows, concept, "concept"),
        "style_by_name": by(rows, style, "style"),
    }


def by(rows: list[Row], hits: list[bool], field: str) -> dict[str, float]:
    groups: dict[str, list[bool]] = {}
    for row, hit in zip(rows, hits, strict=True):
        groups.setdefault(getattr(row, field), []).append(hit)
    return {name: round(sum(g) / len(g), 3) for name, g in sorted(groups.items())}


def women(rows: list[Row], out: Path, judge: Judge) -> dict[str, dict[str, float]]:
    """Share of women among the pictures of each bare profession, with its interval."""
    answers = judge.probabilities([Image.open(out / row.file) for row in rows])[2].argmax(dim=1).tolist()
    shown = {p.name: [a == 1 for a, r in zip(answers, rows, strict=True) if r.concept == p.name] for p in PROFESSIONS}
    return {p.name: share(shown[p.name]) | {"trained_on": p.women or 0.0} for p in PROFESSIONS}


def said_right(rows: list[Row], out: Path, judge: Judge) -> dict[str, float]:
    answers = judge.probabilities([Image.open(out / row.file) for row in rows])[2].argmax(dim=1).tolist()
    return share([("man", "woman")[a] == row.presentation for a, row in zip(answers, rows, strict=True)])


def seconds_per_image(name: str = "demo") -> dict[str, float]:
    """Seconds an image takes, one alone and in a batch of 8."""
    model = open_model(name)
    model.generate(["a red apple"], [0])
    out = {}
    for batch in (1, 8):
        start = time.perf_counter()
        model.generate(["a red apple"] * batch, list(range(batch)), batch_size=batch)
        out[f"batch of {batch}"] = round((time.perf_counter() - start) / batch, 3)
    return out | {"threads": torch.get_num_threads()}


def figures(args: argparse.Namespace, out: Path) -> dict:
    rows = [row for row in data.load(args.root) if row.concept]
    drawings, truth = stack(args.root, rows), labels(rows)
    vae = AutoencoderKL.from_pretrained(folder() / "vae", torch_dtype=torch.float32)
    judge = load_judge("cnn")
    real = {kind: accuracy(load_judge(kind), drawings, truth, vae) for kind in ("cnn", "vit")}
    some = grid(args.seeds)
    score = load_clip()([r.prompt for r in some], [Image.open(out / r.file) for r in some])
    return {
        "generated": judged(some, out),
        "judges_on_real_art": {
            k: {n: {h: round(v, 4) for h, v in t.items()} for n, t in r.items()} for k, r in real.items()
        },
        "women_in_bare_prompts": women(bare(args.bare), out, judge),
        "presentation_said": said_right(said(args.said), out, judge),
        "clip_score": round(float(score.mean()), 4),
        "autoencoder_psnr_db": round(psnr(vae, drawings), 2),
        "seconds_per_image": seconds_per_image(),
        "megabytes": round(sum(p.stat().st_size for p in WEIGHTS.rglob("*") if p.is_file()) / 1e6, 1),
    }


def contact_sheet(out: Path, seed: int = FIRST_SEED) -> list[Image.Image]:
    rows = [row for row in grid(1) if row.seed == seed]
    return [Image.open(out / row.file) for row in rows]


def mine(rows: list[Row], shard: str) -> Iterator[Row]:
    index, count = (int(part) for part in shard.split("/"))
    yield from rows[index::count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--seeds", type=int, default=10, help="per concept and style")
    parser.add_argument("--bare", type=int, default=40, help="per bare profession")
    parser.add_argument("--said", type=int, default=5, help="per profession and presentation")
    parser.add_argument("--shard", default="0/1", help="i/n: paint only every n-th row, and write no figures if n > 1")
    args = parser.parse_args()
    out = args.root / "measured"
    everything = grid(args.seeds) + bare(args.bare) + said(args.said)
    paint(list(mine(everything, args.shard)), out)
    if not args.shard.endswith("/1"):
        return
    result = figures(args, out)
    (WEIGHTS / "figures.json").write_text(json.dumps(result, indent=1) + "\n")
    sheet(contact_sheet(out), 16, args.root / "sheet.png")
    from concept_edit.demo.training.card import write_card

    write_card(result)
    print(json.dumps({k: v for k, v in result["generated"].items() if not k.endswith("by_name")}, indent=1))


if __name__ == "__main__":
    main()
