"""The Audit tab without a browser: evaluation with stop and going on, report, blur, release, verification."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import gradio as gr
import pytest

from concept_edit.audit.release import Decision
from concept_edit.edit import Edit, solve
from concept_edit.files import read_tensors
from concept_edit.recipe import Moderate, Recipe
from ui.expert import audit_tab
from ui.expert.audit_tab import AuditEvents
from ui.workshop import audit
from ui.workshop.audit import Plan
from ui.workshop.card import Shared
from ui.workshop.session import News, Stopped, Visit, Workshop
from ui.workshop.versions import Version

QUICK = Plan(per_set=2, steps=2)


@pytest.fixture(scope="module")
def edit(workshop: Workshop) -> Edit:
    """A moderated and an erased concept."""
    recipe = Recipe(edits=(Moderate("bomb"), Moderate("knife")), preserve=("balloon", "apple"), method="uce")
    return solve(workshop.model("demo"), recipe)


@pytest.fixture(scope="module")
def solved(edit: Edit) -> Iterator[Visit]:
    """A visitor with this edit."""
    made = Visit()
    made.edits.push(Version("moderate bomb", edit, "demo"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def measured(workshop: Workshop, solved: Visit) -> list[tuple[Any, ...]]:
    """The page's values while and after the evaluation ran."""
    return list(AuditEvents(workshop).run(solved, 2, 1, 2, "knife"))


def quiet(news: News) -> None:
    """Nobody listens."""


def last(page: Iterator[tuple[Any, ...]]) -> tuple[Any, ...]:
    return list(page)[-1]


def test_no_edit_is_a_sentence(workshop: Workshop, visit: Visit) -> None:
    events = AuditEvents(workshop)
    assert "There is no edit yet: solve one on the Edit tab" in last(events.run(visit, 2, 1, 2, ""))[0]
    assert "No edit yet" in events.about(visit)
    assert "There is no edit yet" in events.own(visit)
    assert "There is no edit yet" in last(events.release(visit, "", "", "", ""))[0]


def test_the_evaluation_tells_how_far_it_is_and_ends_with_intervals(measured: list[tuple[Any, ...]]) -> None:
    told = [values[0] for values in measured]
    # How many notes there are depends on the machine's speed; that there are some while it paints does not.
    assert sum("pictures" in text and "<progress" in text for text in told) >= 2
    note, blank, box, summary, table, page, data, _worst, _pictures = measured[-1]
    assert "Measured." in note
    assert (blank["visible"], box["visible"]) == (False, True)
    assert "Prompts of what was edited still show it in" in summary
    assert all(len(row) == len(audit_tab.HEAD) for row in table)
    judged = [row for row in table if row[0] == "named as its concept"]
    assert {(row[1], row[2]) for row in judged} >= {("edited", "before"), ("edited", "after"), ("near", "after")}
    assert all(" to " in row[4] for row in judged)
    assert json.loads(Path(data).read_text())["rows"] >= 6
    html = Path(page).read_text()
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")


def test_moderated_concepts_are_blurred_until_clicked_and_barred_ones_never_shown(
    measured: list[tuple[Any, ...]],
) -> None:
    pictures = measured[-1][-1]
    veiled = [part for part in pictures.split("<figure>") if "class=veil" in part]
    assert veiled
    assert all("bomb" in part and 'type=checkbox aria-label="show"' in part for part in veiled)
    assert "bomb" not in "".join(part for part in pictures.split("<figure>") if "class=veil" not in part)
    assert "a knife" not in pictures
    assert 'alt="before: ' in pictures
    assert "Pictures of knife are barred" in Path(measured[-1][5]).read_text()


def test_worst_losses_come_with_pictures(measured: list[tuple[Any, ...]]) -> None:
    worst = measured[-1][-2]
    assert "Worst losses" in worst
    assert worst.count("data:image/png") >= 2
    assert "SSIM" in worst


def test_a_stop_ends_within_a_step_and_the_next_run_goes_on(workshop: Workshop, edit: Edit, visit: Visit) -> None:
    visit.edits.push(Version("moderate bomb", edit, "demo"))
    before = {name: weight.clone() for name, weight in workshop.model("demo").weights().items()}
    denoiser, steps = workshop.model("demo").pipeline.unet, 0

    def counted(*_: Any) -> None:
        nonlocal steps
        steps += visit.stop.is_set()

    def tell(news: News) -> None:
        if news.share is not None and news.share > 0.6:
            visit.cancel()

    hook = denoiser.register_forward_hook(counted)
    with pytest.raises(Stopped):
        list(workshop.work(visit, lambda _: audit.evaluate(workshop, visit, QUICK, tell)))
    hook.remove()
    assert steps == 0
    kept = sorted((visit.folder / "audit").rglob("*.png"))
    assert len(kept) >= 4
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    after = workshop.model("demo").weights()
    assert all(bool((after[name] == weight).all()) for name, weight in before.items())
    told = last(AuditEvents(workshop).run(visit, 2, 1, 2, ""))[0]
    assert "Measured." in told
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


