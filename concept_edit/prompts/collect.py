"""What the text encoder says about a recipe: rows of sources, goals and kept prompts, per text stream.

    statistics = collect(model, recipe)          # streams the prompts; rows picked by the token rule
    joint = statistics_a + statistics_b          # sums and unions: the order of adding does not matter
    fewer = statistics.without("Van Gogh")

Rows are held one by one, so that a concept can be taken out again, up to `ROW_BYTES`; beyond, they are held as
`d_text x d_text` sums, so memory stays bounded for any number of prompts.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from textwrap import shorten

import torch
from torch import Tensor
from tqdm import tqdm

from concept_edit.asked.items import AnyEdit
from concept_edit.asked.wordings import templates_of
from concept_edit.memory.guard import Surroundings
from concept_edit.memory.solve import goal_moment, row_moment
from concept_edit.models.contract import Encoded, Model, Site
from concept_edit.prompts.common import common_rows
from concept_edit.prompts.corpus import Corpus, default_corpus
from concept_edit.prompts.lens import lens_of
from concept_edit.prompts.stats import Rows, Statistics, Stream, plus
from concept_edit.prompts.tokens import PromptRows, aimed_pairs, centroid, kept_rows, paired, prompt_rows
from concept_edit.recipe import AUTO, NEUTRAL, NEUTRALLY, CutWarning, Debias, Erase, Moderate, Recipe, Steer

ROW_BYTES = 128 * 2**20
"""Rows of one stream, of edits and of kept prompts each, that are held one by one before they are summed."""
_FEW, _CENTROID = 8, 32
"""Kept prompts from which on their centroid is the automatic guide, and how many of them make it up at most."""
_SUM_ROWS = 4096
"""Rows that wait to be summed together once they are no longer held."""


def collect(
    model: Model,
    recipe: Recipe,
    *,
    corpus: Corpus | None = None,
    batch_size: int = 32,
    strict: bool = False,
    progress: bool = False,
) -> Statistics:
    """Encode every prompt of the recipe and pick its rows, in bounded memory.

    `corpus` is what guarded and gated solves hold still; None: plain captions (`default_corpus`). `progress` shows a
    bar on stderr. `strict` refuses prompts that the tokenizer has to cut, which otherwise warn.

    Raises:
        ValueError: a prompt that is cut (strict), NaN from the encoder, a concept to balance without
            aims, or layers that the model does not have.
    """
    unmeasured = [edit.concept for edit in recipe.edits if isinstance(edit, Debias) and edit.aims is None]
    if unmeasured:
        raise ValueError(
            f"{unmeasured[0]!r} is to be balanced and nobody has measured how far: "
            "find its aims with debias (concept-edit debias --recipe), or write them into the recipe"
        )
    edited = {site.stream for site in sites_edited(model, recipe)}
    names = [name for name in model.streams if name in edited]
    piles = {name: (_Pile(model.streams[name], True), _Pile(model.streams[name], False)) for name in names}
    encoder = _Encoder(model, batch_size, strict)
    jobs = _jobs(recipe, model.reads_briefly)
    with tqdm(total=len(jobs), desc="encoding", unit="prompt", disable=not progress) as bar:
        for batch in _batches(jobs, batch_size):
            known = encoder([prompt for job in batch for prompt in job.prompts])
            for job in batch:
                goal = encoder.centre(job.among) if job.among else known.get(job.goal or "", {})
                for name in names:
                    piles[name][job.kept].add(job, known, name, goal.get(name))
            bar.update(len(batch))
    held = _corpus(model, recipe, corpus)
    around = {} if held is None else _surroundings(model, recipe, held, names)
    common: tuple[str, ...] = ()
    if recipe.keeps_common(model.reads_briefly):
        common, rows = common_rows(model)
        around = {name: replace(own, **rows[name]._asdict()) for name, own in around.items()}
    streams = {name: Stream(pairs.read(), kept.read(), around.get(name)) for name, (pairs, kept) in piles.items()}
    told = "" if held is None else held.identity
    return Statistics(recipe, streams, model.name, model.fingerprint, encoder.cut, told, common)


def _corpus(model: Model, recipe: Recipe, given: Corpus | None) -> Corpus | None:
    """The corpus of a method that needs one."""
    if recipe.method == "uce":
        return None
    held = default_corpus(model) if given is None else given
    if held.fingerprint != model.fingerprint:
        raise ValueError(f"the corpus was read with the text encoder of {held.model}, {model.name} has another")
    return held


def _surroundings(model: Model, recipe: Recipe, corpus: Corpus, names: Sequence[str]) -> dict[str, Surroundings]:
    """Per stream what should stay; every row of the empty prompt does not move at all.

    Where these would take half of the stream's directions (narrower than any published model's), its first row,
    its EOS and the centroid of its pads stand for them.
    """
    null = model.encode([""])
    fixed = {name: _fixed(null[name], model.streams[name]) for name in names}
    lenses = {name: lens_of(model, name) if model.family.route is not None else None for name in names}
    return {name: corpus.around(name, recipe, fixed[name], lenses[name]) for name in names}


def _fixed(null: Encoded, width: int) -> Tensor:
    rows = null.rows[0]
    if len(rows) <= width // 2:
        return rows
    spans = prompt_rows(null, 0).spans
    stands = [rows[[span.start, *span.suffix]] for span in spans]
    pads = [rows[span.pads[0] : span.stop].mean(dim=0, keepdim=True) for span in spans if span.pads]
    return torch.cat([*stands, *pads])


def sites_edited(model: Model, recipe: Recipe) -> tuple[Site, ...]:
    """The matrices of `model` that the recipe changes.

    Raises:
        ValueError: an entry of `recipe.layers` that names none of them.
    """
    for layer in recipe.layers:
        if not any(layer == site.role or fnmatchcase(site.name, layer) for site in model.sites):
            roles = ", ".join(dict.fromkeys(site.role for site in model.sites))
            raise ValueError(f"no layer of {model.name} is called {layer!r}; give a role ({roles}) or a name pattern")
    return tuple(site for site in model.sites if recipe.edits_layer(site.name, site.role))


Known = Mapping[str, dict[str, PromptRows]]


@dataclass(frozen=True)
class _Job:
    """One prompt to encode, with the goal it is paired with; kept prompts have none."""

    owner: int
    prompt: str
    goal: str | None
    weight: float
    tokens: str
    aims: tuple[tuple[str, float], ...] = ()
    """For a concept to balance or to steer: the prompts its goal lies towards, and how far."""
    among: tuple[str, ...] = ()
    """The prompts whose centroid is the goal, where that is chosen automatically."""
    before: str = ""
    """What the wording says before it names the concept."""

    @property
    def kept(self) -> bool:
        return self.goal is None and not self.aims and not self.among

    @property
    def prompts(self) -> tuple[str, ...]:
        asked = (self.prompt,) if self.goal is None else (self.prompt, self.goal)
        return (*asked, *((self.before,) if self.before else ()), *(prompt for prompt, _ in self.aims))


def _jobs(recipe: Recipe, quickly: bool) -> list[_Job]:
    """Under `subject` a concept's rows share its weight; elsewhere each row has it whole, as published."""
    jobs: list[_Job] = []
    for owner, edit in enumerate(recipe.edits):
        templates = _templates(edit, recipe.wordings_of(edit, quickly))
        weight = edit.weight / len(templates) if recipe.tokens == "subject" else edit.weight
        if isinstance(edit, Debias):
            jobs.extend(_balanced(recipe, edit, templates, owner, weight))
        elif isinstance(edit, Steer):
            jobs.extend(_steered(recipe, edit, templates, owner, weight))
        else:
            jobs.extend(_asked(recipe, edit, templates, owner, weight))
    return jobs + [_Job(owner, prompt, None, 1.0, recipe.tokens) for owner, prompt in enumerate(recipe.kept)]


