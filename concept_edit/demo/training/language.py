"""Put a trained language model into the folder that ships: fp16 safetensors, tokenizer, checksums.

python -m concept_edit.demo.training.language --root work/demo facts tasks
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from transformers import PreTrainedModel

from concept_edit.demo.language import WEIGHTS
from concept_edit.demo.training import facts, loop, tasks
from concept_edit.demo.training.build import write_checksums

PARTS = {"facts": facts, "tasks": tasks}


def ship(root: Path, part: str, out: Path) -> PreTrainedModel:
    """Write the EMA weights of the last checkpoint as a folder of transformers; gives the model as written."""
    tokens = PARTS[part].tokenizer()
    tokens.model_max_length = PARTS[part].PLACES
    model = loop.load_ema(PARTS[part].build(tokens), root / part)
    model = (facts.calm(model) if part == "facts" else model).half()
    shutil.rmtree(out, ignore_errors=True)
    model.generation_config.pad_token_id = tokens.pad_token_id
    model.save_pretrained(out)
    tokens.save_pretrained(out)
    _name_the_class(out / "tokenizer_config.json")
    write_checksums(out)
    return model


def _name_the_class(path: Path) -> None:
    """The name that every version of transformers knows for a tokenizer that is its tokenizer.json alone."""
    config = json.loads(path.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    path.write_text(json.dumps(config, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", choices=list(PARTS))
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    for part in args.parts:
        ship(args.root, part, args.out / part)
        size = sum(p.stat().st_size for p in (args.out / part).rglob("*"))
        print(f"{args.out / part}: {size / 1e6:.2f} MB after {loop.steps_done(args.root / part)} steps")


if __name__ == "__main__":
    main()
