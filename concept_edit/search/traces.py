"""Causal traces: which states of which tokens and layers carry an answer.

trace = ce.trace(lm, fact)                   # tokens x layers, of hidden states, MLPs and attentions
trace = ce.trace(lm, facts, folder="run")    # mean over facts, by role of token, with intervals; goes on where it was
trace.plot("trace.png"); trace.layers(3); trace.save("trace.json")
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from concept_edit.files import replace_file
from concept_edit.language.encoder import TextEncoder
from concept_edit.reading.plain import object_of, one_sentence
from concept_edit.search.averages import collected, kept_row
from concept_edit.search.restore import KINDS, How, Kind
from concept_edit.search.roles import ROLES
from concept_edit.search.tracing import Asked, Settings, Traced, subject_deviation, trace_one

if TYPE_CHECKING:
    from concept_edit.language.facts import Fact
    from concept_edit.language.model import LanguageModel
    from concept_edit.models.contract import Model

_FORMAT = "concept-edit trace 1"
_LITTLE = 0.05
"""Share of what noise takes: layers that give less back do not hold the fact."""


@dataclass(frozen=True, eq=False)
class Trace:
    """Effects of restoring states on an answer's probability. Made by `trace` or `Trace.load`."""

    model: str
    rows: tuple[str, ...]
    """What the rows of `effects` are: tokens of the prompt, or roles of tokens where several facts were averaged."""
    roles: tuple[str, ...]
    """Role of each row."""
    effects: Mapping[Kind, Float[Tensor, "rows layers"]]
    """Probability gained. NaN for a role that no fact has."""
    clean: float
    """Probability of the answer in the prompt as it is (a mean, for several facts)."""
    corrupted: float
    """The same with noise on the subject, or with the other subject."""
    windows: Mapping[Kind, int]
    """Layers restored together."""
    title: str
    """The prompt and its answer, or how many facts."""
    facts: int = 1
    skipped: int = 0
    """Facts left out, since the model does not answer them."""
    low: Mapping[Kind, Float[Tensor, "rows layers"]] = field(default_factory=dict)
    """Lower ends of 95 % intervals (bootstrap over facts); empty for one fact."""
    high: Mapping[Kind, Float[Tensor, "rows layers"]] = field(default_factory=dict)
    exact: Mapping[Kind, Bool[Tensor, "rows layers"]] = field(default_factory=dict)
    """Cells that were computed, of one fact; the others are the gradient's estimates."""
    screened: Mapping[Kind, float] = field(default_factory=dict)
    """Spearman's correlation of the gradient's estimates with what was computed; empty where all was."""
    severed: str = ""
    """Which later sites were held back."""
    measure: str = "probability of the answer"
    """What is gained; of a text encoder it is the share of the rows' distance that is made good."""

    def row(self, role: str, kind: Kind) -> Float[Tensor, " layers"]:
        """Effects of the token (or tokens, their mean) of a role."""
        mine = [n for n, own in enumerate(self.roles) if own == role]
        if not mine or kind not in self.effects:
            raise ValueError(f"the trace has no {kind} of a {role} token")
        return self.effects[kind][mine].mean(dim=0)

    def layers(self, count: int = 1) -> Layers:
        """The `count` neighbouring layers where facts are looked up: MLPs at the last subject token.

        Raises:
            ValueError: more layers than the model has, or MLPs were not traced.
        """
        effects = self.row("last subject", "mlp")
        if not 1 <= count <= len(effects):
            raise ValueError(f"{count} layers asked of a model that has {len(effects)}")
        sums = effects.unfold(0, count, 1).sum(dim=1)
        first = int(sums.argmax())
        found = range(first, first + count)
        value = float(effects[list(found)].mean())
        return Layers(found, self._why(found, value))

    @property
    def sentence(self) -> str:
        """Where the sites are."""
        return self.layers().why

    def plot(self, path: str | os.PathLike[str]) -> None:
        """Draw a PNG (or SVG, PDF): a heat map of each kind for one fact, lines by role of token for an average.

        Raises:
            ValueError: matplotlib is not installed.
        """
        from concept_edit.search.plots import plot_trace

        plot_trace(self, path)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON; `Trace.load` reads it."""
        data: dict[str, Any] = {"format": _FORMAT}
        for name, value in vars(self).items():
            data[name] = {k: _plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value
        replace_file(path, json.dumps(data, ensure_ascii=False, indent=1).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Read what `save` wrote.

        Raises:
            ValueError: another file, or a damaged one.
        """
        data = object_of(path, _FORMAT, "trace")
        with one_sentence(path, "read as a trace"):
            for name in ("effects", "low", "high", "exact"):
                data[name] = {kind: _tensor(rows, name == "exact") for kind, rows in data[name].items()}
            return cls(**data | {"rows": tuple(data["rows"]), "roles": tuple(data["roles"])})

    def _why(self, layers: range, value: float) -> str:
        lost = self.clean - self.corrupted
        early = f"{self._restored(layers)} {value:+.3f} of the lost {lost:.3f} back at the last subject token"
        if "last" in self.roles and value < _LITTLE * lost:
            said = self.row("last", "mlp")
            early += (
                f", which is little: at the last token MLPs give {float(said.max()):+.3f} in layer {int(said.argmax())}"
            )
        if "attention" not in self.effects or "last" not in self.roles:
            return early
        late = self.row("last", "attention")
        where = _span(self._window("attention", int(late.argmax())))
        return f"{early}; attention does most at the last token, that of {where} ({float(late.max()):+.3f})"

    def _restored(self, layers: range) -> str:
        """Which MLPs were restored."""
        window, alike = self.windows["mlp"], self._alike(layers)
        among = f" (as good, within its interval: {_span(alike)})" if len(alike) > len(layers) else ""
        if window == 1 or len(layers) > 1:
            around = f", in windows of {window} layers," if window > 1 else ""
            return f"{_span(layers)}{among}: MLPs there{around} give"
        spread = self._window("mlp", layers[0])
        own = f"MLPs of {_span(spread)} together give" if len(spread) > 1 else f"the MLP of {_span(spread)} gives"
        return f"{_span(layers)}{among}: {own}"

    def _window(self, kind: Kind, layer: int) -> range:
        """Layers restored together for one: a window around it, cut off at the model's ends."""
        return How(kind, self.windows[kind]).span(layer, self.effects[kind].shape[1])

    def _alike(self, layers: range) -> range:
        """The layers around one whose mean lies in its 95 % interval over facts; of one fact, or of several layers,
        themselves."""
        if "mlp" not in self.low or len(layers) > 1:
            return layers
        means, row = self.row("last subject", "mlp"), self.roles.index("last subject")
        inside = (means >= self.low["mlp"][row, layers[0]]).tolist()
        first, stop = layers[0], layers[0] + 1
        while first and inside[first - 1]:
            first -= 1
        while stop < len(inside) and inside[stop]:
            stop += 1
        return range(first, stop)


