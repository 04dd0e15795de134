"""A language model opened for reading and editing: its sites, its answers and its tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from concept_edit.language.places import read_at
from concept_edit.language.scoring import score
from concept_edit.language.sites import Kind, Site, as_matrix, find_structure
from concept_edit.language.tokens import Tokens, place_of, tokenise


class LanguageModel:
    """A causal language model of transformers with its fast tokenizer; made by `open_language_model`."""

    def __init__(self, model: nn.Module, tokenizer: Any, *, name: str):
        if not getattr(tokenizer, "is_fast", False):
            raise ValueError(
                f"the tokenizer of {name} ({type(tokenizer).__name__}) gives no character offsets; open it with "
                "transformers' fast tokenizers (use_fast=True)"
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.name = name
        self.prompt_ends: tuple[int, ...] = ()
        """Columns in which the prompts end of the texts that are running, if a measure told: `Tokens.ends`."""
        found = find_structure(model, lambda: self.logits(tokenise(tokenizer, ["a b"], self.device)))
        self.sites: tuple[Site, ...] = found.sites
        """Every site, block after block."""
        self.layers: int = found.layers
        """Number of blocks."""
        self.embedding: str = found.embedding
        """Name of the module whose output is the token embeddings."""
        self._fingerprint = ""
        self._by_place = {(site.kind, site.layer): site for site in found.sites}

    @property
    def device(self) -> torch.device:
        """Where the embeddings are."""
        return next(self.model.parameters()).device

    @property
    def width(self) -> int:
        """d_model."""
        return self.sites[0].width

    @property
    def heads(self) -> int:
        """Attention heads of a block; each has `site("head", layer).width // heads` columns."""
        config: Any = self.model.config
        return int(config.get_text_config().num_attention_heads)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over weights, as float16, and vocabulary; an edit file is bound to it."""
        if not self._fingerprint:
            self._fingerprint = _fingerprint(self.model, self.tokenizer)
        return self._fingerprint

    def site(self, kind: Kind, layer: int) -> Site:
        """The site of that kind in block `layer`; negative numbers count from the last block.

        Raises:
            ValueError: no such block or kind.
        """
        number = layer + self.layers if layer < 0 else layer
        if (kind, number) not in self._by_place:
            raise ValueError(
                f"{self.name} has no site {kind!r} in layer {layer}: layers go from 0 to {self.layers - 1}"
            )
        return self._by_place[kind, number]

    def module(self, site: Site | str) -> nn.Module:
        """The module of a site, or of that name."""
        return self.model.get_submodule(site if isinstance(site, str) else site.module)

    def matrix(self, site: Site | str) -> Float[Tensor, "d_out d_in"]:
        """The weight of a site's linear layer as out x in; a view into the model."""
        return as_matrix(self.module(site)).detach()

    def weights(self) -> Mapping[str, Tensor]:
        """Name -> matrix (out x in, views) of every down projection and attention output projection."""
        names = dict.fromkeys(site.module for site in self.sites if site.kind != "hidden")
        return {f"{name}.weight": self.matrix(name) for name in names}

    def encode(self, prompts: Sequence[str]) -> Tokens:
        """Token ids, mask and character spans, padded on the right."""
        return tokenise(self.tokenizer, prompts, self.device)

    def own_ids(self, text: str) -> Int[Tensor, " tokens"]:
        """The ids of one text, without padding."""
        return self.encode([text]).ids[0]

    def logits(self, tokens: Tokens) -> Float[Tensor, "prompts tokens vocabulary"]:
        """One forward pass, with gradients where they are on. Columns of padding hold nothing of use."""
        self.prompt_ends = tokens.ends
        try:
            return self.model(input_ids=tokens.ids, attention_mask=tokens.mask.long(), use_cache=False).logits
        finally:
            self.prompt_ends = ()

    def logits_at(
        self, tokens: Tokens, rows: Int[Tensor, " places"], columns: Int[Tensor, " places"]
    ) -> Float[Tensor, "places vocabulary"]:
        """Logits at some places alone."""
        with read_at(self.model, rows, columns):
            return self.logits(tokens)

    def subject_rows(self, prompt: str, subject: str) -> tuple[int, ...]:
        """Columns of the tokens that hold the first `subject` in `prompt`, by character offsets.

        Raises:
            ValueError: the subject does not stand there.
        """
        return self.encode([prompt]).rows(0, *place_of(prompt, subject))

    def probabilities(
        self, prompts: Sequence[str], answers: Sequence[str] | Sequence[Sequence[str]], *, batch_size: int = 32
    ) -> Float[Tensor, "prompts answers"]:
        """exp(mean log probability of the answer's tokens) after each prompt: for answers of one token its probability.

        `answers`: the same ones for every prompt, or a sequence of equally many for each.
        """
        own = [[a] if isinstance(a, str) else list(a) for a in answers]
        if all(isinstance(answer, str) for answer in answers):
            own = [[str(answer) for answer in answers]] * len(prompts)
        if len(own) != len(prompts) or len({len(row) for row in own}) > 1:
            raise ValueError(
                f"{len(own)} sets of answers for {len(prompts)} prompts; give equally many for each prompt"
            )
        pairs = [(prompt, answer) for prompt, row in zip(prompts, own, strict=True) for answer in row]
        found = score(self, pairs, batch_size=batch_size)
        return found.log_probability.exp().reshape(len(prompts), -1)

    def complete(
        self, prompts: Sequence[str], *, tokens: int = 16, seed: int | None = None, temperature: float = 1.0
    ) -> list[str]:
        """What the model says next, at most `tokens` tokens: the likeliest, or drawn at random with a `seed`.

        Prompts of equal length run together, so that none is ever padded.
        """
        encoded, said = self.encode(prompts), [""] * len(prompts)
        draw: dict[str, Any] = {"do_sample": False}
        if seed is not None:
            draw = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed or 0)
            for length in sorted(set(encoded.lengths)):
                rows = [n for n, own in enumerate(encoded.lengths) if own == length]
                new = self._generate(encoded.ids[rows, :length], tokens, draw)
                for n, ids in zip(rows, new, strict=True):
                    said[n] = self._text(ids)[len(self._text(encoded.ids[n, :length])) :]
        return said

    def forget(self) -> None:
        """The weights were changed for good: what was known of them is computed anew."""
        self._fingerprint = ""

    def _generate(self, ids: Tensor, tokens: int, draw: Mapping[str, Any]) -> Tensor:
        model: Any = self.model
        end = self.tokenizer.eos_token_id
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else (end or 0)
        return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, pad_token_id=pad, **draw)

    def _text(self, ids: Tensor) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)


def _fingerprint(model: nn.Module, tokenizer: Any) -> str:
    digest = hashlib.sha256()
    for line in _lines(tokenizer):
        digest.update(line.encode())
    for name, value in sorted(model.named_parameters()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        for block in value.detach().reshape(-1).split(1 << 24):
            digest.update(block.to("cpu", torch.float16).contiguous().numpy().data)
    return digest.hexdigest()


def _lines(tokenizer: Any) -> Iterator[str]:
    yield from (f"{token} {index}\n" for token, index in sorted(tokenizer.get_vocab().items()))
    yield repr(tokenizer("The Space Needle is in Seattle.")["input_ids"])
