"""Instruments on tiny random networks: what they answer is what the networks say."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from concept_edit.demo.concepts import PRESENTATIONS
from concept_edit.demo.judge import CONCEPT_NAMES, STYLE_NAMES, Convolutional, Judge
from concept_edit.evaluation import JudgeLabeller, TransformersClip, ZeroShot


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.fixture(scope="module")
def labeller():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return JudgeLabeller(Judge(Convolutional()), "judge 0")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A tiny CLIP saved as transformers does."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip")
    encoder, tokenizer = tiny.clip()
    text = encoder.config.to_dict() | {"projection_dim": 16}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return TransformersClip(folder)


def test_the_judge_answers_from_the_head_that_knows_the_name(labeller, images):
    concept, style, presentation = labeller.judge.probabilities(images)
    assert labeller.choices("Cat") == CONCEPT_NAMES
    assert labeller.choices("twemoji") == STYLE_NAMES
    assert labeller.choices("woman") == tuple(PRESENTATIONS)
    assert labeller.choices("Van Gogh") == ()
    torch.testing.assert_close(labeller(images, CONCEPT_NAMES), concept)
    torch.testing.assert_close(labeller(images, STYLE_NAMES), style)
    torch.testing.assert_close(labeller(images, ("woman", "man")), presentation.flip(1))
    torch.testing.assert_close(labeller(images, ("cat", "dog")).sum(dim=1), torch.ones(3))
    with pytest.raises(ValueError, match="cannot tell cat, woman apart"):
        labeller(images, ("cat", "woman"))


def test_a_clip_gives_unit_vectors_and_names_itself(clip, images):
    texts, pictures = clip.texts(["a cat", "a dog " * 100]), clip.images(images)
    for rows in (texts, pictures):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))
    torch.testing.assert_close(clip.images(images[1:2])[0], pictures[1])
    assert clip.name.startswith("CLIP ")


def test_zero_shot_is_the_softmax_of_cosines(clip, images):
    labeller = ZeroShot(clip, ("cat", "dog"), template="a {} here", scale=10.0)
    cosines = clip.images(images) @ clip.texts(["a cat here", "a dog here"]).T
    torch.testing.assert_close(labeller(images, ("cat", "dog")), (10 * cosines).softmax(dim=1))
    assert labeller.choices("CAT") == ("cat", "dog")
    assert labeller.choices("bird") == ()
    assert labeller([], ("cat", "dog")).shape == (0, 2)
    with pytest.raises(ValueError, match=r"no \{\}"):
        ZeroShot(clip, ("cat",), template="a cat")


def test_a_clip_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match="there is no CLIP at"):
        TransformersClip(tmp_path)
