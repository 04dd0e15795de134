"""The chooser on top of the page: which model this visitor works on, and bringing one of one's own."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ui.workshop import companions
from ui.workshop.parts import LIGHT, note, says, trouble
from ui.workshop.session import EMBEDDED, FLOW, Visit, Workshop

LABELS = {
    EMBEDDED: "demo (toy: 48 things, 4 styles)",
    FLOW: "demo-flow (toy Z-Image: the same things, a language model reads)",
}
_TEMPLATE = """
<label class="opener"><input type="file" accept=".safetensors" multiple><span>Open a .safetensors…</span></label>
"""
_CSS = """
.opener {display: inline-flex; align-items: center; min-height: 42px; padding: 0 1rem; cursor: pointer;
  border: 1px solid var(--border-color-primary); border-radius: var(--radius-md); color: var(--body-text-color);
  white-space: nowrap; max-width: 100%; box-sizing: border-box;}
.opener span {overflow: hidden; text-overflow: ellipsis;}
.opener input {position: absolute; opacity: 0; width: 1px; height: 1px;}
.opener:focus-within {outline: 2px solid var(--color-accent); outline-offset: 2px;}
"""
_SCRIPT = """
const input = () => element.querySelector('input'), line = () => element.querySelector('span');
function send(file, secret) {
  return new Promise(done => {
    const request = new XMLHttpRequest();
    request.open('PUT', './models/' + secret + '/' + encodeURIComponent(file.name));
    request.upload.onprogress = event => {
      line().textContent = 'Sending ' + file.name + ' · ' + Math.round(100 * event.loaded / event.total) + ' %';
    };
    request.onload = () => { try { done(JSON.parse(request.response)); } catch { done({error: request.status}); } };
    request.onerror = () => done({error: 'the server could not be reached'});
    request.send(file);
  });
}
element.addEventListener('change', async event => {
  if (event.target !== input() || !input().files.length) return;
  let secret = '';
  try { secret = JSON.parse(props.value).secret; } catch { return; }
  const told = [];
  for (const file of input().files) told.push(await send(file, secret));
  line().textContent = 'Open a .safetensors…';
  input().value = '';
  props.value = JSON.stringify({secret, sent: told});
  trigger('submit');
});
"""


@dataclass(frozen=True)
class Chooser:
    """The top bar's fields."""

    model: gr.Dropdown
    companion: gr.Dropdown
    """What a single file lacks is taken from here; shown where a file is chosen."""
    opener: gr.HTML | None
    """Where a file is sent from; None where the server takes none."""
    note: gr.HTML

    def secret(self, visit: Visit) -> str:
        """What the opener must know of the visit."""
        return json.dumps({"secret": visit.secret})


def lay_out(workshop: Workshop) -> Chooser:
    """Create the components inside the current column."""
    opener = None
    with gr.Row(elem_classes=["bottom", "wrapping"]):
        model = gr.Dropdown(
            choices(workshop), value=EMBEDDED, label="Model: from the list, or a hub id such as owner/name",
            allow_custom_value=True, elem_id="model", scale=2, min_width=240,
        )  # fmt: skip
        if workshop.settings.upload_limit:
            opener = gr.HTML(
                "", html_template=_TEMPLATE, css_template=_CSS, js_on_load=_SCRIPT, elem_id="opener", padding=False,
                container=False, min_width=170,
            )  # fmt: skip
    here = companions.offered(workshop.settings.checkpoint_folder)
    companion = gr.Dropdown(
        [("automatic", ""), *here], value="", visible=False, allow_custom_value=True,
        label="What the file lacks comes from (or a hub id)", elem_id="companion",
    )  # fmt: skip
    return Chooser(model, companion, opener, note(elem_id="model-note"))


def choices(workshop: Workshop, visit: Visit | None = None) -> list[tuple[str, str]]:
    """Label and name of every model the page offers; a visitor's own first."""
    own = [] if visit is None else [(f"{path.name} (yours)", name) for name, path in visit.own.items()]
    return [*own, *((LABELS.get(name, name), name) for name in workshop.model_names())]


def wire(chooser: Chooser, workshop: Workshop, visit: gr.State) -> None:
    """Make the chooser live."""

    def choose(visit: Visit, model: str | None = EMBEDDED, companion: str | None = "") -> str:
        """Work on another model: "demo", a file of the server's folder by name, or a hub id. What a file lacks is taken
        from `companion`: a diffusers folder of the server or a hub id ('' chooses)."""
        file, beside = (model or EMBEDDED).strip(), (companion or "").strip()
        shown = visit.own[file].name if file in visit.own else file
        single = file.endswith(".safetensors")
        visit.model = companions.joined(file, beside) if single else file
        return says(f"The next job opens {shown}{f', with what it lacks from {beside}' if single and beside else ''}.")

    fields = [visit, chooser.model, chooser.companion]
    chooser.model.input(choose, fields, chooser.note, api_name="model", **LIGHT)
    chooser.companion.input(choose, fields, chooser.note, api_visibility="private", **LIGHT)
    chooser.model.change(
        lambda model: gr.update(visible=str(model or "").endswith(".safetensors"), value=""), chooser.model,
        chooser.companion, api_visibility="private", **LIGHT,
    )  # fmt: skip
    if chooser.opener is not None:
        chooser.opener.submit(
            lambda visit, value: sent(workshop, visit, value), [visit, chooser.opener], [chooser.model, chooser.note],
            api_visibility="private", **LIGHT,
        )  # fmt: skip


def sent(workshop: Workshop, visit: Visit, value: str) -> tuple[Any, str]:
    """What the opener sent stands in the visitor's folder now: offer it and choose it."""
    told = json.loads(value).get("sent", [])
    wrong = [each["error"] for each in told if "error" in each]
    if wrong:
        return gr.skip(), trouble(str(wrong[0]))
    models = [each["name"] for each in told if each.get("kind") == "diffusion_models"]
    for name in models:
        path = visit.folder / "models" / "diffusion_models" / name
        if path.parent.name == "diffusion_models" and path.is_file():
            visit.own[f"{secrets.token_urlsafe(12)}.safetensors"] = path
    if not models:
        return gr.skip(), says("The text encoder is here; now open the model it belongs to.")
    visit.model = next(reversed(visit.own))
    return gr.update(choices=choices(workshop, visit), value=visit.model), says(f"The next job opens {models[-1]}.")
