"""The model card, written from the measured figures so that no number in it is typed by hand."""

from __future__ import annotations

from typing import Any

from concept_edit.demo import WEIGHTS
from concept_edit.demo.concepts import CONCEPTS, HOUSE_STYLE, MODERATED, PROFESSIONS, STYLES


def percent(row: dict[str, float]) -> str:
    low, high = 100 * row["low"], 100 * row["high"]
    return f"{100 * row['share']:.1f} % (95 % interval {low:.1f} to {high:.1f}, n = {row['n']:.0f})"


def table(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def weakest(by_name: dict[str, float], count: int = 5) -> str:
    worst = sorted(by_name.items(), key=lambda item: item[1])[:count]
    return ", ".join(f"{name} {100 * value:.0f} %" for name, value in worst)


def generated(f: dict[str, Any]) -> str:
    rows = [
        ("right concept", percent(f["concept"])),
        ("right style", percent(f["style"])),
        ("the second judge names the same concept", percent(f["judges_agree_on_concept"])),
        ("the second judge names the same concept and style", percent(f["judges_agree_on_concept_and_style"])),
        ("weakest concepts", weakest(f["concept_by_name"])),
        ("by style", weakest(f["style_by_name"], len(STYLES))),
    ]
    return table(("measured on its own pictures", ""), rows)


def real(f: dict[str, Any]) -> str:
    rows = [
        (kind, change, *(f"{100 * value:.1f} %" for value in heads.values()))
        for kind, changes in f.items()
        for change, heads in changes.items()
    ]
    return table(("judge", "change it was never trained on", "concept", "style", "presentation"), rows)


def bias(f: dict[str, Any]) -> str:
    rows = [(f"a {name}", f"{100 * r['trained_on']:.0f} %", percent(r)) for name, r in f.items()]
    return table(("prompt", "women in training", "women measured"), rows)


def write_card(f: dict[str, Any]) -> None:
    """Write `weights/README.md` from the figures of `measure`."""
    speed = "; ".join(f"{k}: {v} s an image" for k, v in f["seconds_per_image"].items() if k != "threads")
    text = f"""# The embedded emoji model

A small Stable Diffusion (CLIP text tower, UNet with cross-attention, autoencoder, 64 px) trained from nothing on open
emoji, so that an edit can be tried, measured and tested on any machine without a download. It is a test object, not a
picture generator: it knows {len(CONCEPTS)} concepts in {len(STYLES)} artists' styles
({", ".join(s.name for s in STYLES)}); a prompt that names no style is drawn in the house style, {HOUSE_STYLE}.
EmojiOne 2.3 predates the professions and draws none.
Moderated concepts: {", ".join(c.name for c in MODERATED)}. Professions: {", ".join(c.name for c in PROFESSIONS)}.
Weights: {f["megabytes"]} MB with the image tower and both judges.

## What it reaches

`python -m concept_edit.demo.training.measure` reproduces this: seeds from 1,000,000 on, default steps.

{generated(f["generated"])}

Presentation as the prompt says ("a woman doctor"): {percent(f["presentation_said"])}.
CLIP score (cosine, the model's own towers): {f["clip_score"]}.
Autoencoder: {f["autoencoder_psnr_db"]} dB PSNR on the training drawings, moved.
Time on the CPU it was measured on, {f["seconds_per_image"]["threads"]} thread(s): {speed}.

## How it was trained

On two shared CPU cores in about four hours, by the scripts in `concept_edit/demo/training` (the commands stand in
`CONTRIBUTING.md`): autoencoder 1,420 steps of 16 drawings, then its decoder alone 600; CLIP towers 980 of 48, the last
380 with batches that contrast styles; denoiser 11,000 of 24, the first 800 on the text tower before those 380 steps.
That is some 1,270 passes over each drawing; after 5,000 steps the second judge agreed on 91.5 % of the concepts.

## Bias, on purpose

The bare profession was shown with a fixed imbalance, so that balancing has something true to correct:

{bias(f["women_in_bare_prompts"])}

## The judges

Trained on the drawings, never on generated pictures, and never used to train the model. `cnn` judges, `vit` is asked
for a second opinion. On the real drawings, after changes neither ever saw:

{real(f["judges_on_real_art"])}

## Limits

It paints what it was shown and little else: {len(CONCEPTS)} concepts, 64 px, no scenes.
The judges know the same drawings the model was trained on: they tell whether a picture shows the trained drawing, not
whether it is good.

## Data and licences

Trained on the sets named in `ATTRIBUTION.md` (Apache-2.0, CC-BY-4.0, MIT). The tokenizer's merges were learnt from
COCO captions and lists of names. The weights are MIT; pictures that resemble a set's drawing remain under that set's
licence.
"""
    (WEIGHTS / "README.md").write_text(text)
