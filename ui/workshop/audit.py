"""The audit without the page: evaluate an edit, write its report and its release, verify an edit from elsewhere."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile

import concept_edit as ce
from concept_edit.answer.digests import edit_digest
from concept_edit.audit.release import EDIT, HISTORY, MANIFEST, Decision, Verification, write_release
from concept_edit.audit.release import verify as verified
from concept_edit.identity import digest
from ui.workshop.edit import title
from ui.workshop.examples import examples
from ui.workshop.session import EMBEDDED, News, Tell, Visit, Workshop, stoppable
from ui.workshop.signatures import Signed, placed, signed
from ui.workshop.versions import Version

if TYPE_CHECKING:
    from concept_edit.evaluation import Report
    from concept_edit.evaluation.rows import Row
    from concept_edit.models.contract import Model
    from concept_edit.recipe import Recipe

ChosenRows = Callable[["Model", "Recipe"], "Sequence[Row]"]
"""Chooses what an evaluation paints."""
MOST_PROMPTS, MOST_SEEDS = 48, 8
_PERSONAL = (".sig", ".pub")
"""Files of a release that belong to one person. Public keys that lie in the release itself prove nothing."""


@dataclass(frozen=True)
class Plan:
    """How thoroughly an edit is evaluated."""

    per_set: int = 8
    """Prompts of each set: edited, near, unrelated."""
    seeds: int = 1
    steps: int | None = None
    """Denoising steps; None is the model's own."""
    barred: tuple[str, ...] = ()
    """Concepts of which no picture is shown."""

    def __post_init__(self) -> None:
        for what, given, most in (("prompts", self.per_set, MOST_PROMPTS), ("seeds", self.seeds, MOST_SEEDS)):
            if not 1 <= given <= most:
                raise ValueError(f"{given} {what} were asked for; give 1 to {most}")


@dataclass
class Audit:
    """What one visitor has on the Audit tab."""

    chosen: Version | None = None
    """An edit from a file or the example; None audits the edit that holds."""
    report: Report | None = None
    of: Version | None = None
    """What the report is about."""


def audit_of(visit: Visit) -> Audit:
    """What this visitor has on the tab."""
    if visit.audit is None:
        visit.audit = Audit()
    return visit.audit


def subject(visit: Visit) -> Version:
    """The edit that is audited.

    Raises:
        ValueError: there is none.
    """
    found = audit_of(visit).chosen or visit.edits.current
    if found is None:
        raise ValueError(
            "there is no edit yet: solve one on the Edit tab, load an edit file, or start with the example"
        )
    return found


def take_example(workshop: Workshop, visit: Visit, tell: Tell) -> Version:
    """Solve the first example and audit it."""
    example = examples()[0]
    tell(News(f"Solving the example: {example.label}"))
    model = workshop.model(EMBEDDED)
    with stoppable(visit, model):
        edit = ce.solve(model, example.recipe)
    audit_of(visit).chosen = Version(f"example: {title(example.recipe)}", edit, EMBEDDED)
    return subject(visit)


def take_file(visit: Visit, path: str | Path) -> Version:
    """Audit the edit of a file, on the model this visitor works with."""
    edit = ce.Edit.load(path)
    audit_of(visit).chosen = Version(f"from a file: {title(edit.recipe)}", edit, visit.model)
    return subject(visit)


def take_own(visit: Visit) -> Version:
    """Audit the edit that holds on the Edit tab."""
    audit_of(visit).chosen = None
    return subject(visit)


def evaluate(
    workshop: Workshop,
    visit: Visit,
    plan: Plan,
    tell: Tell,
    rows: ChosenRows | None = None,
) -> Report:
    """Paint and measure; what was painted before a stop is not painted again. `rows` chooses what is painted."""
    from concept_edit.evaluation import Settings

    version = subject(visit)
    tell(News(f"Opening {version.model}"))
    model = workshop.model(version.model)
    version.edit.check(model)
    key = digest([edit_digest(version.edit), version.strength, version.model, plan.steps, model.fingerprint])

    def progress(done: int, total: int) -> None:
        visit.check()
        tell(News(f"Painted and kept: {done} of {total} pictures", done / total))

    with stoppable(visit, model):
        report = ce.evaluate(
            model, version.edit, rows and rows(model, version.edit.recipe), out=_folder(visit) / key[:16],
            strength=version.strength,
            settings=Settings(steps=plan.steps), per_set=plan.per_set, seeds=range(1001, 1001 + plan.seeds),
            barred=plan.barred, progress=progress,
        )  # fmt: skip
    audit_of(visit).report, audit_of(visit).of = report, version
    return report


