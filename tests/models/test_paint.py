"""What `generate` is asked for is checked before anything is painted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from concept_edit.models.paint import check_options, paint, pairs_of


@pytest.mark.parametrize(
    ("prompts", "seeds", "words"),
    [
        ([], [0], "0 prompts and 1 seeds were given; give at least one of each"),
        (["a"], [], "1 prompts and 0 seeds were given"),
        (["a"], [-1], "-1 is no seed; expected a whole number from 0"),
        (["a"], [1.5], "1.5 is no seed"),
        ("a", 0.5, "0.5 is no seed"),
        (["a"], [True], "True is no seed"),
        (["a"], [2**63], "is no seed"),
        ([3], [0], "3 is no prompt; give a text"),
        (["a", "b"], [0, 1, 2], "2 prompts and 3 seeds do not pair up"),
    ],
)
def test_prompts_and_seeds_that_do_not_fit_are_refused(prompts: list, seeds: list, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pairs_of(prompts, seeds)


def test_a_single_prompt_or_seed_is_repeated() -> None:
    assert pairs_of("a", [1, 2]) == [("a", 1), ("a", 2)]
    assert pairs_of(["a", "b"], 7) == [("a", 7), ("b", 7)]


@pytest.mark.parametrize(
    ("steps", "guidance"), [(0, None), (-3, None), (2.5, None), (None, -1.0), (None, float("nan"))]
)
def test_impossible_options_are_refused(steps: int | None, guidance: float | None) -> None:
    with pytest.raises(ValueError, match=r"expected a (whole )?number from"):
        check_options(steps, guidance)


class Transparent:
    """A pipeline whose pictures are red, and seen through by half."""

    def __call__(self, prompt: list[str], generator: Any) -> Any:
        return SimpleNamespace(images=[Image.new("RGBA", (2, 2), (255, 0, 0, 128)) for _ in prompt])

    def set_progress_bar_config(self, **_: Any) -> None:
        """It has no bar."""


def test_what_is_transparent_is_laid_on_white() -> None:
    pairs = pairs_of(["a", "b"], 0)
    images = paint(Transparent(), pairs, negative_prompt=None, batch_size=2, progress=None, options={})
    assert [image.mode for image in images] == ["RGB", "RGB"]
    assert images[0].getpixel((0, 0)) == (255, 127, 127)
