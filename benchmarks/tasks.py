"""Which heads carry a task in SmolLM2-135M, and what a vector made of them does; every part is kept and gone on with.

    OMP_NUM_THREADS=1 python benchmarks/tasks.py --world --model demo-tasks --shots 6 --root work/tasks-demo
    OMP_NUM_THREADS=1 python benchmarks/tasks.py --data DATA/tasks --root work/tasks --out work/tasks.md

`--data` holds the public task sets (JSON rows of `input`, `output`). Pairs are split by input: heads, means, layer and
strength come from one part, every share in the table from the other. `--world` takes the embedded learner's tasks
instead; `turned_nouns` among them is the control whose words do not tell the task. Seconds are CPU time, one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import concept_edit as ce
from concept_edit.files import replace_file
from concept_edit.language.answering import first_tokens, whole_words
from concept_edit.language.arithmetic import arithmetic, report
from concept_edit.language.tasks import Prompt, Task, list_tasks, permuted
from concept_edit.language.trials import Share, Trial, sweep, try_vector
from concept_edit.language.vectors import from_means, random_vector
from concept_edit.search.head_effects import mean_heads, shuffled

TASKS = (
    "singular-plural",
    "present-past",
    "capitalize",
    "capitalize_first_letter",
    "country-capital",
    "english-french",
)
TOP = 10
"""Heads that make a vector; fewer where a model has fewer than forty."""
STRENGTHS = (1.0, 1.5, 2.0, 3.0)
"""Of the vector, tried in layers from a sixth to two thirds of the depth."""
CONTROLS = ("random heads", "random vector", "wrong examples", "permuted", "colon")
KEPT = 6
"""Pairs of layer and strength that go on to the second round."""


def kept(path: Path, work: Callable[[], Any]) -> Any:
    """JSON of a part that is done, or the part done and kept, with its seconds of CPU."""
    if not path.is_file():
        began = time.process_time()
        found = work()
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, json.dumps(found | {"seconds": time.process_time() - began}).encode())
    return json.loads(path.read_text())


def size(heads: ce.Heads) -> int:
    """Heads in a vector."""
    return min(TOP, max(1, heads.effects.numel() // 4))


Parts = tuple[Task, Task]
"""A task's pairs for searching, and those held out."""


def world() -> dict[str, Parts]:
    """The embedded learner's tasks, on words and on lists: it knows every pair; the held-out ones make no vector."""
    from concept_edit.demo.language.tasks import skills

    return {s.name: Task(s.name, tuple(s.pairs(80))).split() for s in skills()}


