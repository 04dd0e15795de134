"""Models of one's own: streamed into the visitor's folder, bounded, under a name that nobody else can say."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import concept_edit as ce
from concept_edit.demo.recipes import erase_object
from ui.app import build_app, launch
from ui.workshop.chooser import choices, sent
from ui.workshop.session import Settings, Visit, Workshop

LIMIT = 90_000_000


@pytest.fixture(scope="module")
def taking() -> Iterator[tuple[Workshop, str]]:
    """A server that takes models."""
    workshop = Workshop(Settings(upload_limit=LIMIT))
    app = build_app(workshop)
    _, url, _ = launch(app, server_name="127.0.0.1")
    yield workshop, url
    app.close()


@pytest.fixture
def guest(taking: tuple[Workshop, str]) -> Iterator[Visit]:
    visit = Visit()
    taking[0].welcome(visit)
    yield visit
    visit.close()


def tensors(name: str = "unet.weight") -> bytes:
    """A safetensors file of one tensor."""
    header = json.dumps({name: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0\0\0\0"


def put(url: str, visit: Visit, name: str, body: Any, **more: Any) -> httpx.Response:
    return httpx.put(f"{url}models/{visit.secret}/{name}", content=body, timeout=60, **more)


def kept(visit: Visit) -> list[str]:
    return sorted(path.name for path in visit.folder.rglob("*") if path.is_file())


def test_a_model_is_kept_in_the_visitors_folder_and_offered_to_nobody_else(taking, guest):
    workshop, url = taking
    answer = put(url, guest, "my model.safetensors", tensors())
    assert (answer.status_code, answer.json()) == (200, {"name": "my model.safetensors", "kind": "diffusion_models"})
    told = json.dumps({"secret": guest.secret, "sent": [answer.json()]})
    sent(workshop, guest, told)
    assert choices(workshop, guest)[0] == ("my model.safetensors (yours)", guest.model)
    assert guest.model not in ("my model.safetensors", "demo")
    assert all("yours" not in label for label, _ in choices(workshop, Visit()))
    with pytest.raises(ValueError, match="neither a model of this server"):
        workshop.model("my model.safetensors")


def test_a_text_encoder_goes_beside_its_model(taking, guest):
    _, url = taking
    answer = put(url, guest, "qwen.safetensors", tensors("model.embed_tokens.weight"))
    assert answer.json()["kind"] == "text_encoders"


@pytest.mark.parametrize(
    ("name", "body", "status", "complaint"),
    [
        ("a.ckpt", b"x", 400, "no name of a model"),
        ("..%2f..%2fa.safetensors", b"x", 404, "not found"),
        (".hidden.safetensors", b"x", 400, "no name of a model"),
        ("a%00.safetensors", b"x", 400, "no name of a model"),
        ("a.safetensors", b"\x80\x04pickle", 400, "is no safetensors file"),
        ("a.safetensors", struct.pack("<Q", 2**40) + b"{}", 400, "is no safetensors file"),
        ("a.safetensors", b"", 400, "is no safetensors file"),
        ("a.safetensors", tensors()[:-2], 400, "is no safetensors file"),
    ],
)
def test_what_is_no_model_is_refused_and_leaves_nothing(taking, guest, name, body, status, complaint):
    _, url = taking
    answer = put(url, guest, name, body)
    assert answer.status_code == status, answer.text
    assert complaint in answer.json()["error"]
    assert kept(guest) == []


def test_a_file_beyond_the_limit_is_refused_by_its_length_or_as_it_comes(taking, guest):
    _, url = taking
    assert put(url, guest, "a.safetensors", b"\0" * (LIMIT + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(LIMIT // 1_000_000 + 2):
            yield b"\0" * 1_000_000

    assert put(url, guest, "a.safetensors", endless()).status_code == 413
    assert kept(guest) == []


def test_a_secret_that_is_none_and_a_visit_that_is_over_are_refused(taking):
    workshop, url = taking
    stranger = Visit()
    assert put(url, stranger, "a.safetensors", tensors()).status_code == 404
    workshop.welcome(stranger)
    stranger.close()
    assert put(url, stranger, "a.safetensors", tensors()).status_code == 404
    assert httpx.get(f"{url}models/{stranger.secret}/a.safetensors").status_code == 404


def test_a_server_that_takes_none_says_where_models_go(server, workshop, visit):
    workshop.welcome(visit)
    answer = put(server, visit, "a.safetensors", tensors())
    assert answer.status_code == 403
    assert "--checkpoints" in answer.json()["error"]


def test_a_checkpoint_exported_here_opens_here_again(taking, guest, tmp_path):
    """Its tokenizer and shapes are taken from the embedded model, since no single file has them."""
    workshop, url = taking
    model = ce.open_model("demo")
    edit = ce.solve(model, erase_object("cat").model_copy(update={"method": "uce"}))
    path = tmp_path / "mine.safetensors"
    ce.export_checkpoint(edit, model, path)
    answer = put(url, guest, path.name, path.read_bytes())
    sent(workshop, guest, json.dumps({"secret": guest.secret, "sent": [answer.json()]}))
    opened = workshop.model(guest.model)
    assert opened.name == "mine.safetensors"
    assert opened.fingerprint == model.fingerprint
    site = edit.sites(model)[0].name
    assert (opened.matrix(site) - model.matrix(site)).abs().max() > 0
