"""The lecture's table: fine-tuning, ROME, MEMIT and the null space on the same facts, in one run, with intervals.

    python benchmarks/facts.py --model demo --out out/facts-demo
    python benchmarks/facts.py --model smollm2 --facts FOLDER --corpus captions.csv --count 100 --out out/facts

Facts: the demo's own world, or relation tables (LRE) of FOLDER; of these only such as the model says unedited, the same
number from each table. Each row of the table is kept in the folder as it is done, so a stopped run goes on.
`alone`: each fact edited by itself on the unedited model, the mean over facts. `at once`, `in turn`: all facts in one
model. The curve is `at once` and `in turn` over the first 1, 10, 100, ... facts.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

import concept_edit as ce
from concept_edit.language.fact_files import read_facts, save_facts
from concept_edit.language.facts import Fact, with_neighbours
from concept_edit.language.measures import summary
from concept_edit.language.rewrite import Hold, memit_values, rewrite_each
from concept_edit.language.scores import FactRow, FactScores, as_html, as_json, as_markdown
from concept_edit.language.scoring import score
from concept_edit.language.tuning import Tuning
from concept_edit.language.values import Search, Values

ROWS = (
    "unedited",
    "FT alone",
    "FT+L alone",
    "ROME alone",
    "MEMIT at once",
    "null at once",
    "ROME in turn",
    "FT at once",
)


def settings() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--facts", type=Path, help="folder of relation tables, or a file of facts; none: the demo's")
    parser.add_argument(
        "--corpus", type=Path, nargs="*", help="texts for the keys: .txt, .csv with a column `prompt`, or known facts"
    )
    parser.add_argument("--captions", type=int, default=1000, help="rows of the .csv that are read")
    parser.add_argument("--half", action="store_true", help="look for values in bfloat16")
    parser.add_argument("--chunk", type=int, default=15, help="facts edited alone between two writes")
    parser.add_argument("--alone", type=int, help="facts of the rows FT alone and FT+L alone; none: all")
    parser.add_argument("--tuning", action="store_true", help="take the facts on which settings are chosen: every 4th")
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--layer", type=int, default=0, help="of ROME and fine-tuning")
    parser.add_argument("--layers", default="0", help="of MEMIT and the null space, by commas")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--curve", default="", help="numbers of facts, by commas")
    parser.add_argument("--curves", default="", help="rows of which there is a curve, beside those of the table")
    parser.add_argument("--turns", type=int, help="most facts of ROME in turn; none: all")
    parser.add_argument("--contexts", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--decay", type=float, default=0.5, help="of the search for values")
    parser.add_argument("--enough", type=float, default=0.05, help="loss at which the search ends")
    parser.add_argument("--margin", type=float, default=0.0, help="lead before the old answer, in nats")
    parser.add_argument("--primed", nargs="*", default=[], help="contexts that name the old answer, as '{old}. {}'")
    parser.add_argument("--names", action="store_true", help="keys of unmeasured subjects, beside the corpus")
    parser.add_argument("--bound", type=float, default=5e-4, help="of FT+L")
    parser.add_argument("--rate", type=float, default=5e-4, help="of fine-tuning")
    parser.add_argument("--weight", type=float, default=1.0, help="MEMIT's λ in units of d_key")
    parser.add_argument("--weights", default="", help="more rows of MEMIT at once, with these λ, by commas")
    parser.add_argument("--known", action="store_true", help="PS also in wordings that the unedited model understands")
    parser.add_argument("--more", type=int, default=0, help="facts after these, whether or not the model says them")
    parser.add_argument("--neighbours", type=int, default=10, help="of each fact that are measured")
    parser.add_argument("--threshold", type=float, default=0.02, help="of the null space")
    parser.add_argument("--generate", type=int, default=0, help="tokens for GE and RS")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def chosen(lm: ce.LanguageModel, source: Path | None, count: int, unknown: bool = False) -> list[Fact]:
    """Facts the model says, or all, the same number from each table while it lasts."""
    tables, found = [iter(t) if unknown else _known(lm, t) for t in _tables(source)], list[Fact]()
    while tables and len(found) < count:
        turn = [(table, next(table, None)) for table in tables]
        tables = [table for table, fact in turn if fact is not None]
        found += [fact for _, fact in turn if fact is not None]
    return found[:count]


def _tables(source: Path | None) -> Iterator[list[Fact]]:
    if source is None:
        from concept_edit.demo.language import rewrites

        yield [Fact(**row) for row in rewrites()]
    elif source.is_dir():
        yield from (read_facts(path) for path in sorted(source.glob("*.json")) if path.name != "known_facts.json")
    else:
        yield read_facts(source)


def _known(lm: ce.LanguageModel, facts: Sequence[Fact], at_once: int = 16) -> Iterator[Fact]:
    """Those whose old answer is the likeliest at each of its tokens; as many are asked as are wanted."""
    for i in range(0, len(facts), at_once):
        some = facts[i : i + at_once]
        said = score(lm, [(fact.asked, fact.old) for fact in some]).said.tolist()
        yield from (fact for fact, true in zip(some, said, strict=True) if true)


def beside(facts: Sequence[Fact], others: Sequence[Fact]) -> list[Fact]:
    """Facts with neighbours out of `others` that no fact is told about: an edited neighbour's answer shall not stay."""
    told = {fact.subject for fact in facts}
    near = {f.asked: f for f in with_neighbours([*facts, *(f for f in others if f.subject not in told)], without=told)}
    return [replace(fact, neighbours=near[fact.asked].neighbours) for fact in facts]


