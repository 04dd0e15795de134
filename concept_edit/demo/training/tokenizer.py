"""The tokenizer: CLIP's own format (byte-level BPE, `</w>` ends a word), with merges learnt from captions.

    python -m concept_edit.demo.training.tokenizer --root work/demo --captions coco_5k.csv artists.txt

The styles' names are left out of the text it learns from, so that they split into several tokens, as most artists'
names do in CLIP.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

from concept_edit.demo.concepts import CONCEPTS, PLAIN_TEMPLATES, caption
from concept_edit.demo.training import data

START, END = "<|startoftext|>", "<|endoftext|>"
WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train(texts: Iterable[str], merges: int) -> CLIPTokenizer:
    """Learn `merges` merges from texts; refuses a corpus too small for them."""
    bpe = Tokenizer(BPE(end_of_word_suffix="</w>"))
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = BpeTrainer(
        vocab_size=merges + 4 * len(alphabet),
        min_frequency=1,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    learnt = [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]][:merges]
    if len(learnt) < merges:
        raise ValueError(f"the captions give {len(learnt)} merges, {merges} were asked for: give more captions")
    tokens = [*alphabet, *(a + "</w>" for a in alphabet), *(a + b for a, b in learnt), START, END]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(
        vocab=vocab,
        merges=learnt,  # type: ignore[arg-type]
        model_max_length=77,
        pad_token=END,
        bos_token=START,
        eos_token=END,
        unk_token=END,
    )


def read(path: Path) -> list[str]:
    """The column 'prompt' of a CSV, or the lines of any other text file."""
    with path.open(newline="") as file:
        return [row["prompt"] for row in csv.DictReader(file)] if path.suffix == ".csv" else file.read().splitlines()


def corpus(root: Path, files: Iterable[Path]) -> list[str]:
    texts = [text for path in files for text in read(path)]
    names = {row.name for row in data.load(root)}
    things = [caption(t, c.name) for c in CONCEPTS for t in PLAIN_TEMPLATES]
    return texts + sorted(names) * 2 + things * 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--captions", type=Path, nargs="+", required=True, help="CSV (column 'prompt') or text files")
    parser.add_argument("--merges", type=int, default=8192)
    args = parser.parse_args()
    tokenizer = train(corpus(args.root, args.captions), args.merges)
    tokenizer.save_pretrained(args.root / "tokenizer")
    for text in ("a red apple in the style of Noto", "a doctor by Twemoji", "EmojiOne's drawing of a knife"):
        print(tokenizer.tokenize(text))


if __name__ == "__main__":
    main()
