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
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import concept_edit as ce
from concept_edit.language.fact_files import read_facts
from concept_edit.language.facts import Fact
from concept_edit.language.measures import summary
from concept_edit.language.rewrite import Hold, rewrite_each
from concept_edit.language.scores import FactRow, FactScores, as_html, as_json, as_markdown
from concept_edit.language.scoring import score
from concept_edit.language.tuning import Tuning
from concept_edit.language.values import Search

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
    parser.add_argument("--corpus", type=Path, help="texts for the keys: .txt, or .csv with a column `prompt`")
    parser.add_argument("--tokens", type=int, default=60_000)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--layer", type=int, default=0, help="of ROME and fine-tuning")
    parser.add_argument("--layers", default="0", help="of MEMIT and the null space, by commas")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--curve", default="", help="numbers of facts, by commas")
    parser.add_argument("--contexts", type=int, default=6)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--bound", type=float, default=5e-4, help="of FT+L")
    parser.add_argument("--rate", type=float, default=5e-4, help="of fine-tuning")
    parser.add_argument("--weight", type=float, default=1.0, help="MEMIT's λ in units of d_key")
    parser.add_argument("--threshold", type=float, default=0.02, help="of the null space")
    parser.add_argument("--generate", type=int, default=0, help="tokens for GE and RS")
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args()


def chosen(lm: ce.LanguageModel, source: Path | None, count: int) -> list[Fact]:
    """Facts the model says, the same number from each table."""
    tables, found = [_known(lm, table) for table in _tables(source)], list[Fact]()
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


def texts(path: Path | None) -> list[str] | None:
    """The corpus' texts; None for the model's own."""
    if path is None:
        return None
    if path.suffix == ".csv":
        with path.open(encoding="utf-8") as file:
            return [row["prompt"] for row in csv.DictReader(file)]
    return path.read_text(encoding="utf-8").splitlines()


class Bench:
    """The model, the facts and the keys of one run, and a row for each way to edit."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.lm = args, ce.open_language_model(args.model, device="cpu")
        self.search = Search(steps=args.steps, contexts=args.contexts)
        self.layers = [int(n) for n in args.layers.split(",")]
        self.facts = chosen(self.lm, args.facts, args.count)
        self.keys = self._keys()

    def _keys(self) -> ce.KeyStatistics:
        path = self.args.out / "keys.safetensors"
        if not path.is_file():
            layers = sorted({self.args.layer, *self.layers})
            ce.collect_keys(self.lm, layers, texts(self.args.corpus), tokens=self.args.tokens).save(path)
        return ce.KeyStatistics.load(path)

    def tuning(self, bounded: bool) -> Tuning:
        return Tuning(rate=self.args.rate, bound=self.args.bound if bounded else None)

    def alone(self, edit: Callable[[Fact], ce.FactEdit], label: str) -> FactScores:
        rows: list[FactRow] = []
        for fact in self.facts:
            rows += ce.measure_facts(self.lm, fact, edit(fact), generate=self.args.generate).rows
        return FactScores(label, summary(rows), tuple(rows))

    def row(self, label: str, count: int | None = None) -> FactScores:
        """One row of the table, on all facts or the first `count`."""
        lm, facts, args = self.lm, self.facts[:count], self.args
        if label == "unedited":
            return ce.measure_facts(lm, facts, label=label, generate=args.generate)
        if label.startswith("FT") and label.endswith("alone"):
            tuning = self.tuning("+L" in label)
            return self.alone(lambda fact: ce.rewrite(lm, fact, "ft", [args.layer], tuning=tuning), label)
        if label == "ROME alone":
            edits = rewrite_each(lm, facts, args.layer, self.keys, search=self.search)
            return ce.measure_facts(lm, facts, edits, label=label, generate=args.generate)
        edit = {
            "MEMIT at once": lambda: self._many("memit", facts),
            "null at once": lambda: self._many("null", facts),
            "ROME in turn": lambda: ce.rewrite(lm, facts, "rome", [args.layer], self.keys, search=self.search),
            "FT at once": lambda: ce.rewrite(lm, facts, "ft", [args.layer], tuning=self.tuning(False)),
        }[label]()
        return ce.measure_facts(lm, facts, edit, label=label, generate=args.generate)

    def _many(self, method: str, facts: Sequence[Fact]) -> ce.FactEdit:
        hold = Hold(weight=self.args.weight, threshold=self.args.threshold)
        return ce.rewrite(self.lm, facts, method, self.layers, self.keys, search=self.search, hold=hold)  # type: ignore[arg-type]


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


def main() -> None:
    args = settings()
    args.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(args)
    print(f"{len(bench.facts)} facts; {bench.keys.told}", flush=True)
    scores = []
    for label in filter(None, args.rows.split(",")):
        path = args.out / f"{label.replace(' ', '-')}.json"
        scores.append(kept(path, lambda label=label: bench.row(label), bench.facts))  # type: ignore[misc]
    for count in [int(n) for n in args.curve.split(",") if n]:
        for label in ("MEMIT at once", "null at once", "ROME in turn"):
            path = args.out / f"{label.replace(' ', '-')}-{count}.json"
            first = bench.facts[:count]
            found = kept(path, lambda label=label, count=count: bench.row(label, count), first)  # type: ignore[misc]
            scores.append(FactScores(f"{label}, {count}", found.measures, found.rows))
    (args.out / "table.md").write_text(as_markdown(scores))
    (args.out / "table.html").write_text(as_html(scores, f"Facts rewritten in {args.model}"))
    print(as_markdown(scores))


if __name__ == "__main__":
    main()