def understood(lm: ce.LanguageModel, facts: Sequence[Fact]) -> list[Fact]:
    """Facts with those paraphrases alone after which the unedited model finds the true answer at least as likely as
    each of their neighbours' true answers."""
    asked, places = list[tuple[str, str]](), list[list[slice]]()
    for fact in facts:
        answers = dict.fromkeys([fact.old, *(answer for _, answer in fact.neighbours)])
        prompts = fact.filled(fact.paraphrases)
        starts = [len(asked) + n * len(answers) for n in range(len(prompts))]
        places.append([slice(start, start + len(answers)) for start in starts])
        asked += [(prompt, answer) for prompt in prompts for answer in answers]
    chances = score(lm, asked).log_probability
    return [
        replace(fact, paraphrases=tuple(
            way for way, place in zip(fact.paraphrases, own, strict=True) if int(chances[place].argmax()) == 0
        ))
        for fact, own in zip(facts, places, strict=True)
    ]  # fmt: skip


def texts(paths: Sequence[Path] | None, captions: int, facts: Sequence[Fact]) -> list[str] | None:
    """The corpora's texts, without those that name a subject that is measured; None for the model's own."""
    if not paths:
        return None
    asked = " ".join([fact.asked for fact in facts] + [prompt for fact in facts for prompt, _ in fact.neighbours])
    return [text for path in paths for text in _texts(path, captions, asked)]


def _texts(path: Path, captions: int, asked: str) -> Iterator[str]:
    if path.suffix == ".csv":
        with path.open(encoding="utf-8") as file:
            yield from (row["prompt"] for _, row in zip(range(captions), csv.DictReader(file), strict=False))
    elif path.suffix == ".json":
        known = [fact for fact in read_facts(path) if fact.subject not in asked]
        yield from dict.fromkeys(f"{fact.asked} {fact.old}." for fact in known)
        yield from dict.fromkeys(f"{fact.subject}." for fact in known)
    else:
        yield from path.read_text(encoding="utf-8").splitlines()


