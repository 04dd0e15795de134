"""The CLIP text encoder of an image model, with the sites and verbs of a language model.

    encoder = open_text_encoder(model)                       # model: of `open_model`
    edit = rewrite(encoder, Fact("doctor", "{}", new="farmer"), "rome", [1])
    with edit.applied(encoder):
        model.generate(["a doctor"], seeds=[0])

What it says of a prompt are rows, not words: a fact's new answer is another subject in the same prompt, and every
denoiser that reads this encoder then paints it (ReFACT, Arad et al., NAACL 2024; EMCID, Xiong et al., 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.language.facts import Fact
from concept_edit.language.model import LanguageModel
from concept_edit.language.tokens import Tokens

if TYPE_CHECKING:
    from concept_edit.models.opened import OpenedModel

TEMPLATES = ("{}", "a {}", "a picture of a {}", "a drawing of a {}", "an image with a {} in it")
"""What a subject is said in while its value is looked for."""
_PADS = 8
"""Rows of padding that are looked at; those after them say much the same."""


class TextEncoder(LanguageModel):
    """One CLIP tower of an opened image model; made by `open_text_encoder`."""

    def __init__(
        self, encoder: Any, tokenizer: Any, *, name: str, fingerprint: str, length: int, tower: int = 0, towers: int = 1
    ):
        self.length, self.tower, self.towers = length, tower, towers
        super().__init__(encoder, tokenizer, name=name)
        self._fingerprint = fingerprint

    def encode(self, prompts: Sequence[str]) -> Tokens:
        """Ids up to EOS and some padding, as the tower pads; every column is heard."""
        found = self.tokenizer(list(prompts), truncation=True, max_length=self.length, return_offsets_mapping=True)
        rows, spans = found["input_ids"], found["offset_mapping"]
        width = min(self.length, max(map(len, rows), default=0) + _PADS)
        pad = self.tokenizer.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=self.device)
        places = tuple(tuple(map(tuple, row)) + ((0, 0),) * (width - len(row)) for row in spans)
        return Tokens(tuple(prompts), ids.reshape(len(rows), width), torch.ones_like(ids, dtype=torch.bool), places)

    def own_ids(self, text: str) -> Tensor:
        """Ids up to EOS: padding is no text."""
        found = self.tokenizer([text], truncation=True, max_length=self.length)["input_ids"][0]
        return torch.tensor(found, device=self.device)

    def ends(self, tokens: Tokens) -> list[int]:
        """Column of EOS in each text: the first one, where padding is EOS too."""
        return [int((row == self.tokenizer.eos_token_id).nonzero()[0]) for row in tokens.ids]

    def logits(self, tokens: Tokens) -> Float[Tensor, "prompts tokens d_text"]:
        """What the encoder says: its last rows, after the final norm."""
        return self.model(input_ids=tokens.ids).last_hidden_state

    def forget(self) -> None:
        """After a merge the encoder has another fingerprint, that only opening it again can tell."""
        self._fingerprint = "merged " + self._fingerprint


def wordings(fact: Fact) -> tuple[str, ...]:
    """What a fact's subject is said in: its prompt, for a bare "{}" all `TEMPLATES`, and its paraphrases with {}.

    A style is told in its own phrases: Fact("Twemoji", "a cat in the style of {}", "Noto", paraphrases=[...]).
    """
    first = TEMPLATES if fact.prompt == "{}" else (fact.prompt,)
    return (*first, *(text for text in fact.paraphrases if "{}" in text))


def open_text_encoder(model: OpenedModel, tower: int = 0) -> TextEncoder:
    """The CLIP text encoder of an image model; editing it changes what the model paints.

    Raises:
        ValueError: a tower that is no CLIP, or that the model does not have.
    """
    if not 0 <= tower < len(model.towers) or model.towers[tower].spec.kind != "clip":
        kinds = ", ".join(f"{n}: {t.spec.kind}" for n, t in enumerate(model.towers))
        raise ValueError(f"tower {tower} of {model.name} is no CLIP text encoder; it has {kinds or 'none'}")
    held = model.towers[tower]
    about = {"fingerprint": f"{model.fingerprint} {tower}", "length": held.length, "tower": tower}
    clips = sum(t.spec.kind == "clip" for t in model.towers)
    return TextEncoder(held.encoder, held.tokenizer, name=model.name, towers=clips, **about)  # type: ignore[arg-type]