@pytest.mark.parametrize(("prompts", "seeds"), [(0, 1), (1000, 1), (2, 99)])
def test_plans_that_are_too_much_are_refused(workshop: Workshop, solved: Visit, prompts: int, seeds: int) -> None:
    told = last(AuditEvents(workshop).run(solved, prompts, seeds, 2, ""))[0]
    assert "give 1 to" in told


def test_a_release_is_one_zip_that_verifies(
    workshop: Workshop, solved: Visit, measured: list[tuple[Any, ...]], tmp_path: Path
) -> None:
    events = AuditEvents(workshop)
    told, pack = last(events.release(solved, "ship it", "Ada; Ben", "restore.sh", "knife"))
    with ZipFile(pack["value"]) as packed:
        packed.extractall(tmp_path)
        assert sorted(packed.namelist()) == ["edit.safetensors", "history.jsonl", "manifest.json", "report.html"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["decision"]["reviewers"] == ["Ada", "Ben"]
    assert manifest["evaluation"]["rows"] == json.loads(Path(measured[-1][6]).read_text())["rows"]
    _, header = read_tensors(tmp_path / "edit.safetensors", "concept-edit 1")
    assert header["manifest"] in told
    files = [str(tmp_path / name) for name in ("edit.safetensors", "manifest.json", "history.jsonl")]
    said, table = last(events.verify(solved, files))
    assert "Untouched" in said
    assert {row[1] for row in table["value"] if row[0] != "signature"} == {"✓ as it was"}
    assert [row[1] for row in table["value"] if row[0] == "signature"] == ["✗ not signed"] * 2
    manifest["decision"]["text"] = "do not ship it"
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    said, table = last(events.verify(solved, files))
    assert "Touched: manifest" in said
    assert any(row[:2] == ["manifest", "✗ touched"] for row in table["value"])
    assert "Touched: manifest" in last(events.verify(solved, files[:1]))[0]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key pairs of three people."""
    pytest.importorskip("model_signing", reason="signing needs the extra [sign]")
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    for name in ("Ada", "Ben", "Eve"):
        key = ec.generate_private_key(ec.SECP256R1())
        plain, public = form.NoEncryption(), form.PublicFormat.SubjectPublicKeyInfo
        (folder / f"{name}.pem").write_bytes(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain))
        (folder / f"{name}.pub").write_bytes(key.public_key().public_bytes(form.Encoding.PEM, public))
    return folder


@pytest.fixture
def release(workshop: Workshop, solved: Visit, measured: list[tuple[Any, ...]], tmp_path: Path) -> Path:
    """A release of two reviewers, unpacked."""
    _, pack = last(AuditEvents(workshop).release(solved, "ship it", "Ada; Ben", "restore.sh", "knife"))
    with ZipFile(pack["value"]) as packed:
        packed.extractall(tmp_path / "release")
    return tmp_path / "release"


def test_who_has_signed_is_told_and_a_key_counts_only_if_the_visitor_gives_it(
    workshop: Workshop, solved: Visit, release: Path, keys: Path
) -> None:
    from concept_edit.audit.signing import sign

    def verified(*trusted: str) -> tuple[str, dict[str, str]]:
        files = [str(path) for path in release.rglob("*") if path.is_file() and path.suffix != ".html"]
        told, table = last(AuditEvents(workshop).verify(solved, files, [str(keys / f"{n}.pub") for n in trusted]))
        return told, {row[2].split()[0]: row[1] for row in table["value"] if row[0] == "signature"}

    told, _ = verified()
    assert "Untouched: everything is what it was. 0 of 2 trusted signatures" in told
    sign(release, "Ada", keys / "Ada.pem")
    told, states = verified()
    assert "0 of 2 trusted signatures" in told
    assert states == {"a": "? not checked", "Ben": "✗ not signed"}
    told, states = verified("Ada", "Ben")
    assert "1 of 2 trusted signatures (Ada)" in told
    assert states == {"Ada": "✓ signed", "Ben": "✗ not signed"}
    sign(release, "Ben", keys / "Ben.pem")
    told, states = verified("Ada", "Ben")
    assert "Signed by Ada, Ben, whose keys you trust." in told
    (release / "signatures/Ben.sig").write_bytes((release / "signatures/Ada.sig").read_bytes())
    told, states = verified("Ada", "Ben")
    assert "the signature of Ben" in told
    assert 'role="alert"' in told
    assert list(states.values()) == ["✓ signed", "✗ wrong"]


def test_signature_files_with_wrong_names_are_sentences(
    workshop: Workshop, solved: Visit, release: Path, keys: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "-x.sig"
    odd.write_bytes(b"")
    edit = str(release / "edit.safetensors")
    said = {
        "is no file of a person; name it as they sign": ([edit, str(odd)], []),
        "two files are named Ada.pub": ([edit], [str(keys / "Ada.pub")] * 2),
    }
    for sentence, (files, trusted) in said.items():
        assert sentence in last(AuditEvents(workshop).verify(solved, files, trusted))[0].replace("Two", "two")


def test_newly_barred_concepts_must_be_measured_again(
    workshop: Workshop, solved: Visit, measured: list[tuple[Any, ...]]
) -> None:
    with pytest.raises(ValueError, match="run it again with that concept barred"):
        audit.release(workshop, solved, Decision("no", barred=("bomb",)), quiet)


def test_a_file_is_audited_and_verified(workshop: Workshop, edit: Edit, visit: Visit, tmp_path: Path) -> None:
    events = AuditEvents(workshop)
    edit.save(tmp_path / "from.safetensors")
    assert "from a file: moderate bomb" in events.file(visit, str(tmp_path / "from.safetensors"))
    assert audit.subject(visit).edit.concepts == edit.concepts
    visit.edits.push(Version("mine", edit, "demo", 0.5))
    assert "Audited: mine, at strength 0.5" in events.own(visit)
    assert "Untouched" in last(events.verify(visit, [str(tmp_path / "from.safetensors")]))[0]
    other = replace(edit, recipe=edit.recipe.model_copy(update={"ridge": 0.25}))
    other.save(tmp_path / "other.safetensors")
    assert "Touched" in last(events.verify(visit, [str(tmp_path / "other.safetensors")]))[0]


def test_files_that_are_none_are_sentences(workshop: Workshop, visit: Visit, edit: Edit, tmp_path: Path) -> None:
    events = AuditEvents(workshop)
    good, bad = tmp_path / "good.safetensors", tmp_path / "bad.safetensors"
    edit.save(good)
    bad.write_bytes(b"<script>alert(1)</script>")
    (tmp_path / "a.json").write_text('{"format": "concept-edit manifest 1"}')
    (tmp_path / "b.pkl").write_bytes(b"cos\nsystem\n")
    cases = {
        "There is no edit among the files": [],
        "of a kind that is not read here": [str(good), str(tmp_path / "b.pkl")],
        "Two files end with .safetensors": [str(good), str(bad)],
        "is no whole manifest": [str(good), str(tmp_path / "a.json")],
    }
    for said, files in cases.items():
        told, table = last(events.verify(visit, files))
        assert said in told
        assert table == gr.skip()
    for told in (last(events.verify(visit, [str(bad)]))[0], events.file(visit, str(bad))):
        assert "alert" in told
        assert "<script>" not in told
        assert str(tmp_path) not in told
        assert "not foreseen" not in told
    assert not list((visit.folder / "audit").glob("verify/*"))


def test_the_example_is_one_click(workshop: Workshop, visit: Visit) -> None:
    told = list(AuditEvents(workshop).example(visit))[-1]
    assert "Audited: example: erase" in told
    assert audit.subject(visit).model == "demo"


def test_every_event_has_a_name_and_a_text(workshop: Workshop) -> None:
    with gr.Blocks() as page:
        audit_tab.build(Shared(workshop, gr.State(Visit()), gr.Dropdown()))
    named = {str(fn.api_name): fn for fn in page.fns.values() if fn.api_visibility == "public"}
    assert {"audit", "audit_stop", "audit_release", "audit_verify", "audit_example", "audit_edit_file"} <= set(named)
    for fn in named.values():
        assert (fn.fn.__doc__ or "").strip()
        assert fn.concurrency_id == "lane" or not fn.queue
    assert len(named["audit"].outputs) == 9
