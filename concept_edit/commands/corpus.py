"""`concept-edit corpus`: read captions once, so that guarded and gated edits can hold them still."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import concept_edit as ce
from concept_edit.commands.options import Device, ModelName, Quiet
from concept_edit.files import check_writable


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(corpus)


def corpus(
    captions: Annotated[
        list[Path],
        typer.Argument(help="Captions: a text file or a CSV. With --merge: corpus files.", show_default=False),
    ],
    *,
    model: ModelName = "demo",
    device: Device = "auto",
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write; an unfinished one is gone on with.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many captions.")] = None,
    shard: Annotated[str | None, typer.Option("--shard", help="i/n: this machine's share of the captions.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Add up corpus files of several shards.")] = False,
    quiet: Quiet = False,
) -> None:
    """Read captions through a text encoder into a corpus file. Ctrl-C and start again: it goes on where it was.

    Under `accelerate launch` every process reads its share and the first adds them up.
    """
    from concept_edit.evaluation.processes import launched_first

    check_writable(out)
    found = _merged(captions) if merge else _read(captions, model, device, out, limit, shard, quiet)
    if merge:
        found.save(out)
    if not quiet and launched_first():
        typer.echo(f"{out}: {found.captions} captions, {', '.join(found.streams)}; corpus {found.identity}")


def _merged(paths: list[Path]) -> ce.Corpus:
    total = ce.Corpus.load(paths[0])
    for path in paths[1:]:
        total = total + ce.Corpus.load(path)
    return total


def _read(
    paths: list[Path], name: str, device: str, out: Path, limit: int | None, text: str | None, quiet: bool
) -> ce.Corpus:
    from concept_edit.evaluation.processes import my_share, own_device
    from concept_edit.models.reading import where_it_is
    from concept_edit.prompts.corpus import read_captions

    listed = [caption for path in paths for caption in read_captions(path, limit=limit)]
    place = own_device(device)
    share = my_share(text, place)
    own = share.pick(listed)
    if not own:
        raise ValueError(f"{len(listed)} captions leave none for share {share.name}; use fewer shards")
    model = ce.open_model(name, device=place)
    launched = share.state is not None
    part = out.with_name(f"{out.stem}.{share.name}{out.suffix}") if launched else out
    with where_it_is():
        found = ce.collect_corpus(model, own, out=part, progress=not quiet and share.index == 0)
    share.wait()
    if not launched:
        return found
    parts = [out.with_name(f"{out.stem}.{n + 1}-of-{share.count}{out.suffix}") for n in range(share.count)]
    total = _merged(parts)
    if share.index == 0:
        total.save(out)
    return total
