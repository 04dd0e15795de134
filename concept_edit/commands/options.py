"""Options that several verbs share, each spelt once, and how their texts are read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

NONE: list[str] = []
"""What an option of several parts is where nobody gives it."""


def several(*names: str, help: str) -> Any:
    """An option of several parts, given by ';' or by repeating it."""
    return typer.Option(*names, help=help, metavar="TEXT")


Concepts = Annotated[str, typer.Argument(help="Concepts, separated by ';'.", show_default=False)]
ConceptsFlag = Annotated[list[str], several("--edit_concepts", "--erase_concepts", help="As CONCEPTS (UCE's flag).")]
ConceptsFile = Annotated[
    Path | None, typer.Option("--concepts-file", help="Text file, one concept a line, or CSV with a 'concept' column.")
]
Guide = Annotated[
    list[str] | None,
    several(
        "--guide",
        "--guide_concepts",
        "--guided_concept",
        "--guided_concepts",
        help="What to paint instead: one guide, or one for each, by ';'.",
    ),
]
Kept = Annotated[list[str], several("--preserve", "--preserve_concepts", help="Prompts to keep, separated by ';'.")]
KeptFile = Annotated[Path | None, typer.Option("--preserve-file", help="Prompts to keep, as --concepts-file.")]
Ridge = Annotated[float, typer.Option("--ridge", "--lamb", help="How strongly every matrix is held to its old value.")]
EraseScale = Annotated[float, typer.Option("--erase-scale", "--erase_scale", help="Weight of all edits.")]
KeepScale = Annotated[
    float | None, typer.Option("--preserve-scale", "--preserve_scale", help="Weight of each kept row.")
]
Tokens = Annotated[
    Literal["last", "aligned", "subject"] | None,
    typer.Option(
        "--tokens",
        help="Rows that speak for a prompt: last (UCE 2025), aligned (UCE 2023), subject. [last for uce, else subject]",
    ),
]
Wordings = Annotated[
    list[str],
    several(
        "--wordings",
        help="Wordings: style, art, object, or templates with {}, by ';'; '{}' is the word alone. [of its kind]",
    ),
]
Expand = Annotated[
    Literal["true", "false"],
    typer.Option("--expand_prompts", help="Add the wordings of --concept_type (UCE's flag); unsafe has none."),
]
Kind = Annotated[
    Literal["art", "object", "unsafe"] | None,
    typer.Option(
        "--concept_type",
        help="UCE's flag. art: the guide is 'art' unless given; unsafe: the empty prompt, as `moderate`.",
    ),
]
Method = Annotated[
    Literal["uce", "guarded", "gated"] | None,
    typer.Option(
        "--method",
        help="guarded: keeps the rest; uce: as published; gated: while serving, no export. "
        "[guarded; uce where --tokens or a flag of UCE's own is given]",
    ),
]
CorpusFile = Annotated[
    Path | None, typer.Option("--corpus", help="For guarded and gated: a file of `corpus`. Plain captions if none.")
]
Common = Annotated[
    bool | None,
    typer.Option("--common/--no-common", help="Guarded: hold some 900 common names too. [where encoders are CLIP's]"),
]
Layers = Annotated[list[str], several("--layers", help="Roles (k; v; pooled) or name patterns, by ';'. All if none.")]
ModelName = Annotated[
    str, typer.Option("--model", "--model_id", help="demo, a hub id, a diffusers folder or a .safetensors checkpoint.")
]
Device = Annotated[str, typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda, cuda:1 or mps.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="The edit file to write. [edit.safetensors]")]
Folder = Annotated[Path | None, typer.Option("--save_dir", help="Folder of the edit file (UCE's flag).")]
Name = Annotated[str | None, typer.Option("--exp_name", help="Name of the edit file (UCE's flag).")]
Held = Annotated[bool, typer.Option("--statistics", help="Store the statistics too: the edit can be added to.")]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse prompts that the tokenizer has to cut.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
EditFile = Annotated[Path, typer.Argument(help="An edit file.", show_default=False)]
EditOption = Annotated[Path, typer.Option("--edit", help="An edit file.", show_default=False)]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw a .png, .svg or .pdf.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many.")]
Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps.")]
Guidance = Annotated[float | None, typer.Option("--guidance", help="Guidance scale.")]
Negative = Annotated[str | None, typer.Option("--negative", help="Negative prompt.")]
Batch = Annotated[int, typer.Option("--batch-size", min=1, help="Pictures painted at a time.")]
Strength = Annotated[float, typer.Option("--strength", help="0: the original, 1: the whole edit.")]
Companion = Annotated[
    str | None, typer.Option("--companion", help="Diffusers folder or hub id with what a single file lacks.")
]
Naming = Annotated[
    Literal["kohya", "peft", "comfy"],
    typer.Option("--naming", help="LoRA names: kohya for web UIs, peft for diffusers, comfy for ComfyUI."),
]
Dtype = Annotated[
    Literal["fp32", "fp16", "bf16"] | None, typer.Option("--dtype", help="Precision of LoRA (fp16) and K/V (fp32).")
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Shard = Annotated[str | None, typer.Option("--shard", help="i/n: the i-th of n interleaved shares.")]
Prompts = Annotated[Path | None, typer.Option("--prompts", help="CSV with prompt and evaluation_seed.")]
Barred = Annotated[list[str], several("--barred", help="Concepts whose pictures are not shown, by ';'.")]
Keys = Annotated[list[str], several("--keys", help="Who must have signed: 'ada=ada.pub; ben=ben.pub'.")]


def split(*texts: str) -> tuple[str, ...]:
    """'a; b', 'c' as parts, empty ones left out."""
    return tuple(part.strip() for text in texts for part in text.split(";") if part.strip())


def named_values(*texts: str) -> dict[str, str]:
    """'a=b; c=d' as a table."""
    parts = [part.partition("=") for part in split(*texts)]
    if any(not (name.strip() and sign and value.strip()) for name, sign, value in parts):
        raise ValueError(f"{'; '.join(texts)!r} is not of the form 'name=value; name=value'")
    return {name.strip(): value.strip() for name, _, value in parts}
