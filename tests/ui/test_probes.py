"""Strangers' probes of every file field: paths of the server, addresses elsewhere, traversal. None is opened."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]
WHERE = {
    "/suppress_list": "file", "/suppress_verify": "report", "/fact_load": "file", "/list": "path",
    "/audit_edit_file": "file", "/light_load_edit": "file", "/light_mark_picture": "file",
}  # fmt: skip
PROBES = (
    "/etc/passwd", str(ROOT / "examples/erase_artist.yaml"), "../../../../etc/passwd", "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data", "https://example.org/a.yaml",
)  # fmt: skip


@pytest.fixture(scope="module")
def endpoints(server: str) -> Any:
    return httpx.get(f"{server}gradio_api/info").json()["named_endpoints"]


@pytest.fixture
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses beyond this machine that somebody asked for; none is reached."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def watched(host: Any, *more: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name not in ("127.0.0.1", "localhost", "::1", "0.0.0.0", "None"):
            asked.append(name)
            raise OSError("no way out")
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", watched)
    return asked


@pytest.mark.parametrize("name", WHERE)
@pytest.mark.parametrize("probe", PROBES)
def test_a_file_field_opens_uploads_only(server, endpoints, no_way_out, name, probe):
    given = endpoints[name]["parameters"]
    files = [i for i, each in enumerate(given) if "path" in str(each["type"]) and "FileData" in str(each["type"])]
    files = files or [i for i, each in enumerate(given) if each["component"] in ("File", "Uploadbutton")]
    assert files, (name, [each["parameter_name"] for each in given])
    data = [each.get("parameter_default") for each in given]
    for i in files:
        data[i] = {"path": probe, "url": probe, "meta": {"_type": "gradio.FileData"}}
    first = {"data": [None, *data], "session_hash": "probe"}
    answer = httpx.post(f"{server}gradio_api/run{name}", json=first, timeout=60)
    assert answer.status_code >= 400 or "root:" not in answer.text
    assert answer.status_code != 200, answer.text[:300]
    assert no_way_out == []


@pytest.mark.parametrize(
    "body",
    [
        json.dumps({"data": [None, {"path": "https://example.org/a"}], "session_hash": "x"}).encode("utf-16"),
        b'{"data": [{"path": "https:\\/\\/example.org\\/a"}]}',
        b'{"data": ' + b"[" * 2000 + b'{"path": "x"}' + b"]" * 2000 + b"}",
    ],
    ids=["utf-16", "escaped", "deep"],
)
def test_an_address_in_disguise_is_refused(server, no_way_out, body):
    headers = {"content-type": "application/json"}
    for where in ("run/suppress_list", "queue/join", "call/suppress_list"):
        answer = httpx.post(f"{server}gradio_api/{where}", content=body, headers=headers, timeout=60)
        assert answer.status_code == 400, answer.text[:200]
    assert no_way_out == []


def test_a_call_of_enormous_length_is_refused(server):
    answer = httpx.post(f"{server}gradio_api/run/style_words", json={"data": [None, "x" * 41_000_000]}, timeout=120)
    assert answer.status_code == 413
