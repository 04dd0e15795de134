"""What happens on the card."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ui.bench.events import BenchEvents, asked
from ui.bench.words import split
from ui.bench.work import Wish
from ui.suppress import work
from ui.suppress.work import Checked, recipe_of
from ui.workshop.audit import verify
from ui.workshop.following import follow
from ui.workshop.lists import lines_of, read_list
from ui.workshop.painting import shot_of
from ui.workshop.parts import says, trouble
from ui.workshop.session import Visit, Workshop


def wish_of(words: str, keep: str, prompts: str, seed: float, steps: float) -> Wish:
    """What the fields ask for.

    Raises:
        ValueError: no word, a seed or steps that are no whole numbers.
    """
    names, kept, shot = tuple(split(words)), tuple(lines_of(keep)), shot_of("x", seed, steps)
    return Wish(
        lambda model: recipe_of(model, names, kept), names, tuple(lines_of(prompts)), shot.seed, shot.steps,
        asked((words, keep, prompts, seed, steps)),
    )  # fmt: skip


def working(events: BenchEvents) -> Callable[..., Any]:
    """The handler of the main button."""

    def suppress(
        visit: Visit, words: str = "bomb; knife", keep: str = "", prompts: str = "", seed: float = 1, steps: float = 0,
        strength: float = 1.0,
    ) -> Iterator[dict[Any, Any]]:  # fmt: skip
        """Suppress every word of a list (by ';', ',' or one a line) in all its wordings; what is in `keep`, one a line,
        stays ('' keeps the neighbours)."""
        yield from events.solve(visit, lambda: wish_of(words, keep, prompts, seed, steps), strength)

    return suppress


def reading(visit: Visit, file: str | None, words: str = "") -> tuple[str, str]:
    """Read a list of words from a file (.txt, .csv, .yaml) and add them to those in the field."""
    try:
        found = read_list(visit, "", file)
        names = [edit.concept for edit in found.edits]
        known = split(words) if words.strip() else []
        joined = list(dict.fromkeys([*known, *names]))
    except Exception as error:
        return words, trouble(error)
    return "; ".join(joined), says(f"Read {len(names)} words. Suppress all {len(joined)}?")


def checking(
    workshop: Workshop, told: gr.HTML, table: gr.HTML, sentence: gr.HTML
) -> Callable[..., Iterator[dict[Any, Any]]]:
    """The handler of Check."""

    def check(visit: Visit, pictures: float = 8) -> Iterator[dict[Any, Any]]:
        """Count in pictures how often each word is still shown, with 95 % intervals; neighbours too."""
        for note, found in follow(workshop, visit, lambda tell: work.check(workshop, visit, int(pictures), tell)):
            yield {told: note}
            if found is not None:
                yield {told: "", table: as_html(found),
                       sentence: said(found)}  # fmt: skip

    return check


def as_html(found: Checked) -> str:
    """The table, a row a word."""
    head = ("word", "shown before", "shown after (95 % interval)", "so it is")
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in found.rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    columns = "".join(f'<th scope="col">{name}</th>' for name in head)
    return f'<table class="counted"><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>'


def said(found: Checked) -> str:
    """The check in sentences."""
    return says(" ".join(found.report.sentences()))


def reporting(workshop: Workshop, told: gr.HTML, pack: gr.File) -> Callable[..., Iterator[dict[Any, Any]]]:
    """The handler of Report ZIP."""

    def report(visit: Visit, decision: str = "") -> Iterator[dict[Any, Any]]:
        """Edit, manifest, history and the last check's report in one ZIP, which can be verified here or elsewhere."""
        for note, path in follow(workshop, visit, lambda tell: work.report_zip(workshop, visit, decision, tell)):
            yield {told: note}
            if path is not None:
                yield {told: says("The ZIP is ready."), pack: gr.update(value=str(path), visible=True)}

    return report


def verifying(workshop: Workshop, told: gr.HTML) -> Callable[..., Iterator[dict[Any, Any]]]:
    """The handler of a dropped ZIP."""

    def verified(visit: Visit, report: str | None = None) -> Iterator[dict[Any, Any]]:
        """Verify a report ZIP: the recipe is solved anew and compared bit for bit with the edit that lies in it."""
        if not report:
            yield {told: ""}
            return
        for note, found in follow(workshop, visit, lambda tell: verify(workshop, visit, [report], tell)):
            yield {told: note}
            if found is not None:
                checked, _ = found
                good = checked.ok
                wrong = next((finding.text for finding in checked.findings if not finding.ok), "")
                text = "Nothing was touched: every part is as it was written." if good else wrong
                yield {told: says(text) if good else trouble(text)}

    return verified