class Bench:
    """The model, the facts and the keys of one run, and a row for each way to edit."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.lm = args, ce.open_language_model(args.model, device="cpu")
        self.search = Search(
            steps=args.steps, contexts=args.contexts, half=args.half, decay=args.decay, enough=args.enough,
            margin=args.margin, primed=tuple(args.primed),
        )  # fmt: skip
        self.layers = [int(n) for n in args.layers.split(",")]
        self.facts = self._facts()
        self.keys = self._keys()

    def _facts(self) -> list[Fact]:
        """Of every four facts three are measured, and one is there to choose settings on."""
        path = self.args.out / "facts.json"
        if not path.is_file():
            found = chosen(self.lm, self.args.facts, -(-4 * self.args.count // 3))
            own = [fact for n, fact in enumerate(found) if (n % 4 == 3) is self.args.tuning]
            told = own[: self.args.count] + self._more(found)
            if self.args.facts and self.args.facts.is_dir():
                told = beside(told, [fact for table in _tables(self.args.facts) for fact in table])
            save_facts(told, path)
        held = read_facts(path)[: self.args.count + self.args.more]
        return [replace(fact, neighbours=fact.neighbours[: self.args.neighbours]) for fact in held]

    def _more(self, found: Sequence[Fact]) -> list[Fact]:
        """Facts about other subjects, known or not: what is told is not true, so the model need not know what is.
        Of every four subjects three are measured, as above."""
        if not self.args.more:
            return []
        subjects, most = {fact.subject for fact in found}, -(-4 * self.args.more // 3) + 4 * len(found)
        others = chosen(self.lm, self.args.facts, most, unknown=True)
        order = {subject: n for n, subject in enumerate(dict.fromkeys(fact.subject for fact in others))}
        own = [fact for fact in others if (order[fact.subject] % 4 == 3) is self.args.tuning]
        return [fact for fact in own if fact.subject not in subjects][: self.args.more]

    def _keys(self) -> ce.KeyStatistics:
        path = self.args.out / "keys.safetensors"
        if not path.is_file():
            layers = sorted({self.args.layer, *self.layers})
            held = texts(self.args.corpus, self.args.captions, self.facts)
            if self.args.names:
                held = [*(held or ()), *self._names()]
            ce.collect_keys(self.lm, layers, held, tokens=self.args.tokens).save(path)
        return ce.KeyStatistics.load(path)

    def _names(self) -> Iterator[str]:
        """Subjects that are neither measured nor a measured one's neighbour, alone and after two of their wordings."""
        asked = " ".join([f.asked for f in self.facts] + [prompt for f in self.facts for prompt, _ in f.neighbours])
        for fact in {fact.subject: fact for table in _tables(self.args.facts) for fact in table}.values():
            if fact.subject not in asked:
                ways = [way[: way.index("{}") + 2] for way in fact.paraphrases if not way.startswith("{}")]
                yield from (way.replace("{}", fact.subject) for way in ("{}", *ways[:2]))

    def tuning(self, bounded: bool) -> Tuning:
        return Tuning(rate=self.args.rate, bound=self.args.bound if bounded else None)

    def alone(self, label: str, facts: Sequence[Fact]) -> FactScores:
        """Each fact edited by itself, some at a time; what is done is kept."""
        args, rows = self.args, list[FactRow]()
        for begin in range(0, len(facts), args.chunk):
            some = facts[begin : begin + args.chunk]
            path = args.out / f"{label.replace(' ', '-')}.part{begin}.json"
            made = kept(path, lambda some=some: self._alone(label, some), some)  # type: ignore[misc]
            rows += made.rows
        return FactScores(label, summary(rows), tuple(rows))

    def _alone(self, label: str, facts: Sequence[Fact]) -> FactScores:
        lm, args = self.lm, self.args
        if label.startswith("FT"):
            tuning = self.tuning("+L" in label)
            rows: list[FactRow] = []
            for fact in facts:
                edit = ce.rewrite(lm, fact, "ft", [args.layer], tuning=tuning)
                rows += ce.measure_facts(lm, fact, edit, generate=args.generate).rows
            return FactScores(label, summary(rows), tuple(rows))
        edits = rewrite_each(lm, facts, args.layer, self.keys, search=self.search, batch_size=8)
        found = ce.measure_facts(lm, facts, edits, label=label, generate=args.generate)
        return self._beside(found, facts, edits) if args.known else found

    def _beside(self, found: FactScores, facts: Sequence[Fact], edits: Sequence[ce.FactEdit]) -> FactScores:
        """With each fact's `known PS`: PS in the wordings that the unedited model understands."""
        fewer = understood(self.lm, facts)
        own = ce.measure_facts(self.lm, [replace(fact, neighbours=()) for fact in fewer], edits)
        rows = zip(found.rows, own.rows, strict=True)
        held = tuple(FactRow(row.fact, {**row.values, "known PS": its.values["PS"]}) for row, its in rows)
        return FactScores(found.label, found.measures, held)

    def row(self, label: str, count: int | None = None) -> FactScores:
        """One row of the table, on all facts or the first `count`."""
        lm, facts, args = self.lm, self.facts[:count], self.args
        if label == "unedited":
            return ce.measure_facts(lm, facts, label=label, generate=args.generate)
        if label.endswith("alone"):
            return self.alone(label, facts[: args.alone] if label.startswith("FT") else facts)
        if " λ " in label:
            edit = self._many("memit", facts, float(label.rpartition(" ")[2]))
            return ce.measure_facts(lm, facts, edit, label=label)
        edit = {
            "MEMIT at once": lambda: self._many("memit", facts),
            "null at once": lambda: self._many("null", facts),
            "ROME in turn": lambda: self._in_turn(len(facts)),
            "FT at once": lambda: ce.rewrite(lm, facts, "ft", [args.layer], tuning=self.tuning(False)),
        }[label]()
        return ce.measure_facts(lm, facts, edit, label=label, generate=args.generate)

    def _many(self, method: str, facts: Sequence[Fact], weight: float | None = None) -> ce.FactEdit:
        """All in one edit; each fact's value is looked for once for all rows and the curve."""
        hold = Hold(weight=weight or self.args.weight, threshold=self.args.threshold)
        values = self._values(len(facts))
        return ce.rewrite(
            self.lm, facts, method, self.layers, self.keys, search=self.search, hold=hold, values=values,  # type: ignore[arg-type]
        )  # fmt: skip

    def _values(self, count: int) -> Values:
        parts, args = list[Values](), self.args
        for begin in range(0, count, args.chunk):
            path, some = args.out / f"values.part{begin}.safetensors", self.facts[begin : begin + args.chunk]
            if not path.is_file():
                found = memit_values(self.lm, some, self.layers[-1], search=self.search, batch_size=8)
                tensors = {"deltas": found.deltas, "start": found.start, "losses": torch.tensor(found.losses)}
                save_file({name: value.contiguous() for name, value in tensors.items()}, path)
            held = load_file(path)
            parts.append(Values(held["deltas"], held["start"], held["losses"].tolist()))
        joined = Values(
            torch.cat([part.deltas for part in parts]), torch.cat([part.start for part in parts]),
            [loss for part in parts for loss in part.losses],
        )  # fmt: skip
        return joined.pick(range(count))

    def _in_turn(self, count: int) -> ce.FactEdit:
        """ROME called again and again, once: the first facts of a longer run are a shorter run."""
        path = self.args.out / "in-turn.safetensors"
        if not path.is_file():
            most = min(self.args.turns or len(self.facts), len(self.facts))
            facts = self.facts[:most]
            ce.rewrite(self.lm, facts, "rome", [self.args.layer], self.keys, search=self.search).save(path)
        edit = ce.FactEdit.load(path)
        return edit.without(*edit.facts[count:]) if count < len(edit.facts) else edit


