"""Pictures of the original and of an edit at the same seed, each painted once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ui.workshop.session import News, Tell, Visit, stoppable

if TYPE_CHECKING:
    from PIL.Image import Image

    from concept_edit.models.opened import OpenedModel
    from ui.workshop.versions import Version

_KEPT = 96
"""Pictures a visit remembers."""
MOST_STEPS = 200


@dataclass(frozen=True)
class Shot:
    """What one picture is asked for with."""

    prompt: str
    seed: int = 0
    steps: int | None = None
    """Denoising steps; None is the model's own."""

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ValueError("the prompt is empty; write what to paint, such as: a rocket in the style of Twemoji")
        if self.steps is not None and self.steps > MOST_STEPS:
            raise ValueError(f"{self.steps} steps are more than this page paints; give {MOST_STEPS} or fewer")


def shot_of(prompt: str | None, seed: Any, steps: Any) -> Shot:
    """A shot from the page's fields; 0 or no steps means the model's own.

    Raises:
        ValueError: an empty prompt, or a seed or steps that are no whole numbers.
    """
    return Shot((prompt or "").strip(), _whole(seed, "seed"), _whole(steps or 0, "number of steps") or None)


def _whole(given: Any, what: str) -> int:
    if given is None or given == "":
        raise ValueError(f"the {what} is empty; give a whole number from 0 up")
    try:
        number = int(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{given!r} is no {what}; give a whole number from 0 up") from error
    if number < 0 or number != float(given):
        raise ValueError(f"{given!r} is no {what}; give a whole number from 0 up")
    return number


def painted(
    visit: Visit, model: OpenedModel, version: Version | None, shots: Sequence[Shot], tell: Tell, *, what: str
) -> list[Image]:
    """One picture per shot, of the original model (`version` None) or under a version; remembered ones at once.

    Call it inside the lane. Raises `Stopped` within one denoising step of a cancel.
    """
    keys = [_key(model, version, shot) for shot in shots]
    missing = [(key, shot) for key, shot in zip(keys, shots, strict=True) if key not in visit.pictures]
    with stoppable(visit, model, _counter(model, len(missing), tell, what)):
        for key, shot in missing:
            with _changed(model, version):
                (visit.pictures[key],) = model.generate(shot.prompt, [shot.seed], steps=shot.steps)
            visit.breathe()
    for key in keys:
        visit.pictures.move_to_end(key)
    found = [visit.pictures[key] for key in keys]
    while len(visit.pictures) > _KEPT:
        visit.pictures.popitem(last=False)
    return found


def _changed(model: OpenedModel, version: Version | None) -> Any:
    return nullcontext(model) if version is None else version.edit.applied(model, version.strength)


def _key(model: OpenedModel, version: Version | None, shot: Shot) -> tuple[Any, ...]:
    if version is None or version.strength == 0:
        return (model, None, 0.0, shot)
    return (model, version.edit, version.strength, shot)


def _counter(model: OpenedModel, pictures: int, tell: Tell, what: str) -> Callable[[int], None]:
    """Tells how far the denoising is."""
    scheduler = model.pipeline.scheduler

    def step(done: int) -> None:
        steps = pictures * max(1, getattr(scheduler, "num_inference_steps", None) or 1)
        tell(News(f"Painting {what}", min(1.0, done / steps)))

    return step
