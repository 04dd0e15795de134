"""What happens on the card."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import Any

import gradio as gr

from ui.bench.events import BenchEvents, asked
from ui.bench.pairs import url_of
from ui.bench.words import split
from ui.bench.work import Wish
from ui.slide import work
from ui.slide.work import Strip
from ui.workshop.following import follow
from ui.workshop.lists import lines_of
from ui.workshop.painting import shot_of
from ui.workshop.session import Visit, Workshop


def wish_of(concept: str, towards: str, away: str, keep: str, prompts: str, seed: float, steps: float) -> Wish:
    """What the fields ask for.

    Raises:
        ValueError: no concept or several, no ends, a seed or steps that are no whole numbers.
    """
    names = split(concept)
    if len(names) > 1:
        raise ValueError(f"a slider slides one thing; make one of {names[0]} first")
    if not (towards or "").strip():
        raise ValueError("write where the slider leads, such as: woman doctor")
    shot, kept = shot_of("x", seed, steps), tuple(lines_of(keep))
    ends = towards.strip(), (away or "").strip()
    return Wish(
        lambda model: work.recipe_of(model, names[0], *ends, kept), (names[0],), tuple(lines_of(prompts)), shot.seed,
        shot.steps, asked((concept, towards, away, keep, prompts, seed, steps)),
        work.cells_of(names[0], shot.seed, shot.steps),
    )  # fmt: skip


def working(events: BenchEvents) -> Callable[..., Any]:
    """The handler of the main button."""

    def slide(
        visit: Visit, concept: str = "doctor", towards: str = "woman doctor", away: str = "man doctor", keep: str = "",
        prompts: str = "", seed: float = 1, steps: float = 0, strength: float = 1.0,
    ) -> Iterator[dict[Any, Any]]:  # fmt: skip
        """Make a slider: strength 1 leads the concept to `towards`, −1 to `away`, 0 is the original."""
        yield from events.solve(visit, lambda: wish_of(concept, towards, away, keep, prompts, seed, steps), strength)

    return slide


def stripping(
    workshop: Workshop, told: gr.HTML, shown: gr.HTML, files: gr.File
) -> Callable[..., Iterator[dict[Any, Any]]]:
    """The handler of the film strip."""

    def strip(visit: Visit) -> Iterator[dict[Any, Any]]:
        """Paint one seed over the whole range, −2 to 2, as a film strip (PNG) and a GIF."""
        for note, found in follow(workshop, visit, lambda tell: work.strip(workshop, visit, tell)):
            yield {told: note}
            if found is not None:
                paths = [str(path) for path in found.files]
                yield {told: "", shown: as_html(found), files: gr.update(value=paths, visible=True)}

    return strip


def as_html(strip: Strip) -> str:
    """The frames side by side, each with its strength."""
    frames = "".join(
        f'<figure><img alt="{html.escape(f"at strength {strength:+.2g}")}" src="{url_of(picture)}">'
        f"<figcaption>{strength:+.2g}</figcaption></figure>"
        for strength, picture in zip(strip.strengths, strip.pictures, strict=True)
    )
    return f'<div class="film" role="group" aria-label="Film strip from −2 to 2">{frames}</div>'
