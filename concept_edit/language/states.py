"""Reading states out of a run, and adding to them inside one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from concept_edit.language.model import LanguageModel
from concept_edit.language.sites import Site
from concept_edit.language.tokens import Tokens


class _Enough(Exception):  # noqa: N818
    """All that was asked for is read: the layers above need not run."""


def states(
    lm: LanguageModel, tokens: Tokens, sites: Sequence[Site]
) -> dict[Site, Float[Tensor, "prompts tokens width"]]:
    """What each site holds, without gradients. Layers above the last one do not run."""
    found: dict[Site, Tensor] = {}

    def note(site: Site, value: Any) -> None:
        found[site] = tensor_of(value).detach().reshape(*tokens.ids.shape, site.width)
        if len(found) == len(set(sites)):
            raise _Enough

    handles = [_hook(lm, site, note) for site in dict.fromkeys(sites)]
    try:
        with torch.no_grad():
            lm.logits(tokens)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def rewritten(lm: LanguageModel, site: Site, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside the block the site's output is what `change` makes of it."""

    def hook(module: Any, args: Any, output: Any) -> Any:
        new = change(tensor_of(output))
        return (new, *output[1:]) if isinstance(output, tuple) else new

    assert site.side == "output"
    handle = lm.module(site).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def frozen(lm: LanguageModel) -> Iterator[None]:
    """Inside the block no weight gathers gradients: only what is added to states does."""
    wanted = [p for p in lm.model.parameters() if p.requires_grad]
    for parameter in wanted:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)


def tensor_of(value: Any) -> Tensor:
    """The state itself where a block returns a tuple around it."""
    return value[0] if isinstance(value, tuple) else value


def _hook(lm: LanguageModel, site: Site, note: Callable[[Site, Any], None]) -> Any:
    module = lm.module(site)
    if site.side == "input":
        return module.register_forward_pre_hook(lambda m, args: note(site, args[0]))
    return module.register_forward_hook(lambda m, args, output: note(site, output))