def swept(lm: ce.LanguageModel) -> range:
    """Layers that a vector is tried in."""
    return range(lm.layers // 6, -(-lm.layers * 2 // 3), max(1, lm.layers // 15))


def controls_of(
    lm: ce.LanguageModel, made: Task, vector: ce.FunctionVector, heads: ce.Heads, means: Any, count: int, shots: int
) -> dict[str, ce.FunctionVector]:
    """Vectors that should do nothing, and the one made of the heads that other tasks found."""
    many, name = len(vector.heads), made.name

    def of(prompts: Sequence[Prompt]) -> ce.FunctionVector:
        return from_means(lm, mean_heads(lm, prompts), vector.heads, name)

    return {
        "others' heads": from_means(lm, means, heads.top(many, but=name), name),
        "random heads": from_means(lm, means, heads.random(many), name),
        "random vector": random_vector(vector),
        "wrong examples": of(shuffled(made, count, shots, 3)),
        "permuted": of(permuted(made).prompts(count, shots=shots, seed=5)),
        "colon": of(made.prompts(count, shots=shots, seed=5, template="{input}: {output}\n")),
    }


def choose(lm: ce.LanguageModel, task: Task, vectors: Mapping[int, ce.FunctionVector]) -> tuple[int, int, float, float]:
    """Number of heads, layer, strength, and the share they reach on pairs of the search part, zero-shot.

    A first sweep of the middle vector over layers and strengths keeps the best few; those are tried with every number
    of heads on more prompts. Of equals the fewest heads, then the earliest layer, then the weakest.
    """
    some = vectors[sorted(vectors)[len(vectors) // 2]]
    first = sweep(lm, some, task, layers=swept(lm), count=24, strengths=STRENGTHS)
    width = len(first.strengths)
    best = first.accuracy.flatten().sort(descending=True, stable=True).indices[:KEPT].tolist()
    places = sorted((first.layers[n // width], first.strengths[n % width]) for n in best)
    tried = {(k, *place): (vectors[k], *place) for k in sorted(vectors) for place in places}
    prompts = task.prompts(min(72, len(task.pairs)), shots=0, seed=1)
    hits = first_tokens(lm, prompts, {str(key): added for key, added in tried.items()})
    shares = {key: sum(hits[str(key)]) / len(prompts) for key in tried}
    chosen = max(shares, key=lambda key: shares[key])
    return (*chosen, shares[chosen])


def one_task(
    lm: ce.LanguageModel, made: Task, held: Task, heads: ce.Heads, count: int, examples: int, shots: int
) -> dict[str, Any]:
    """Number of heads, layer and strength on the search part, everything else on held-out pairs."""
    means = mean_heads(lm, made.prompts(examples, shots=shots))
    sizes = sorted({max(1, size(heads) // 2), size(heads), min(2 * size(heads), int(heads.exact.sum()))})
    made_of = {k: from_means(lm, means, heads.top(k), made.name) for k in sizes}
    many, layer, strength, reached = choose(lm, made, made_of)
    vector = made_of[many]
    controls = controls_of(lm, made, vector, heads, means, examples // 2, shots)
    trial = try_vector(lm, vector, held, layer, strength, shown=made, controls=controls, shots=shots, count=count)
    asked = held.prompts(min(count, len(held.pairs)), shots=0, seed=7)
    words = whole_words(lm, asked, (vector, layer, strength))
    trial = replace(trial, shares=(*trial.shares, Share("zero-shot", "vector", sum(words), len(words), "whole word")))
    shares = [[s.condition, s.who, s.hits, s.n, s.measure] for s in trial.shares]
    says = vector.decoded(lm, 5)
    told = {"heads": many, "layer": layer, "strength": strength, "searched": reached}
    return told | {"shares": shares, "says": says}


def squares(folder: Path | None) -> dict[str, dict[str, Task]]:
    """Name of a map -> its four tasks on lists of three words."""
    if folder is None:
        from concept_edit.demo.language.tasks import skills

        own = {s.name: Task(s.name, tuple(s.pairs(120))) for s in skills() if s.place}
        corners = [(place, name) for place in ("first", "last") for name in ("copy", "map")]
        return {
            made: {f"{place} {name}": own[f"{place}_{made if name == 'map' else name}"] for place, name in corners}
            for made in ("capitals", "plural", "french")
        }
    words = [pair[0] for pair in Task.load(folder / "capitalize.json").pairs if pair[0].isalpha() and len(pair[0]) < 8]
    maps = {"upper case": [(word, word.upper()) for word in words[:150]]}
    maps["capitals"] = list(Task.load(folder / "country-capital.json").pairs)
    return {name: list_tasks(pairs, count=120) for name, pairs in maps.items()}


def lists(lm: ce.LanguageModel, folder: Path | None, heads: ce.Heads, count: int) -> dict[str, Any]:
    """Arithmetic on lists of three words; few examples and prompts, since lists are long."""
    found, shots = {}, 6
    for name, tasks in squares(folder).items():
        search = tasks["last map"].split(held_out=0.4)[0]
        own = ce.function_vector(lm, search, heads.top(size(heads)), prompts=12, shots=shots)
        layer, strength = sweep(lm, own, search, layers=swept(lm), strengths=STRENGTHS, count=20).best
        corners = arithmetic(lm, tasks, heads.top(size(heads)), layer, strength, count=count, shots=shots, prompts=12)
        found[name] = f"Layer {layer}, strength {strength:g}.\n\n{report(corners)}"
    return found


def trial_of(name: str, part: dict[str, Any]) -> Trial:
    """Out of its JSON."""
    shares = tuple(Share(condition, who, hits, n, measure) for condition, who, hits, n, measure in part["shares"])
    return Trial(name, name, part["layer"], part["strength"], shares)


def page(lm: ce.LanguageModel, heads: ce.Heads, parts: dict[str, Any], sums: dict[str, Any], seconds: float) -> str:
    """The page of results."""
    lines = [
        f"# Tasks in {lm.name}: heads and vectors",
        "",
        f"Written by `benchmarks/tasks.py`. Model {lm.name}, {lm.layers} layers of {lm.heads} heads; one thread of a "
        "shared CPU. Shares are of prompts whose first answer token is the likeliest, on held-out pairs, with 95 % "
        "intervals (Wilson); number of heads, layer and strength were chosen on the other pairs.",
        "",
        "## Heads",
        "",
        f"{len(heads.tasks)} tasks, {heads.prompts} prompts each; {int(heads.exact.sum())} heads computed after the "
        f"gradient's screen, whose Spearman correlation with what was computed is {heads.screened:.2f}. "
        f"{seconds:.0f} s of CPU.",
        "",
        "| layer | head | probability gained | 95 % |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r.layer} | {r.head} | {r.effect:+.4f} | {r.low:+.4f} to {r.high:+.4f} |" for r in heads.rows(size(heads))
    ]
    lines += ["", "## Zero-shot", ""]
    who = ("plain", "vector", "others' heads", *CONTROLS)
    shots = next(iter(parts.values()))["shares"][0][0]
    lines += [f"| task | {shots} | {' | '.join(who)} | heads, layer, strength |", "|---" * (len(who) + 3) + "|"]
    trials = {name: trial_of(name, part) for name, part in parts.items()}
    for name, trial in trials.items():
        cells = [shown(trial.share(shots, "plain"))] + [shown(trial.share("zero-shot", each)) for each in who]
        lines.append(f"| {name} | {' | '.join(cells)} | {parts[name]['heads']}, {trial.layer}, {trial.strength:g} |")
    if len(trials) <= 8:
        lines += ["", "The same with wrong examples (shuffled labels), other templates, and whole words.", ""]
        for name, trial in trials.items():
            lines += [f"### {name}", "", trial.table(), ""]
    lines += ["## Sums on lists of three words", ""] if sums else [""]
    for name, text in sums.items():
        if name != "seconds":
            lines += [f"### {name}", "", text, ""]
    return "\n".join(lines)


def shown(share: Share) -> str:
    """A share with its interval."""
    low, high = share.interval
    return f"{share.value:.2f} [{low:.2f}, {high:.2f}]"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--world", action="store_true")
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--root", type=Path, default=Path("work/tasks"))
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--tasks", nargs="*", default=list(TASKS))
    parser.add_argument("--prompts", type=int, default=12)
    parser.add_argument("--examples", type=int, default=30)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--against", default="shuffled", choices=("shuffled", "bare"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-sums", action="store_true")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    lm = ce.open_language_model(given.model, device=given.device)
    if given.world == (given.data is not None):
        parser.error("give --data, or --world")
    tasks = world() if given.world else {n: Task.load(given.data / f"{n}.json").split() for n in given.tasks}
    search = [made for made, _ in tasks.values()]
    heads = ce.rank_heads(
        lm,
        search,
        prompts=given.prompts,
        examples=given.examples,
        shots=given.shots,
        folder=given.root / "heads",
        progress=True,
        against=given.against,
    )
    print(heads.table(size(heads)), flush=True)
    heads.save(given.root / "heads.json")
    parts = {}
    for name, (made, held) in tasks.items():
        work = partial(one_task, lm, made, held, heads, given.count, given.examples, given.shots)
        parts[name] = kept(given.root / f"{name}.json", work)
        print(f"\n{name}\n{trial_of(name, parts[name]).table()}", flush=True)
    sums = {} if given.no_sums else kept(given.root / "sums.json", lambda: lists(lm, given.data, heads, given.count))
    if given.out:
        replace_file(given.out, page(lm, heads, parts, sums, heads.seconds).encode())
        heads.plot(given.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