Templates = Mapping[str, str]
"""Prompt -> the template it was made from."""


def _asked(recipe: Recipe, edit: Erase | Moderate, templates: Templates, owner: int, weight: float) -> Iterator[_Job]:
    """Every wording of a concept with its goal: the guide itself, as published; under `subject` the same wording with
    the guide in the concept's place, and where the guide is automatic the same wording of what is kept, or of neutral
    words."""
    guide = recipe.guide_of(edit)
    kept = [prompt for prompt in recipe.preserve if prompt]
    neutral = guide == NEUTRALLY or len(kept) < _FEW
    safe = NEUTRAL if neutral else tuple(kept[:: -(-len(kept) // _CENTROID)])
    for prompt, given in templates.items():
        template = given if "{}" in given else "{}"
        said = _before(template) if recipe.tokens == "subject" else ""
        if guide in (AUTO, NEUTRALLY):
            among = tuple(template.replace("{}", other) for other in safe)
            yield _Job(owner, prompt, None, weight, recipe.tokens, among=among, before=said)
        elif recipe.tokens == "subject" and guide:
            yield _Job(owner, prompt, template.replace("{}", guide), weight, recipe.tokens, before=said)
        else:
            yield _Job(owner, prompt, guide, weight, recipe.tokens)


def _templates(edit: AnyEdit, wordings: Sequence[str]) -> Templates:
    """Each prompt once."""
    found = dict[str, str]()
    for template in templates_of(wordings):
        found.setdefault(template.replace("{}", edit.concept).strip(), template)
    return found


def _before(template: str) -> str:
    """What a template says before it names the concept; a wording given as a whole says nothing before it."""
    head, named, _ = template.partition("{}")
    return head.strip() if named else ""


def _balanced(recipe: Recipe, edit: Debias, templates: Templates, owner: int, weight: float) -> Iterator[_Job]:
    """Every wording of a concept with how far it goes towards each attribute; under `subject`, where wordings have aims
    of their own, what they say before the concept stays."""
    for prompt, template in templates.items():
        aims = tuple(zip(edit.towards(prompt), edit.aims_of(template).values(), strict=True))
        said = _before(template) if edit.worded and recipe.tokens == "subject" else ""
        yield _Job(owner, prompt, None, weight, recipe.tokens, aims, before=said)


def _steered(recipe: Recipe, edit: Steer, templates: Templates, owner: int, weight: float) -> Iterator[_Job]:
    """Every wording of a concept, led along its two ends, c + (towards − away), or along their mean difference over
    the concept and its contrasts. A lower end that is the concept itself falls out: c is what the goal begins with."""
    share = 1 / (1 + len(edit.contrasts))
    for prompt, template in templates.items():
        pairs = [edit.ends(template, name) for name in (None, *edit.contrasts)]
        ends = tuple(
            (end, sign * share) for pair in pairs for end, sign in zip(pair, (1, -1), strict=True) if end != prompt
        )
        said = _before(template) if recipe.tokens == "subject" else ""
        yield _Job(owner, prompt, None, weight, recipe.tokens, ends, before=said)


def _batches(jobs: Sequence[_Job], size: int) -> Iterator[list[_Job]]:
    """Runs of jobs with about `size` different prompts between them."""
    batch: list[_Job] = []
    prompts: set[str] = set()
    for job in jobs:
        if batch and len(prompts | set(job.prompts)) > max(size, 2):
            yield batch
            batch, prompts = [], set()
        batch.append(job)
        prompts.update(job.prompts)
    if batch:
        yield batch


class _Encoder:
    """Encodes prompts once, keeping those last used at hand: guides that many concepts share."""

    def __init__(self, model: Model, batch_size: int, strict: bool) -> None:
        self.model, self.batch_size, self.strict = model, batch_size, strict
        self.known: OrderedDict[str, dict[str, PromptRows]] = OrderedDict()
        self.centres: dict[tuple[str, ...], dict[str, PromptRows]] = {}
        self.cut: dict[str, str] = {}

    def __call__(self, prompts: Sequence[str]) -> Known:
        missing = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self.known]
        if missing:
            encoded = self.model.encode(missing, batch_size=self.batch_size)
            for index, prompt in enumerate(missing):
                self.known[prompt] = {name: prompt_rows(stream, index) for name, stream in encoded.items()}
                self._check(prompt, [stream.cut[index] for stream in encoded.values()])
        asked = {prompt: self.known[prompt] for prompt in prompts}
        for prompt in asked:
            self.known.move_to_end(prompt)
        while len(self.known) > max(2 * self.batch_size, len(set(prompts))):
            self.known.popitem(last=False)
        return asked

    def centre(self, prompts: tuple[str, ...]) -> dict[str, PromptRows]:
        """The centroid of some prompts, per stream."""
        if prompts not in self.centres:
            found = [self(prompts)[prompt] for prompt in prompts]
            self.centres[prompts] = {name: centroid([rows[name] for rows in found]) for name in found[0]}
        return self.centres[prompts]

    def _check(self, prompt: str, cuts: Sequence[str]) -> None:
        cut = max(cuts, key=len)
        if cut:
            begins, lost = shorten(prompt, 60), shorten(cut, 60)
            if self.strict:
                raise ValueError(f"{begins!r} is longer than the tokenizer takes: {lost!r} would be cut; shorten it")
            warnings.warn(f"{begins!r} is longer than the tokenizer takes: {lost!r} is cut", CutWarning, stacklevel=4)
            self.cut[prompt] = cut
        if not all(bool(stream.rows.isfinite().all()) for stream in self.known[prompt].values()):
            raise ValueError(f"the text encoder of {self.model.name} answers {prompt!r} with NaN or infinite numbers")


class _Pile:
    """Rows as they come in; summed once they outgrow `ROW_BYTES`, at places that do not depend on the batches."""

    def __init__(self, width: int, paired: bool) -> None:
        self.width, self.paired = width, paired
        self.parts: list[tuple[Tensor, ...]] = []
        # In a wide stream as many rows as would take a quarter of their sum's room.
        self.held, self.limit = 0, max(ROW_BYTES // (4 * width * (1 + paired)), width // (2 * (1 + paired)))
        self.moment: Tensor | None = None
        self.cross: Tensor | None = None

    def add(self, job: _Job, known: Known, stream: str, goal: PromptRows | None) -> None:
        source = known[job.prompt][stream]
        if job.aims:
            before = known[job.before][stream] if job.before else None
            places, rows, goals = _aimed(
                job, source, [(known[prompt][stream], alpha) for prompt, alpha in job.aims], before
            )
        elif goal is None or job.kept:
            places = kept_rows(job.tokens, source)
            rows = goals = source.rows[places]
        else:
            before = known[job.before][stream] if job.before else None
            pairs = paired(job.tokens, source, goal, before)
            places, (rows, goals) = [row for row, _ in pairs], _take(source, goal, pairs)
        weight = job.weight / len(rows) if job.tokens == "subject" else job.weight
        weights = torch.full((len(rows),), weight, dtype=torch.float64)
        self.parts.append((rows, goals, weights, torch.full((len(rows),), job.owner), source.whole(places)))
        self.held += len(rows)
        if self.held > (self.limit if self.moment is None else _SUM_ROWS):
            self._sum()

    def read(self) -> Rows:
        if self.moment is not None and self.parts:
            self._sum()
        sources, goals, weights, owner, whole = self._joined()
        if not self.paired:
            return Rows(sources, None, weights, owner, self.moment, self.cross)
        return Rows(sources, goals, weights, owner, self.moment, self.cross, whole)

    def _sum(self) -> None:
        sources, goals, weights, *_ = self._joined()
        own = row_moment(sources, weights)
        self.moment = plus(self.moment, own)
        self.cross = plus(self.cross, goal_moment(sources, goals, weights) - own) if self.paired else None
        self.parts, self.held = [], 0

    def _joined(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Sources, goals, weights, owners, and whether a row has read the whole concept."""
        if not self.parts:
            none = torch.zeros(0, self.width)
            owners = torch.zeros(0, dtype=torch.long)
            return none, none, torch.zeros(0, dtype=torch.float64), owners, owners.bool()
        sources, goals, weights, owner, whole = (torch.cat(part) for part in zip(*self.parts, strict=True))
        return sources, goals, weights, owner, whole


def _take(source: PromptRows, goal: PromptRows, pairs: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    return source.rows[[s for s, _ in pairs]], goal.rows[[g for _, g in pairs]]


def _aimed(
    job: _Job, source: PromptRows, towards: Sequence[tuple[PromptRows, float]], before: PromptRows | None
) -> tuple[list[int], Tensor, Tensor]:
    """The places of rows c, c and T(α) = c + Σ α (row of the phrase − c), in float64 until the end."""
    places = [row for row, _ in aimed_pairs(job.tokens, source, source)]
    rows = source.rows[places].double()
    goals = rows.clone()
    for prompt, alpha in towards:
        there = [row for _, row in aimed_pairs(job.tokens, source, prompt, before)]
        goals += alpha * (prompt.rows[there].double() - rows)
    return places, source.rows[places], goals.to(source.rows.dtype)
