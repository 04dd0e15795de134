"""What the page must never do: read the server's files, run a pickle, let strangers in, tell others, keep leftovers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from ui.__main__ import allowed, loopback, run
from ui.app import build_app
from ui.workshop.parts import plain, says, table, trouble
from ui.workshop.session import News, Workshop

ROOT = Path(__file__).parents[2]
UPLOAD_LIMIT = 20_000_000


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", str(ROOT / "README.md"), "README.md", str(ROOT / "concept_edit/demo/weights/checksums.json"),
     "../../etc/passwd", "file:///etc/passwd"],
)  # fmt: skip
def test_no_file_of_the_server_is_served(server, path):
    for prefix in ("gradio_api/file=", "file="):
        answer = httpx.get(f"{server}{prefix}{path}")
        assert answer.status_code in (403, 404), answer.text[:200]


def test_a_visitors_folder_is_not_served(server, visit):
    secret = visit.folder / "secret.txt"
    secret.write_text("mine")
    assert httpx.get(f"{server}gradio_api/file={secret}").status_code in (403, 404)


def listed(server: str, path: str) -> httpx.Response:
    """What /list answers for a file, asked for as the page asks."""
    parameters = httpx.get(f"{server}gradio_api/info").json()["named_endpoints"]["/list"]["parameters"]
    fields = [each.get("parameter_default") for each in parameters][2:]
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [None, "", file, *fields], "session_hash": "x"}
    return httpx.post(f"{server}gradio_api/run/list", json=body, timeout=60)


@pytest.mark.parametrize("path", ["/etc/passwd", str(ROOT / "examples/erase_artist.yaml"), "examples/moderate.yaml"])
def test_a_path_sent_in_place_of_an_upload_is_refused(server, capfd, path):
    """The list's file must have been uploaded: a path on the server is no upload."""
    answer = listed(server, path)
    assert answer.status_code == 500
    assert set(answer.json()) == {"error"}
    assert "InvalidPathError" in capfd.readouterr().err


def test_a_file_that_was_uploaded_is_read(server):
    """The same call with an upload goes through, so that what is refused above is the path."""
    sent = {"files": ("mine.yaml", (ROOT / "examples/erase_artist.yaml").read_bytes())}
    (path,) = httpx.post(f"{server}gradio_api/upload", files=sent, timeout=60).json()
    answer = listed(server, path)
    assert answer.status_code == 200
    assert "Read " in answer.json()["data"][-1]


def test_uploads_are_limited(server):
    big = {"files": ("big.txt", b"x" * (UPLOAD_LIMIT + 100_000))}
    assert httpx.post(f"{server}gradio_api/upload", files=big, timeout=60).status_code == 413
    assert httpx.post(f"{server}gradio_api/upload", files={"files": ("a.txt", b"x")}).status_code == 200


def test_pickles_are_not_offered(tmp_path):
    from ui.workshop.session import Settings

    for name in ("a.ckpt", "b.pt", "c.pkl", "d.bin", "e.safetensors"):
        (tmp_path / name).write_bytes(b"")
    workshop = Workshop(Settings(checkpoint_folder=tmp_path))
    assert [name for name in workshop.model_names() if name not in ("demo", "demo-flow")] == ["e.safetensors"]
    assert workshop.generator_names() == ["demo"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--host", "0.0.0.0"], "--host 0.0.0.0 lets others in; name who with --auth-file"),
        (["--host", "::"], "--host :: lets others in"),
        (["--host", "example.org"], "lets others in"),
        (["--share"], "--share lets others in; name who with --auth-file"),
        (["--checkpoints", "/nowhere"], "--checkpoints /nowhere is no folder"),
        (["--host", "0.0.0.0", "--auth-file", "/nowhere"], "No such file"),
        (["--device", "toaster"], "is no device"),
        (["--port", "99999"], "less than or equal to 65535"),
    ],
)
def test_strangers_are_refused_without_a_password(arguments, complaint, capsys):
    assert run(arguments) == 2
    assert complaint in capsys.readouterr().err


def test_the_auth_file_names_who_may_come_in(tmp_path):
    file = tmp_path / "users"
    file.write_text("ann:s:cret\n\nbob:other\n")
    assert allowed("0.0.0.0", True, file) == [("ann", "s:cret"), ("bob", "other")]
    for text, complaint in (("ann\n", "line 1 of"), ("", "has no name:password"), ("a:b\n:c\n", "line 2 of")):
        file.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            allowed("127.0.0.1", False, file)
    assert allowed("127.0.0.1", False, None) is None
    assert [loopback(h) for h in ("127.0.0.1", "::1", "localhost", "10.0.0.1", "evil")] == [
        True,
        True,
        True,
        False,
        False,
    ]


