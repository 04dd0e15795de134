"""The embedded model: what it promises, seen on pictures painted here; the full grid is in its card."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

import concept_edit as ce
from concept_edit import demo
from concept_edit.demo.concepts import CONCEPTS, MODERATED, PROFESSIONS, STYLE_TEMPLATES, STYLES, caption, pairs
from concept_edit.demo.judge import Judge

FIGURES = json.loads((demo.WEIGHTS / "figures.json").read_text())


@pytest.fixture(scope="module")
def judge() -> Judge:
    return demo.load_judge()


@pytest.fixture(scope="module")
def sample() -> list[tuple[str, str, str]]:
    """(prompt, concept, style) of every ninth pair of the grid."""
    return [(caption(STYLE_TEMPLATES[0], c.name, s.name), c.name, s.name) for c, s in pairs()[::9]]


@pytest.fixture(scope="module")
def painted(sample: list[tuple[str, str, str]]) -> list[Image.Image]:
    return ce.open_model("demo").generate([p for p, _, _ in sample], [77] * len(sample))


def test_it_knows_what_the_first_version_must() -> None:
    assert len(STYLES) >= 4
    assert len({c.name for c in CONCEPTS}) == len(CONCEPTS) >= 48
    assert len(PROFESSIONS) >= 8
    assert len(MODERATED) >= 6


def test_the_judge_names_concept_and_style_on_unseen_seeds(
    judge: Judge, sample: list[tuple[str, str, str]], painted: list[Image.Image]
) -> None:
    verdicts = judge(painted)
    concepts = [v.concept == c for v, (_, c, _) in zip(verdicts, sample, strict=True)]
    styles = [v.style == s for v, (_, _, s) in zip(verdicts, sample, strict=True)]
    assert sum(concepts) / len(concepts) >= 0.8
    assert sum(styles) / len(styles) >= 0.8


def test_the_second_judge_is_of_another_kind_and_agrees(judge: Judge, painted: list[Image.Image]) -> None:
    second = demo.load_judge("vit")
    assert type(second.network) is not type(judge.network)
    same = [a.concept == b.concept for a, b in zip(judge(painted), second(painted), strict=True)]
    assert sum(same) / len(same) >= 0.8


def test_the_judge_says_other_to_what_is_no_concept(judge: Judge) -> None:
    nothing = [Image.new("RGB", (64, 64), colour) for colour in ("white", "grey", "navy")]
    named = [v for v in judge(nothing) if v.concept != "other" and v.concept_probability > 0.9]
    assert named == []


def test_clip_prefers_the_right_caption(sample: list[tuple[str, str, str]], painted: list[Image.Image]) -> None:
    clip = demo.load_clip()
    scores = clip.images(painted) @ clip.texts([p for p, _, _ in sample]).T
    right = (scores.argmax(dim=1) == scores.new_tensor(range(len(sample)))).float().mean()
    assert right >= 0.6


def test_the_card_states_what_was_measured() -> None:
    card = (demo.WEIGHTS / "README.md").read_text()
    for field in ("concept", "style"):
        assert f"{100 * FIGURES['generated'][field]['share']:.1f} %" in card
    assert FIGURES["generated"]["concept"]["n"] == 10 * len(pairs())


def test_everything_fits(tmp_path: Path) -> None:
    assert sum(p.stat().st_size for p in demo.WEIGHTS.rglob("*") if p.is_file()) <= 40e6


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(demo.WEIGHTS, tmp_path / "weights"))


def test_intact_weights_pass(copy: Path) -> None:
    demo.verify_checksums(copy)


@pytest.mark.parametrize("name", ["judge_cnn.safetensors", "model/unet/diffusion_pytorch_model.safetensors"])
def test_a_damaged_file_is_named_with_its_checksum(copy: Path, name: str) -> None:
    with (copy / name).open("r+b") as file:
        file.truncate((copy / name).stat().st_size // 2)
    with pytest.raises(ValueError, match=rf"{name} is damaged: SHA-256 \w+…, expected \w+…"):
        demo.verify_checksums(copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "judge_vit.safetensors").unlink()
    with pytest.raises(ValueError, match=r"judge_vit\.safetensors is missing"):
        demo.verify_checksums(copy)


def test_an_unknown_judge_is_refused() -> None:
    with pytest.raises(ValueError, match="'oracle' is no judge; expected one of cnn, vit"):
        demo.load_judge("oracle")  # type: ignore[arg-type]