def save_report(visit: Visit) -> tuple[Path, Path]:
    """The report as one HTML file, and its figures as JSON."""
    report = audit_of(visit).report
    if report is None:
        raise ValueError("nothing was measured yet: run the evaluation first")
    paths = _folder(visit) / "report.html", _folder(visit) / "figures.json"
    for path in paths:
        report.save(path)
    return paths


def release(workshop: Workshop, visit: Visit, decision: Decision, tell: Tell) -> tuple[Path, str]:
    """Edit, manifest, history and page as one ZIP, and the manifest's hash. The last evaluation is in it."""
    audit, version = audit_of(visit), subject(visit)
    model = workshop.model(version.model)
    report = audit.report if audit.of == version else None
    if report is not None and set(decision.barred) - set(report.barred):
        raise ValueError(
            "pictures of a barred concept are in the last evaluation; run it again with that concept barred"
        )
    tell(News("Measuring on the text side"))
    with stoppable(visit, model):
        diagnosis = ce.diagnose(model, version.edit)
    tell(News("Hashing every matrix, before and after"))
    folder = _folder(visit) / f"release.{edit_digest(version.edit)[:16]}"
    made = write_release(
        model, version.edit, folder, report=report, diagnosis=diagnosis, decision=decision, strength=version.strength
    )
    return _packed(folder, _folder(visit) / "release.zip"), made.manifest


def verify(
    workshop: Workshop, visit: Visit, files: Sequence[str], tell: Tell, keys: Sequence[str] = ()
) -> tuple[Verification, list[Signed]]:
    """Solve the recipe of an uploaded edit anew and compare; with its manifest and history where they came along, and
    its signatures, checked with the public keys that the visitor trusts."""
    folder = _folder(visit) / "verify"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        packed = folder / "packed"
        packed.mkdir()
        files = [str(f) for p in files or () for f in (unzipped(Path(p), packed) if _zip(p) else [p])]
        _unpacked([path for path in files if Path(path).suffix.lower() not in _PERSONAL], folder)
        placed([Path(path) for path in files if Path(path).suffix.lower() == ".sig"], folder, ".sig")
        people = signed(folder, placed([Path(path) for path in keys], folder, ".pub"))
        tell(News(f"Opening {visit.model}"))
        model = workshop.model(visit.model)
        tell(News("Solving the recipe anew"))
        with stoppable(visit, model):
            return verified(folder / EDIT, model), people
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"the manifest or the edit file is damaged ({type(error).__name__}); get it anew") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_MOST_FILES, _MOST_BYTES = 64, 200_000_000
"""Of a release's ZIP, unpacked."""


def unzipped(path: Path, folder: Path) -> list[Path]:
    """The files of a release's ZIP that `verify` reads, unpacked into `folder` under their bare names.

    Raises:
        ValueError: no ZIP, or one that unpacks to more than a release has.
    """
    wanted = (".safetensors", ".json", ".jsonl", ".sig")
    try:
        with ZipFile(path) as pack:
            members = [m for m in pack.infolist() if Path(m.filename).suffix.lower() in wanted]
            if len(pack.infolist()) > _MOST_FILES or sum(m.file_size for m in pack.infolist()) > _MOST_BYTES:
                raise ValueError(f"{path.name} unpacks to more than a release has; give the ZIP that was written here")
            found = []
            for member in members:
                target = folder / Path(member.filename).name
                with pack.open(member) as source, target.open("wb") as out:
                    shutil.copyfileobj(source, out, 1 << 20)
                found.append(target)
            return found
    except (BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name} is no ZIP that can be read; give it as it was downloaded") from error


def _unpacked(files: Sequence[str], folder: Path) -> None:
    """Uploaded files under the names that `verify` looks for, whatever they were called."""
    names = {".safetensors": EDIT, ".json": MANIFEST, ".jsonl": HISTORY}
    for path in map(Path, files or ()):
        name = names.get(path.suffix.lower())
        if name is None:
            raise ValueError(f"{path.name} is of a kind that is not read here; give {', '.join(names)} or .sig")
        if (folder / name).exists():
            raise ValueError(f"two files end with {path.suffix}; give one edit, with its manifest and history if any")
        shutil.copyfile(path, folder / name)
    if not (folder / EDIT).exists():
        raise ValueError("there is no edit among the files; give its .safetensors file")


def _zip(path: str) -> bool:
    return Path(path).suffix.lower() == ".zip"


def _packed(folder: Path, target: Path) -> Path:
    part = target.with_suffix(".part")
    with ZipFile(part, "w", ZIP_DEFLATED) as pack:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                pack.write(path, path.relative_to(folder))
    part.replace(target)
    return target


def _folder(visit: Visit) -> Path:
    folder = visit.folder / "audit"
    folder.mkdir(exist_ok=True)
    return folder
