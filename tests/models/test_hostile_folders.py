"""Model folders whose configuration, index or tokenizer no weights could have: refused by name, before allocation."""

from __future__ import annotations

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny

import concept_edit as ce


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny folder of Stable Diffusion 1.x."""
    folder = tmp_path_factory.mktemp("whole")
    tiny.tiny_pipeline("sd1").save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def config(part: str, **changes: Any) -> Callable[[Path], None]:
    """Changes of one part's configuration."""

    def change(folder: Path) -> None:
        (path,) = (
            folder.glob(f"{part}/*config.json")
            if part != "tokenizer"
            else (folder / "tokenizer/tokenizer_config.json",)
        )
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def written(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def index(folder: Path) -> None:
    (folder / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text('{"metadata": {}}')


def tokens(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer.json"
    path.write_text("")


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "576 GB": (config("text_encoder", hidden_size=12_000, vocab_size=1_000_000, intermediate_size=48_000), "numbers"),
    "absurd": (config("text_encoder", hidden_size=10**12), "hidden_size is 1000000000000, more than any model"),
    "negative": (config("text_encoder", hidden_size=-32), "hidden_size is -32; expected a whole number"),
    "word": (config("text_encoder", intermediate_size="64"), "intermediate_size is '64'; expected a whole number"),
    "many layers": (config("text_encoder", num_hidden_layers=10**9), "num_hidden_layers is 1000000000"),
    "more layers": (config("text_encoder", num_hidden_layers=900), "numbers"),
    "no heads": (config("text_encoder", num_attention_heads=0), "text_encoder"),
    "other width": (config("text_encoder", hidden_size=64), "text_encoder"),
    "long prompts": (config("text_encoder", max_position_embeddings=1 << 19), "text_encoder"),
    "unet of words": (config("unet", block_out_channels=["a", "b"]), r"block_out_channels is .*'a'"),
    "unet negative": (config("unet", cross_attention_dim=-1), "cross_attention_dim is -1"),
    "unet too wide": (config("unet", block_out_channels=[1 << 19] * 3), "numbers"),
    "unet many levels": (config("unet", block_out_channels=[8] * 10_000), "lists 10000 numbers"),
    "steps": (config("scheduler", num_train_timesteps=10**13), "num_train_timesteps"),
    "config deep": (written("unet/config.json", "[" * 100_000), "unet/config.json is nested"),
    "config null": (written("text_encoder/config.json", "null"), "holds no JSON object"),
    "config empty": (written("text_encoder/config.json", ""), "is not JSON"),
    "no weight map": (index, "has no weight_map"),
    "weight map a list": (written("unet/a.safetensors.index.json", '{"weight_map": [1]}'), "has no weight_map"),
    "empty tokenizer": (tokens, r"tokenizer\.json is empty"),
    "no tokens": (written("tokenizer/tokenizer.json", "{}"), "tokenizer"),
    "endless prompts": (config("tokenizer", model_max_length=10**30), "makes prompts of"),
    "index of words": (written("model_index.json", '{"_class_name": ["x"], "unet": 3}'), "."),
    "no encoder listed": (
        written("model_index.json", '{"_class_name": "StableDiffusionPipeline", "unet": [], "text_encoder": "x"}'),
        "has no text_encoder",
    ),
    "generation of words": (written("generation.json", '{"guidance_scale": "x"}'), "guidance_scale is 'x'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_folders_are_refused(kind: str, folder: Path) -> None:
    change, words = HOSTILE[kind]
    change(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=words) as caught:
        ce.open_model(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 300_000, "KiB"
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 900


def test_a_denoiser_larger_than_its_weights_is_refused_before_it_paints(folder: Path) -> None:
    config("unet", block_out_channels=[512, 512, 512], cross_attention_dim=32)(folder)
    with pytest.raises(ValueError, match="numbers"):
        ce.open_model(folder).generate(["a dog"], seeds=[0], steps=1)


def test_the_whole_folder_opens_and_paints(folder: Path) -> None:
    assert len(ce.open_model(folder).generate(["a dog"], seeds=[0], steps=1)) == 1
