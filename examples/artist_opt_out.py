"""An artist opts out: a text file of names becomes an edit, a LoRA that anybody can load, and a report of what it did.

python examples/artist_opt_out.py --names names.txt --out out/opt_out
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import concept_edit as ce
from concept_edit.evaluation import Settings
from concept_edit.recipe import normal, read_concepts


def recipe(names: Path) -> ce.Recipe:
    """Paint art by nobody in particular instead of the named artists; keep all other styles and things."""
    from concept_edit.demo.concepts import CONCEPTS, STYLES

    edits = read_concepts(names, guide="art")
    gone = {normal(edit.concept) for edit in edits}
    kept = [thing.name for thing in (*STYLES, *CONCEPTS) if normal(thing.name) not in gone]
    return ce.Recipe(edits=edits, preserve=kept)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", type=Path, help="one artist a line; without it, Twemoji")
    parser.add_argument("--out", type=Path, default=Path("out/opt_out"))
    parser.add_argument("--prompts", type=int, default=8, help="prompts of each set: edited, near, unrelated")
    parser.add_argument("--steps", type=int, help="denoising steps")
    args = parser.parse_args(arguments)
    args.out.mkdir(parents=True, exist_ok=True)
    names = args.names or args.out / "names.txt"
    if args.names is None:
        names.write_text("Twemoji\n")

    model = ce.open_model("demo")
    edit = ce.solve(model, recipe(names))
    edit.save(args.out / "edit.safetensors")
    ce.export_lora(edit, model, args.out / "opt_out.safetensors", force=True)
    report = ce.evaluate(
        model, edit, out=args.out / "run", per_set=args.prompts, settings=Settings(steps=args.steps, batch_size=4)
    )
    report.save(args.out / "report.html")
    print(report.to_markdown())
    print(f"written: {args.out / 'opt_out.safetensors'} (LoRA), {args.out / 'report.html'}")


if __name__ == "__main__":
    main()
