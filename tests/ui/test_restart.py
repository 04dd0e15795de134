"""The server is stopped and started anew under an open page: a sentence, nothing asked is lost, the page goes on."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ui.workshop.pulse import PATH

ROOT = Path(__file__).parents[2]
PATIENCE = 120_000
"""Milliseconds; the machine may be busy."""


@contextmanager
def served(port: int) -> Iterator[str]:
    """The page in a process of its own."""
    command = [sys.executable, "-m", "ui", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        assert b"Concept Edit is at" in server.stdout.readline()
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.terminate()
        server.wait(60)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def concepts(page: Any) -> Any:
    return page.locator("#concepts").get_by_text("Twemoji").locator("visible=true").first


def test_a_page_whose_server_was_restarted_says_so_loses_nothing_asked_and_goes_on(browser: Any) -> None:
    port = free_port()
    context = browser.new_context(viewport={"width": 1360, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    with served(port) as url:
        page.goto(f"{url}?do=expert")
        page.locator("#example-0").click()
        page.get_by_text("press Solve and paint to see it").wait_for()
        page.locator("#steps input").fill("1")
        page.locator("#solve").click()
        page.locator("#note").get_by_text("Done.").wait_for()
        page.locator("#history").get_by_text("1 · erase Twemoji").wait_for()
    page.locator("#pulse", has_text="The server does not answer.").wait_for()
    with served(port) as url:
        page.locator("#pulse", has_text="The server was started anew").wait_for()
        concepts(page).wait_for()
        page.locator("#undo").click()
        page.locator("#note").get_by_text("There is no such version in the history.").wait_for()
        page.locator("#history").get_by_text("1 · erase Twemoji").wait_for(state="detached")

        page.reload()
        page.locator("#again").click()
        page.get_by_text("Your last recipe: press Solve and paint").wait_for()
        concepts(page).wait_for()
        assert page.locator("#pulse").count() == 0 or page.locator("#pulse").is_hidden()
    context.close()


def test_a_browser_that_kept_nothing_says_so(browser: Any, server: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server}?do=expert")
    page.locator("#again").click()
    page.locator("#aside").get_by_text("This browser holds no recipe yet").wait_for()
    context.close()


def test_the_name_of_the_start_is_all_that_the_pulse_tells(server: str) -> None:
    answers = {httpx.get(server.rstrip("/") + PATH).text for _ in range(2)}
    (name,) = answers
    assert len(name) == 16
    assert int(name, 16) >= 0
