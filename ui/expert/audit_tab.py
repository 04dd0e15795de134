"""The Audit tab: what an edit did, measured with intervals; its report, its release, and whether one was touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gradio as gr

from concept_edit.audit.release import Decision, Verification
from concept_edit.evaluation.page import grid, listing, section
from concept_edit.evaluation.report import cells
from ui.workshop import audit
from ui.workshop.audit import MOST_PROMPTS, MOST_SEEDS, Plan
from ui.workshop.card import Shared
from ui.workshop.following import follow
from ui.workshop.look import empty
from ui.workshop.painting import MOST_STEPS
from ui.workshop.parts import LANE, LIGHT, note, says, trouble
from ui.workshop.running import stops
from ui.workshop.session import Tell, Visit, Workshop
from ui.workshop.signatures import Signed, verdict
from ui.workshop.versions import Version

if TYPE_CHECKING:
    from concept_edit.evaluation import Report

Page = Iterator[tuple[Any, ...]]
HEAD = ["measured", "on", "when", "value", "95 % interval", "pictures", "by"]
_BLANK = empty(
    "Nothing measured yet",
    "Solve an edit on the Edit tab, or start with the example; then press Run the evaluation.<br>The same prompts are "
    "painted at the same seeds before and after, and what they show is counted.",
)
_VERIFY = """Give an edit (.safetensors), with its manifest.json, history.jsonl and signatures (.sig) if there are any.
To see who has signed, give the reviewers' public keys too, named as they sign (ada.pub); have them from the reviewers
themselves, not from the release."""
_STYLE = """
#audit-table td, #audit-table th {font-family: inherit !important; font-size: .85rem}
.shown .grid {display: flex; flex-wrap: wrap; gap: .9rem} .shown figure {margin: 0; width: 15rem}
.shown figcaption {font-size: .8rem; color: var(--body-text-color-subdued); overflow-wrap: anywhere}
.shown .pair {display: flex; gap: .2rem} .shown .pair img {width: 50%; border-radius: var(--radius-sm)}
.shown h2 {font-size: 1rem; margin: 1.2rem 0 .5rem} .shown ul {margin: 0; padding-left: 1.1rem}
.shown .veil {display: block; cursor: pointer; position: relative; overflow: hidden}
.shown .veil input {position: absolute; opacity: 0} .shown .veil .pair {filter: blur(14px)}
.shown .veil input:checked ~ .pair {filter: none} .shown .veil input:focus-visible ~ .pair {outline: 2px solid}
.shown .veil::after {content: "click to show"; position: absolute; inset: 40% 0 auto; text-align: center; color: #fff;
  text-shadow: 0 0 6px #000; pointer-events: none} .shown .veil:has(:checked)::after {content: ""}
"""


def build(shared: Shared) -> None:
    """Lay the tab out and wire it."""
    workshop, visit = shared.workshop, shared.visit
    gr.HTML(f"<style>{_STYLE}</style>", visible="hidden")
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=340):
            asking = _asking()
            releasing = _releasing()
            checking = _checking()
        with gr.Column(scale=7, min_width=460):
            found = _found()
    events = AuditEvents(workshop)
    _wire_subject(events, visit, asking)
    _wire_evaluation(events, visit, asking, found)
    _wire_release(events, visit, asking, releasing, checking)


def _asking() -> SimpleNamespace:
    gr.Markdown("### What did the edit do?")
    told = note("Audited: the edit that holds on the Edit tab.", elem_id="audit-subject")
    with gr.Row(elem_classes=["chips"]):
        own = gr.Button("My own edit", size="sm", elem_classes=["calm"])
        file = gr.UploadButton("An edit file", size="sm", file_types=[".safetensors"], elem_classes=["calm"])
        example = gr.Button("Example: a style erased", size="sm", elem_classes=["calm"])
    prompts = gr.Slider(
        2, MOST_PROMPTS, 8, step=2, label="Prompts of each set",
        info="Edited, neighbouring and unrelated prompts; each is painted before and after. More make it surer.",
    )  # fmt: skip
    with gr.Row():
        seeds = gr.Slider(1, MOST_SEEDS, 1, step=1, label="Seeds of each prompt", min_width=140)
        steps = gr.Slider(0, MOST_STEPS, 0, step=1, label="Steps", info="0: the model's own", min_width=140)
    barred = gr.Textbox(
        "", label="Never show pictures of", placeholder="bomb; knife",
        info="They are painted and measured, but stand in no report. Moderated concepts are blurred until clicked.",
    )  # fmt: skip
    with gr.Row():
        start = gr.Button("Run the evaluation", variant="primary", scale=2, elem_id="audit-run")
        stop = gr.Button("Stop", elem_classes=["calm"], scale=1, min_width=80, elem_id="audit-stop")
    news = note(elem_id="audit-note")
    return SimpleNamespace(
        told=told, own=own, file=file, example=example, prompts=prompts, seeds=seeds, steps=steps, barred=barred,
        start=start, stop=stop, news=news,
    )  # fmt: skip


def _releasing() -> SimpleNamespace:
    with gr.Accordion("Release it: edit, manifest, history and report in one ZIP", open=False):
        decision = gr.Textbox("", label="Decision", placeholder="ship it, because …")
        reviewers = gr.Textbox("", label="Reviewed by", placeholder="Ada; Ben")
        rollback = gr.Textbox("", label="How to go back", placeholder="the command that brings the original back")
        make = gr.Button("Write the release", elem_classes=["calm"], elem_id="audit-release")
        told = note("The manifest holds the hash of every matrix, before and after.")
        pack = gr.File(label="Release", interactive=False, visible=False, elem_id="audit-pack")
    return SimpleNamespace(decision=decision, reviewers=reviewers, rollback=rollback, make=make, told=told, pack=pack)


def _checking() -> SimpleNamespace:
    with gr.Accordion("Verify an edit: was it touched?", open=False):
        gr.Markdown(_VERIFY, elem_classes=["hint"])
        files = gr.File(
            label="The edit and what came with it",
            file_count="multiple", file_types=[".zip", ".safetensors", ".json", ".jsonl", ".sig"], height=150,
            elem_id="audit-files",
        )  # fmt: skip
        keys = gr.File(
            label="Public keys you trust", file_count="multiple", file_types=[".pub"], height=150, elem_id="audit-keys",
        )  # fmt: skip
        check = gr.Button("Verify", elem_classes=["calm"], elem_id="audit-verify")
        told = note("The recipe in the file is solved again and compared, bit for bit.", elem_id="audit-verified")
        table = gr.Dataframe(
            headers=["part", "", "what was found"], interactive=False, wrap=True, visible=False,
            column_widths=["20%", "20%", "60%"],
        )  # fmt: skip
    return SimpleNamespace(files=files, keys=keys, check=check, told=told, table=table)


def _found() -> SimpleNamespace:
    blank = gr.HTML(_BLANK, container=False)
    with gr.Column(visible=False) as box:
        summary = gr.HTML(elem_classes=["shown"], elem_id="audit-summary")
        table = gr.Dataframe(
            headers=HEAD, interactive=False, wrap=True, label="Every figure, with its 95 % interval",
            column_widths=["19%", "12%", "10%", "10%", "18%", "10%", "21%"], elem_id="audit-table",
        )  # fmt: skip
        with gr.Row():
            page = gr.DownloadButton("Download the report (one HTML file)", elem_id="audit-report")
            data = gr.DownloadButton("The figures (JSON)", elem_classes=["calm"])
        worst = gr.HTML(elem_classes=["shown"], elem_id="audit-worst")
        with gr.Accordion("All pictures, before and after", open=False):
            pictures = gr.HTML(elem_classes=["shown"], elem_id="audit-pictures")
    return SimpleNamespace(
        blank=blank, box=box, summary=summary, table=table, page=page, data=data, worst=worst, pictures=pictures
    )


def _wire_subject(events: AuditEvents, visit: gr.State, asking: SimpleNamespace) -> None:
    asking.own.click(events.own, visit, asking.told, api_name="audit_own_edit", **LIGHT)
    asking.file.upload(events.file, [visit, asking.file], asking.told, api_name="audit_edit_file", **LIGHT)
    asking.example.click(events.example, visit, asking.told, api_name="audit_example", **LANE)
    tab = gr.context.Context.block
    if isinstance(tab, gr.Tab):
        tab.select(events.about, visit, asking.told, api_visibility="private", **LIGHT)


def _wire_evaluation(events: AuditEvents, visit: gr.State, asking: SimpleNamespace, found: SimpleNamespace) -> None:
    asking.start.click(
        events.run, [visit, asking.prompts, asking.seeds, asking.steps, asking.barred],
        [asking.news, found.blank, found.box, found.summary, found.table, found.page, found.data, found.worst,
         found.pictures],
        api_name="audit", **LANE,
    )  # fmt: skip
    stops(asking.stop, visit, asking.news, api_name="audit_stop")


def _wire_release(
    events: AuditEvents,
    visit: gr.State,
    asking: SimpleNamespace,
    releasing: SimpleNamespace,
    checking: SimpleNamespace,
) -> None:
    releasing.make.click(
        events.release, [visit, releasing.decision, releasing.reviewers, releasing.rollback, asking.barred],
        [releasing.told, releasing.pack], api_name="audit_release", **LANE,
    )  # fmt: skip
    checking.check.click(
        events.verify, [visit, checking.files, checking.keys], [checking.told, checking.table],
        api_name="audit_verify", **LANE,
    )  # fmt: skip


class AuditEvents:
    """The tab's events on one workshop: page values in, page values out."""

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    def about(self, visit: Visit) -> str:
        """Which edit is audited."""
        return _told(lambda: audit.subject(visit), quiet=True)

    def own(self, visit: Visit) -> str:
        """Audit the edit that holds on the Edit tab."""
        return _told(lambda: audit.take_own(visit))

    def file(self, visit: Visit, file: str) -> str:
        """Audit the edit of a .safetensors file."""
        return _told(lambda: audit.take_file(visit, file))

    def example(self, visit: Visit) -> Iterator[str]:
        """Solve an example and audit it."""
        for told, version in follow(self.workshop, visit, lambda tell: audit.take_example(self.workshop, visit, tell)):
            yield told if version is None else _named(version)

    def run(self, visit: Visit, prompts: float, seeds: float, steps: float, barred: str) -> Page:
        """Evaluate the edit: paint, measure, report. Stopped and started again, it goes on where it was."""

        def job(tell: Tell) -> tuple[Any, ...]:
            plan = Plan(int(prompts), int(seeds), int(steps) or None, split(barred))
            report = audit.evaluate(self.workshop, visit, plan, tell)
            page, data = audit.save_report(visit)
            return (*_report(report), str(page), str(data), _worst(report), _pictures(report))

        for told, value in follow(self.workshop, visit, job):
            if value is None:
                yield (told, *[gr.skip()] * 8)
            else:
                summary, table, *rest = value
                yield (says("Measured."), gr.update(visible=False), gr.update(visible=True), summary, table, *rest)

    def release(self, visit: Visit, decision: str, reviewers: str, rollback: str, barred: str) -> Page:
        """Write the release of the edit: a ZIP with the edit, its manifest, the history and the report."""

        def job(tell: Tell) -> tuple[str, str]:
            asked = Decision(decision.strip() or "not decided", split(reviewers), split(barred), rollback.strip())
            path, name = audit.release(self.workshop, visit, asked, tell)
            return str(path), name

        for told, value in follow(self.workshop, visit, job):
            if value is None:
                yield told, gr.skip()
            else:
                yield (
                    says(f"The release's name is its manifest's hash: {value[1]}"),
                    gr.update(value=value[0], visible=True),
                )

    def verify(self, visit: Visit, files: Sequence[str] | None, keys: Sequence[str] | None = None) -> Page:
        """Verify an edit file, with its manifest, history and signatures if they are given, and the public keys you
        trust: say what was touched, and who has signed."""

        def job(tell: Tell) -> tuple[Verification, list[Signed]]:
            return audit.verify(self.workshop, visit, files or [], tell, keys or [])

        for told, value in follow(self.workshop, visit, job):
            if value is None:
                yield told, gr.skip()
            else:
                yield _verdict(*value), gr.update(value=_findings(*value), visible=True)


def split(text: str | None) -> tuple[str, ...]:
    """'a; b' as ("a", "b")."""
    return tuple(part.strip() for part in (text or "").split(";") if part.strip())


def _told(find: Callable[[], Version], *, quiet: bool = False) -> str:
    try:
        return _named(find())
    except Exception as error:
        return says("No edit yet: solve one on the Edit tab, or start with the example.") if quiet else trouble(error)


def _named(version: Version) -> str:
    at = "" if version.strength == 1 else f", at strength {version.strength:g}"
    return says(f"Audited: {version.title}{at}.")


def _report(report: Report) -> tuple[str, list[list[str]]]:
    """The figures in sentences, and as a table."""
    return listing(report.sentences()), [list(cells(figure)) for figure in report.figures]


def _worst(report: Report) -> str:
    """What lost most though it should have stayed, with pictures."""
    shown = {pair.row: pair for pair in report.pictures}
    worst = [(shown[row], what) for row, what in report.worst if row in shown]
    pictures = grid([pair for pair, _ in worst], {i: what for i, (_, what) in enumerate(worst)}) if worst else ""
    return section("Worst losses among what should have stayed", pictures)


def _pictures(report: Report) -> str:
    """Pairs of pictures, group by group; moderated concepts are blurred until clicked."""
    groups = dict.fromkeys(pair.row.group for pair in report.pictures)
    return "".join(
        section(f"{group} prompts", grid([p for p in report.pictures if p.row.group == group])) for group in groups
    )


def _verdict(found: Verification, people: Sequence[Signed]) -> str:
    if not found.ok:
        return trouble(f"Touched: {', '.join(found.touched)}. Do not rely on it before you know why.")
    told = f"Untouched: everything is what it was. {verdict(people)}".strip()
    return trouble(told) if any(each.state == "wrong" for each in people) else says(told)


_STATES = {"trusted": "✓ signed", "unchecked": "? not checked", "missing": "✗ not signed", "wrong": "✗ wrong"}


def _findings(found: Verification, people: Sequence[Signed]) -> list[list[str]]:
    parts = [[finding.part, "✓ as it was" if finding.ok else "✗ touched", finding.text] for finding in found.findings]
    return parts + [["signature", _STATES[each.state], each.text] for each in people]