def kept(path: Path, make: Callable[[], FactScores], facts: Sequence[Fact]) -> FactScores:
    """The scores of a file, or made, and then of a file. Its seconds of CPU are told beside it."""
    if not path.is_file():
        start = time.process_time()
        made = make()
        plain = json.loads(as_json([made]))[0] | {"cpu_seconds": round(time.process_time() - start, 1)}
        path.write_text(json.dumps(plain, ensure_ascii=False, indent=1))
    plain = json.loads(path.read_text())
    rows = []
    for fact, row in zip(facts, plain["facts"], strict=True):
        rows.append(FactRow(fact, {k: float("nan") if v is None else v for k, v in row.items() if k != "fact"}))
    print(f"{path.stem}: {plain['cpu_seconds']} s of CPU", flush=True)
    return FactScores(plain["edit"], summary(rows), tuple(rows))


def in_known_wordings(scores: FactScores) -> FactScores:
    """The extra row: PS alone, of facts that have such wordings, counted beside the plain one."""
    none = {"ES": math.nan, "NS": math.nan}
    rows = [FactRow(row.fact, {**none, "PS": row.values.get("known PS", math.nan)}) for row in scores.rows]
    told = tuple(row for row in rows if not math.isnan(row.values["PS"]))
    return FactScores(f"{scores.label}, wordings the unedited model understands", summary(told), told)


def on_the_curve(bench: Bench) -> list[FactScores]:
    """Some ways, on ever more facts."""
    args, scores = bench.args, list[FactScores]()
    counts = [int(n) for n in args.curve.split(",") if n]
    ways = [name for name in ROWS[4:7] if name in args.rows] + [name for name in args.curves.split(",") if name]
    for count in counts:
        for label in ways:
            if label == "unedited":
                scores.append(first(unedited(bench, max(counts)), count))
                continue
            if label == "ROME in turn" and args.turns and count > args.turns:
                continue
            path = args.out / f"{label.replace(' ', '-')}-{count}.json"
            own = bench.facts[:count]
            found = kept(path, lambda label=label, count=count: bench.row(label, count), own)  # type: ignore[misc]
            scores.append(FactScores(f"{label}, {count}", found.measures, found.rows))
    return scores


def unedited(bench: Bench, count: int) -> FactScores:
    """The model as it is, on the first `count` facts: fewer of them are a part of it."""
    return kept(bench.args.out / f"unedited-{count}.json", lambda: bench.row("unedited", count), bench.facts[:count])


def first(scores: FactScores, count: int) -> FactScores:
    """Of the first facts alone."""
    rows = scores.rows[:count]
    return FactScores(f"{scores.label}, {count}", summary(rows), rows)


def rows_of(bench: Bench) -> list[FactScores]:
    """The table's rows."""
    args, scores = bench.args, list[FactScores]()
    sweep = [f"MEMIT at once, λ {weight}" for weight in filter(None, args.weights.split(","))]
    for label in [*filter(None, args.rows.split(",")), *sweep]:
        path = args.out / f"{label.replace(' ', '-')}.json"
        count = args.turns if label == "ROME in turn" else args.alone if label in ("FT alone", "FT+L alone") else None
        own = bench.facts[:count]
        scores.append(kept(path, lambda label=label, own=own: bench.row(label, len(own)), own))  # type: ignore[misc]
    return scores


def main() -> None:
    args = settings()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args)
    print(f"{len(bench.facts)} facts; {bench.keys.told}", flush=True)
    curve = on_the_curve(bench)
    scores = [*rows_of(bench), *curve]
    if args.known:
        scores += [row for row in map(in_known_wordings, scores) if row.rows]
    (args.out / "table.md").write_text(as_markdown(scores))
    (args.out / "table.html").write_text(as_html(scores, f"Facts rewritten in {args.model}"))
    print(as_markdown(scores))


if __name__ == "__main__":
    main()
