"""The training scripts: captions say what was decided, runs resume where they stopped, data is skipped when intact."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from concept_edit.demo.concepts import (
    HELD_OUT_TEMPLATES,
    HOUSE_STYLE,
    PLAIN_TEMPLATES,
    PROFESSIONS,
    STYLE_TEMPLATES,
    Style,
    caption,
    pairs,
)
from concept_edit.demo.training import data, loop, tokenizer
from concept_edit.demo.training.captions import Curriculum
from concept_edit.demo.training.pictures import moved


def rows() -> list[data.Drawing]:
    out = []
    for concept, style in pairs():
        for who in ("man", "woman") if concept.women is not None else ("",):
            out.append(
                data.Drawing(f"{style.name}/{concept.name}{who}", "", style.name, concept.name, concept.name, who)
            )
    return out


def test_a_bare_profession_shows_women_as_often_as_documented() -> None:
    drawings, rng = rows(), random.Random(0)
    curriculum = Curriculum(drawings)
    shown: dict[str, list[bool]] = {p.name: [] for p in PROFESSIONS}
    bare = {caption(t, p.name): p.name for p in PROFESSIONS for t in PLAIN_TEMPLATES}
    for _ in range(60_000):
        index, text = curriculum.draw(rng)
        if text in bare:
            shown[bare[text]].append(drawings[index].presentation == "woman")
    for profession in PROFESSIONS:
        seen = shown[profession.name]
        assert len(seen) > 100
        assert sum(seen) / len(seen) == pytest.approx(profession.women, abs=0.08)


def test_a_prompt_without_a_style_shows_the_house_style() -> None:
    drawings, rng = rows(), random.Random(1)
    curriculum = Curriculum(drawings)
    styles = {row.style for row in drawings}
    for _ in range(5000):
        index, text = curriculum.draw(rng)
        named = {style for style in styles if style in text}
        assert drawings[index].style == (named.pop() if named else HOUSE_STYLE)


def test_held_out_wordings_are_never_trained_on() -> None:
    assert not set(HELD_OUT_TEMPLATES) & {*STYLE_TEMPLATES, *PLAIN_TEMPLATES}


def test_an_article_fits_its_noun() -> None:
    assert caption("a {thing} by {style}", "airplane", "Noto") == "an airplane by Noto"
    assert caption("a {thing} by {style}", "cat", "Noto") == "a cat by Noto"


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return (self.linear(x) - x.sum(dim=1, keepdim=True) + 0.1 * torch.randn(len(x), 1)).square().mean()


def fit(folder: Path, stop_after: int | None = None) -> Tensor:
    torch.manual_seed(0)
    schedule = loop.Schedule(steps=20, rate=1e-2, warmup=3, save_every=7)

    def loss(model: nn.Module, generator: torch.Generator) -> Tensor:
        return model(torch.randn(8, 4, generator=generator))

    return loop.run(Line(), loss, schedule, folder, stop_after=stop_after).linear.weight.detach().clone()


def test_a_resumed_run_ends_where_an_unbroken_one_does(tmp_path: Path) -> None:
    whole = fit(tmp_path / "whole")
    fit(tmp_path / "broken", stop_after=9)
    resumed = fit(tmp_path / "broken")
    assert torch.equal(whole, resumed)
    assert not torch.equal(whole, fit(tmp_path / "other", stop_after=9))


def test_moves_are_drawn_from_the_generator_alone() -> None:
    drawings = torch.randint(256, (3, 3, 96, 96), dtype=torch.uint8)
    one, two = (moved(drawings, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == (3, 3, 64, 64)
    assert one.min() >= -1
    assert one.max() <= 1


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A tiny emoji set in the packages' own layout."""
    folder = tmp_path / "node_modules/@iconify-json/noto"
    folder.mkdir(parents=True)
    body = '<circle cx="16" cy="16" r="12" fill="#f00"/>'
    icons = {"icons": {"red-apple": {"body": body}}, "aliases": {"apple": {"parent": "red-apple"}}}
    (folder / "icons.json").write_text(json.dumps(icons | {"width": 32, "height": 32}))
    (folder / "chars.json").write_text(json.dumps({"1f34e": "apple", "2600": "red-apple"}))
    return tmp_path / "node_modules"


def test_an_emoji_is_drawn_on_white_by_its_sequence(packages: Path) -> None:
    emoji = data.EmojiSet(Style("Noto", "@iconify-json/noto", "", ""), packages)
    for key in ("1f34e", "2600-fe0f"):
        image = emoji.draw(key)
        assert image is not None
        assert image.size == (data.PIXELS, data.PIXELS)
        assert image.getpixel((0, 0)) == (255, 255, 255)
        assert image.getpixel((48, 48)) == (255, 0, 0)
    assert emoji.draw("1f400") is None


def test_a_drawing_that_changed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drawings/Noto").mkdir(parents=True)
    Image.new("RGB", (96, 96)).save(tmp_path / "drawings/Noto/a.png")
    row = {"file": "Noto/a.png", "sha256": "0" * 64, "style": "Noto", "name": "a"}
    (tmp_path / "drawings.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=r"Noto/a\.png is not the drawing that was recorded"):
        data.load(tmp_path)


def test_a_tokenizer_splits_words_it_never_saw_and_refuses_a_small_corpus() -> None:
    texts = ["a red apple", "a drawing of a cat", "a red cat", "an apple drawing"] * 3
    trained = tokenizer.train(texts, merges=10)
    assert trained.tokenize("a red apple")[0] == "a</w>"
    assert len(trained.tokenize("Twemoji")) > 1
    ids = trained("a cat", padding="max_length").input_ids
    assert len(ids) == 77
    assert (ids[0], ids[-1]) == (trained.bos_token_id, trained.eos_token_id)
    with pytest.raises(ValueError, match="merges, 5000 were asked for"):
        tokenizer.train(texts, merges=5000)