def test_a_password_is_asked_for(workshop):
    from ui.app import launch

    app = build_app(workshop)
    _, url, _ = launch(app, server_name="127.0.0.1", auth=[("ann", "secret")])
    try:
        assert httpx.get(f"{url}gradio_api/info").status_code == 401
        assert httpx.post(f"{url}login", data={"username": "ann", "password": "wrong"}).status_code == 400
        with httpx.Client() as client:
            assert "auth_required" in client.get(url).text
            assert client.post(f"{url}login", data={"username": "ann", "password": "secret"}).status_code == 200
            assert client.get(f"{url}gradio_api/info").status_code == 200
            assert "Solve and paint" in client.get(url).text
            client.cookies.clear()
            assert "Solve and paint" not in client.get(url).text
    finally:
        app.close()


def test_the_page_is_made_once_for_each_address(server, monkeypatch):
    """Half a megabyte is copied and rendered for it; what it says about its address must still be the visitor's."""
    first = httpx.get(server)
    monkeypatch.setattr("gradio.routes.templates.TemplateResponse", lambda **_: pytest.fail("made again"))
    again = httpx.get(server)
    assert again.text == first.text
    assert again.headers["content-type"] == first.headers["content-type"]
    monkeypatch.undo()
    port = server.rstrip("/").rpartition(":")[2]
    other = httpx.get(server, headers={"host": f"localhost:{port}"}).text
    assert f"http://localhost:{port}" in other
    assert f"http://localhost:{port}" not in again.text


def test_analytics_and_the_shared_history_are_off(server):
    config = httpx.get(f"{server}config").json()
    assert config["analytics_enabled"] is False
    assert not config.get("run_history")
    assert "fonts.googleapis" not in httpx.get(server).text
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"


def test_every_action_has_a_name_and_a_description(server):
    endpoints = httpx.get(f"{server}gradio_api/info").json()["named_endpoints"]
    parts = {
        "": "solve predict paint strength undo redo history revoke cancel balance recipe add list everything_else "
        "model compare compare_cancel sizes device",
        "export_": "lora checkpoint kv edit recipe report",
        "audit_": "own_edit edit_file example stop release verify",
        "light_": "show_rooms example choose_room mark_lamp wipe_mark mark_picture stop find_units show_kind "
        "choose_units turn reset load_edit other_rooms gif",
        "fact_": "strength undo redo model example says edit adapter recipe load heads vector",
    }
    bench = "strength undo redo words lora edit recipe"
    parts |= {
        "style_": f"{bench} checkpoint",
        "suppress_": f"{bench} checkpoint list check report verify",
        "balance_": f"{bench} checkpoint people",
        "slide_": f"{bench} strip",
        "lamp_": "rooms wipe other_rooms neurons save load gif",
        "relight_": "photo example wipe picture",
    }
    parts[""] += " style suppress slide lamp relight fact"
    wanted = {f"/{first}{name}" for first, names in parts.items() for name in names.split()} | {"/audit"}
    assert set(endpoints) == wanted
    assert [name for name, about in endpoints.items() if not about.get("description")] == []


def test_no_listener_is_without_a_lane_or_out_of_the_queue(workshop):
    for event in build_app(workshop).fns.values():
        heavy = event.concurrency_id == "lane"
        assert heavy or not event.queue or event.fn is None or event.targets[0][1] == "unload", event.name


def test_text_of_visitors_is_harmless_wherever_it_is_shown():
    bad = "<img src=x onerror=alert(1)> [x](javascript:1) | *b*"
    assert "<img" not in says(bad) + trouble(bad) + says(News(bad, 0.5)) + plain(bad)
    assert "\\[x\\]\\(javascript:1\\) \\| \\*b\\*" in table(["a"], [[bad]])


def test_the_recipe_schema_knows_no_path():
    """Nothing in a recipe names a file that the server would open."""
    from concept_edit.recipe import Recipe

    with pytest.raises(ValueError, match="unknown key"):
        Recipe.from_yaml(yaml.safe_dump({"statistics": "/etc/passwd"}))


def test_importing_the_page_touches_nothing():
    code = "import ui.app, sys; assert 'torch' not in sys.modules, 'torch'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
