"""How much memory opening a Z-Image-sized model for a solve takes: its encoder, and 1.5 GB at most besides.

    python benchmarks/open_memory.py

A folder of the true shapes is made with all weights zero, as sparse files that take no room on the disk: a Qwen3-4B
encoder in bfloat16 (8.04 GB) and a Z-Image denoiser (12.3 GB), of which the reader and its norm are read.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))


def sparse(path: Path, module: torch.nn.Module) -> int:
    """A safetensors file of a module's names and shapes in bfloat16, all zero; its size in bytes."""
    header, end = {}, 0
    for name, value in dict(module.named_parameters()).items():
        size = 2 * value.numel()
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return end


def folder(root: Path) -> int:
    """A Z-Image folder of the published shapes; the encoder's size in bytes."""
    import tiny_modern
    from accelerate import init_empty_weights
    from diffusers import ZImageTransformer2DModel
    from transformers import Qwen3Config, Qwen3Model

    tiny_modern.modern_pipeline("zimage").save_pretrained(root)
    config = Qwen3Config(
        vocab_size=151_936, hidden_size=2560, intermediate_size=9728, num_hidden_layers=36, num_attention_heads=32,
        num_key_value_heads=8, head_dim=128, tie_word_embeddings=True, dtype="bfloat16",
    )  # fmt: skip
    with init_empty_weights():
        encoder, denoiser = Qwen3Model(config), ZImageTransformer2DModel()
    config.save_pretrained(root / "text_encoder")
    denoiser.save_config(root / "transformer")
    sparse(root / "transformer" / "diffusion_pytorch_model.safetensors", denoiser)
    return sparse(root / "text_encoder" / "model.safetensors", encoder)


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        size = folder(Path(place))
        from concept_edit.models import open_model

        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, time.monotonic()
        model = open_model(place)
        template = model.route.template
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        print(f"streams {model.streams}, template of {len(template.empty)} tokens, {time.monotonic() - began:.0f} s")
        print(f"encoder {size / 1e9:.2f} GB; before opening {before:.2f} GB; peak {peak:.2f} GB")
        print(f"peak less encoder {peak - size / 1e9:.2f} GB (aim: under 1.5)")


if __name__ == "__main__":
    main()
