"""The page under load: simulated users on loopback, errors, the server's memory, and two times a person feels.

python benchmarks/ui_load.py --users 20 --minutes 5 --steps 4

Each user is a session of its own and loops: preview the recipe, solve, turn the strength, undo, redo, write the LoRA.
Times are measured before the load, in a warm server: the page until it can be used (in Chromium, if there is one), and
solve to new picture at the model's own steps.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
from gradio_client import Client

ROOT = Path(__file__).parent.parent
TABLE = {
    "headers": ["change", "concept", "instead", "weight", "wordings"],
    "data": [["erase", "Twemoji", "in the style of Noto", "1", "in the style of {}"]],
}
FIELDS = (TABLE, "Lobe\nEmojiOne\ncat\ndog", "uce", "last", 0.5, 1.0, None, "")
PROMPT = "a rocket in the style of Twemoji"


def serve(port: int) -> subprocess.Popen[str]:
    """A server of its own; returns once it answers."""
    command = [sys.executable, "-m", "ui", "--port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert server.stdout is not None
    line = server.stdout.readline()
    if "127.0.0.1" not in line:
        raise SystemExit(f"the server did not start: {line}")
    return server


def memory(server: subprocess.Popen[str]) -> float:
    """Resident memory in MB."""
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1000


def page_seconds(url: str) -> str:
    """The page until its main button is there, second visit; without Chromium the HTML and its configuration."""
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        start = time.perf_counter()
        httpx.get(url, timeout=60).raise_for_status()
        return f"{time.perf_counter() - start:.2f} s (HTML alone, no Chromium here)"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page, times = browser.new_page(), []
        for _ in range(4):
            start = time.perf_counter()
            page.goto(url)
            page.get_by_role("button", name="Solve and paint").wait_for()
            times.append(time.perf_counter() - start)
        browser.close()
    return f"{times[0]:.2f} s on the first visit, {min(times[1:]):.2f} s on the next"


def solve_seconds(url: str) -> tuple[float, float]:
    """Solve to new picture at the model's own steps: the first, and the median of three further ones."""
    client, times = Client(url, verbose=False), []
    for seed in range(4):
        start = time.perf_counter()
        answer = client.predict(*FIELDS, PROMPT, seed, 0, 1.0, api_name="/solve")
        times.append(time.perf_counter() - start)
        assert "Done." in answer[3], answer[3]
    client.close()
    return times[0], statistics.median(times[1:])


def use(url: str, number: int, end: float, steps: int, seen: Counter[str], lock: threading.Lock) -> None:
    """One user until `end`."""
    client, turn = Client(url, verbose=False), 0
    shot = (PROMPT, number, steps)
    actions: tuple[tuple[str, tuple[Any, ...]], ...] = (
        ("/recipe", FIELDS), ("/solve", (*FIELDS, *shot, 1.0)), ("/strength", (0.5, *shot)), ("/undo", shot),
        ("/redo", shot), ("/export_lora", ()),
    )  # fmt: skip
    while time.monotonic() < end:
        name, values = actions[turn % len(actions)]
        turn += 1
        try:
            answer = client.predict(*values, api_name=name)
            fault = "alert" in str(answer)
        except Exception as error:
            fault, answer = True, repr(error)
        with lock:
            seen[name] += 1
            seen["errors"] += fault
            if fault and seen["errors"] <= 3:
                print(f"error at {name}: {str(answer)[:300]}", flush=True)
    client.close()


def load(server: subprocess.Popen[str], url: str, options: argparse.Namespace) -> None:
    """All users at once; memory after a sixth of the time, when everything is open, and at the end."""
    seen, lock = Counter[str](), threading.Lock()
    seconds, start = 60 * options.minutes, time.monotonic()
    users = [
        threading.Thread(target=use, args=(url, i, start + seconds, options.steps, seen, lock), daemon=True)
        for i in range(options.users)
    ]
    for user in users:
        user.start()
    for share in (1 / 6, 0.5, 1.0):
        time.sleep(max(0.0, start + share * seconds - time.monotonic()))
        with lock:
            done = sum(seen.values()) - seen["errors"]
        print(f"after {share * seconds:4.0f} s: {done} actions, {memory(server):.0f} MB", flush=True)
    for user in users:
        user.join(120)
    print(f"errors: {seen['errors']} of {sum(seen.values()) - seen['errors']} actions; {dict(seen)}")
    print(f"memory when they had left: {memory(server):.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of the users' pictures")
    parser.add_argument("--port", type=int, default=7899)
    options = parser.parse_args()
    url, begun = f"http://127.0.0.1:{options.port}/", time.perf_counter()
    server = serve(options.port)
    try:
        print(
            f"open after {time.perf_counter() - begun:.1f} s; load of the machine {os.getloadavg()[0]:.1f}", flush=True
        )
        first, later = solve_seconds(url)
        print(f"solve to new picture: {first:.1f} s the first time, {later:.1f} s after (median of 3)", flush=True)
        print(f"page: {page_seconds(url)}", flush=True)
        print(f"memory at the start: {memory(server):.0f} MB", flush=True)
        load(server, url, options)
        print(f"load of the machine {os.getloadavg()[0]:.1f}")
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