def _span(layers: range) -> str:
    """ "layer 3", or "layers 0 to 5"."""
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]} to {layers[-1]}"


class Layers(tuple[int, ...]):
    """Numbers of layers, with the sentence that says why."""

    why: str

    def __new__(cls, layers: Sequence[int], why: str) -> Layers:
        made = super().__new__(cls, tuple(layers))
        made.why = why
        return made


def trace(
    lm: LanguageModel | Model,
    fact: Fact | str | Sequence[Fact],
    *,
    subject: str = "",
    answer: str = "",
    instead: str = "",
    kind: Kind | Sequence[Kind] | None = None,
    window: int | None = None,
    severed: Kind | None = None,
    exact: int | None = None,
    samples: int = 10,
    noise: float = 3.0,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Trace:
    """Trace a fact, or the mean over many that the model knows; of an image model, a concept in its text encoder.

    Args:
        fact: A fact (its old answer counts, or what the model says), a prompt with `subject`, or several facts.
        subject: Of a prompt given as text.
        answer: Of a prompt given as text; empty for what the model says. Its first token counts.
        instead: No noise: states of the prompt are put into the same prompt about this other subject.
        kind: "hidden", "mlp", "attention", or several; all if None.
        window: MLPs or attentions restored together; None: ten layers, a third of a model of fewer than 30.
        severed: "mlp" or "attention": later ones stay as the noise had them, at the restored token.
        exact: Only so many cells of each kind are computed, chosen by a gradient, which stands for the others.
        samples: Noises on the subject, averaged.
        noise: Their standard deviation, in those of the subjects' token embeddings.
        folder: Of many facts: each is written there when done, and not done again.
        progress: Show a bar on stderr.

    Raises:
        ValueError: a model of another sort, a subject that does not stand in its prompt, noise that changes nothing, or
            no fact that the model knows.
    """
    kinds = KINDS if kind is None else (kind,) if isinstance(kind, str) else tuple(kind)
    settings = Settings(kinds, window, samples, noise, severed, exact, seed)
    if hasattr(lm, "towers") or isinstance(lm, TextEncoder):
        return _of_encoder(lm, fact, subject, instead, settings)
    if not hasattr(lm, "subject_rows"):
        raise ValueError(f"{type(lm).__name__} cannot be traced; give what open_language_model or open_model opened")
    opened: Any = lm
    if isinstance(fact, str) or not isinstance(fact, Sequence):
        return _single(opened, _asked(fact, subject, answer, instead), settings)
    if subject or answer or instead:
        raise ValueError("subject, answer and instead go with one prompt; several facts bring their own")
    listed = [_asked(each, "", "", "") for each in fact]
    settings = replace(settings, deviation=subject_deviation(opened, listed)) if listed else settings
    return _averaged(opened, listed, settings, folder, progress)


def prepare(
    lm: LanguageModel,
    facts: Sequence[Fact],
    share: Sequence[Fact],
    *,
    folder: str | os.PathLike[str] | None,
    kind: Sequence[Kind] | None = None,
    window: int | None = None,
    severed: Kind | None = None,
    exact: int | None = None,
    samples: int = 10,
) -> None:
    """Trace `share` of `facts` into `folder`, one of several processes; `trace` of all of them then only averages."""
    settings = Settings(tuple(kind or KINDS), window, samples, 3.0, severed, exact, 0)
    settings = replace(settings, deviation=subject_deviation(lm, [_asked(each, "", "", "") for each in facts]))
    for each in share:
        kept_row(lm, _asked(each, "", "", ""), settings, folder)


def _single(lm: LanguageModel, asked: Asked, settings: Settings) -> Trace:
    found = trace_one(lm, asked, settings)
    instead = f" (into {asked.instead})" if asked.instead else ""
    title = f"{asked.prompt} → {found.answer.strip()}{instead}"
    return _of_one(lm.name, found, settings, windows=_windows(lm, settings), title=title)


def _of_one(model: str, found: Traced, settings: Settings, **more: Any) -> Trace:
    """The trace of one prompt."""
    return Trace(
        model=model,
        rows=found.tokens,
        roles=found.roles,
        effects=found.effects,
        clean=found.clean,
        corrupted=found.corrupted,
        exact=found.exact,
        screened=found.screened,
        severed=settings.severed or "",
        **more,
    )


def _of_encoder(model: Any, fact: Any, subject: str, instead: str, settings: Settings) -> Trace:
    """Of an image model: its text encoder, judged by the rows that the denoiser is given."""
    from concept_edit.search.encoder_traces import trace_encoder

    if isinstance(fact, Sequence) and not (isinstance(fact, str) and subject):
        raise ValueError("a text encoder is traced on one fact, or one prompt with its subject, as in subject='a dog'")
    asked = _asked(fact, subject, "", instead)
    if settings.exact is not None:
        raise ValueError("text encoders are small: every cell is computed, and exact chooses nothing there")
    found = trace_encoder(model, asked, settings)
    layers = next(iter(found.effects.values())).shape[1]
    return _of_one(
        model.name,
        found,
        settings,
        windows={kind: settings.how(kind, layers).window for kind in settings.kinds},
        title=f"{asked.prompt}: {asked.subject}" + (f" into {instead}" if instead else ""),
        measure="share of what the text encoder says",
    )


def _averaged(lm: LanguageModel, listed: Sequence[Asked], settings: Settings, folder: Any, progress: bool) -> Trace:
    mean = collected(lm, listed, settings, folder, progress)
    kept = [n for n, role in enumerate(ROLES) if bool(torch.isfinite(mean.value[settings.kinds[0]][n]).any())]

    def rows(of: Mapping[Kind, Tensor]) -> dict[Kind, Tensor]:
        return {kind: table[kept] for kind, table in of.items()}

    names = tuple(ROLES[n] for n in kept)
    return Trace(
        model=lm.name,
        rows=names,
        roles=names,
        effects=rows(mean.value),
        clean=mean.clean,
        corrupted=mean.corrupted,
        windows=_windows(lm, settings),
        title=f"{mean.facts} facts",
        facts=mean.facts,
        skipped=len(listed) - mean.facts,
        low=rows(mean.low),
        high=rows(mean.high),
        screened=mean.screened,
        severed=settings.severed or "",
    )


def _windows(lm: LanguageModel, settings: Settings) -> dict[Kind, int]:
    return {kind: settings.how(kind, lm.layers).window for kind in settings.kinds}


def _asked(fact: Fact | str, subject: str, answer: str, instead: str) -> Asked:
    if isinstance(fact, str):
        if not subject:
            raise ValueError("a prompt given as text needs its subject, as in subject='The Space Needle'")
        return Asked(fact, subject, answer, instead)
    return Asked(fact.asked, fact.subject, answer or fact.old, instead)


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value


def _tensor(rows: Any, flags: bool) -> Tensor:
    return torch.tensor(rows, dtype=torch.bool if flags else torch.float64)
