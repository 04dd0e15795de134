"""Text encoders out of files: their names into transformers' and their sizes from the tensors' shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from concept_edit.models.files.weights_files import Weights
from concept_edit.models.resting import Resting, weight_names

_OPENCLIP = (
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    (r"^ln_final\.", "final_layer_norm."),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^token_embedding\.", "embeddings.token_embedding."),
)
_IGNORED = r"(.*\.)?(position_ids|logit_scale|attn_mask)"


@dataclass(frozen=True)
class StoredText:
    """A text encoder's tensors in a file under transformers' names (without `text_model.`), read when asked for."""

    weights: Weights
    prefix: str = ""
    """What stands before its names in the file."""
    form: str = "hf"
    """`hf` (transformers' names), `openclip` or `t5`."""
    layers: int | None = None
    """Layers to keep at most."""
    more: Mapping[str, Tensor] | None = None
    """Tensors that the file lacks."""

    @cached_property
    def outline(self) -> dict[str, Tensor]:
        """Every tensor on `meta`: name, shape and the file's dtype."""
        more = {name: value.to("meta") for name, value in (self.more or {}).items()}
        return {name: value for name, (_, value) in self._places.items()} | more

    def read(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The named tensors, in the file's dtype."""
        plain = {name: name.removeprefix("text_model.") for name in names}
        given = self.more or {}
        there = dict.fromkeys(self._places[name][0] for name in plain.values() if name not in given)
        state = self._named(self.weights.read(list(there))) | dict(given)
        return {name: state[ours] for name, ours in plain.items()}

    @cached_property
    def _places(self) -> dict[str, tuple[str, Tensor]]:
        """Name -> its name in the file (several share one where the file stores them joined), and its outline."""
        return {
            ours: (name, part)
            for name in self.weights.where
            if name.startswith(self.prefix)
            for ours, part in self._named({name: self._empty(name)}).items()
        }

    def _empty(self, name: str) -> Tensor:
        return torch.empty(self.weights.shape(name), dtype=self.weights.dtype(name), device="meta")

    def _named(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        short = {name.removeprefix(self.prefix): value for name, value in tensors.items()}
        if self.form != "t5":
            return clip_state(short, self.form, self.layers)
        return _untied({name: value for name, value in short.items() if not re.fullmatch(_IGNORED, name)})


def clip_state(tensors: Mapping[str, Tensor], form: str, layers: int | None) -> dict[str, Tensor]:
    """A CLIP text encoder's tensors by transformers' names, without `text_model.`; at most `layers` layers."""
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not re.fullmatch(_IGNORED, name):
            found |= _from_openclip(name, value) if form == "openclip" else {name.removeprefix("text_model."): value}
    return {name: value for name, value in found.items() if layers is None or _layer(name) < layers}


def _layer(name: str) -> int:
    match = re.match(r"encoder\.layers\.(\d+)\.", name)
    return int(match[1]) if match else -1


def _from_openclip(name: str, value: Tensor) -> dict[str, Tensor]:
    if name == "text_projection":
        return {"text_projection.weight": value.T.contiguous()}
    for pattern, ours in _OPENCLIP:
        name = re.sub(pattern, ours, name)
    joint = re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", name)
    if joint is None:
        return {name: value}
    pieces = zip("qkv", value.chunk(3), strict=True)
    return {f"{joint[1]}.self_attn.{letter}_proj.{joint[2]}": piece.contiguous() for letter, piece in pieces}


def clip_config(state: Mapping[str, Tensor], act: str, tokenizer: Any) -> Any:
    """A `CLIPTextConfig` for these tensors. Heads are 64 wide in every published CLIP text encoder."""
    from transformers import CLIPTextConfig

    vocabulary, width = state["embeddings.token_embedding.weight"].shape
    projection = state.get("text_projection.weight")
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=state["encoder.layers.0.mlp.fc1.weight"].shape[0],
        projection_dim=width if projection is None else projection.shape[0],
        num_hidden_layers=len({_layer(name) for name in state} - {-1}),
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=state["embeddings.position_embedding.weight"].shape[0],
        hidden_act=act,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def t5_config(state: Mapping[str, Tensor]) -> Any:
    """A `T5Config` (v1.1, gated) for these tensors."""
    from transformers import T5Config

    vocabulary, width = state["shared.weight"].shape
    buckets, heads = state["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].shape
    blocks = {int(match[1]) for name in state if (match := re.match(r"encoder\.block\.(\d+)\.", name))}
    return T5Config(
        vocab_size=vocabulary,
        d_model=width,
        d_kv=state["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0] // heads,
        d_ff=state["encoder.block.0.layer.1.DenseReluDense.wo.weight"].shape[1],
        num_layers=len(blocks),
        num_heads=heads,
        relative_attention_num_buckets=buckets,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
    )


def build(kind: str, config: Any, stored: StoredText, dtype: torch.dtype) -> Resting:
    """A text encoder with exactly these weights, which stay in their file until they are needed.

    Raises ValueError naming a tensor that is missing or has another shape.
    """
    import transformers
    from accelerate import init_empty_weights

    name = {"clip": "CLIPTextModel", "clip_projection": "CLIPTextModelWithProjection", "t5": "T5EncoderModel"}[kind]
    with init_empty_weights(include_buffers=False):
        encoder = getattr(transformers, name)(config)
    if kind == "t5":
        encoder.tie_weights()
    wanted, outline = weight_names(encoder), stored.outline
    for key, value in wanted.items():
        found = outline.get(key.removeprefix("text_model."))
        if found is None or found.shape != value.shape:
            got = "no such tensor" if found is None else f"shape {tuple(found.shape)}"
            raise ValueError(f"The text encoder lacks {key} of shape {tuple(value.shape)}; the file has {got}.")
    return Resting(encoder.eval().requires_grad_(False), stored.read, lambda key: _precision(key, kind, dtype))


def _untied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """T5's two names for its embedding; files keep one."""
    return {"encoder.embed_tokens.weight": state["shared.weight"], **state} if "shared.weight" in state else state


def _precision(name: str, kind: str, dtype: torch.dtype) -> torch.dtype:
    """T5's output projections overflow in float16, so they stay float32, as transformers keeps them."""
    keep = kind == "t5" and dtype == torch.float16 and name.endswith(".wo.weight")
    return torch.float32 if keep else dtype
