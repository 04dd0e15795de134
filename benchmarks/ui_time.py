"""What a person waits for on the page: the page itself, and a solve with its new picture.

python benchmarks/ui_time.py

Server and browser are warm: each has shown the page before. "Shown" is the time from navigation until the first card
(of a plain page: the button) has a place on the screen, "answers" until a click on it, made at once, has its answer:
the card's main button on the screen. The same is measured for a Gradio page with one button, which is what Gradio
itself costs on this machine. Two errands are walked by mouse, with their clicks counted: a style out and its LoRA on
disk, a lamp off. And every click's first visible answer is timed in the browser, on a quiet server and while another
visitor's long job runs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
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
PAGE = [sys.executable, "-m", "ui", "--port"]
PLAIN = [sys.executable, "-c", """
import os, sys
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
import gradio as gr
with gr.Blocks() as page:
    button, note = gr.Button("Go", elem_id="solve"), gr.HTML("", elem_id="note")
    button.click(lambda: "<div>answered</div>", None, note)
page.launch(server_port=int(sys.argv[1]), quiet=True, ssr_mode=False, run_history=False, prevent_thread_lock=True)
print("http://127.0.0.1", flush=True)
page.block_thread()
"""]  # fmt: skip
_WATCH = """
const id = setInterval(() => {
  const button = document.querySelector('#solve, #home a');
  if (button && button.getBoundingClientRect().width > 0) { window.shownAt = performance.now(); clearInterval(id); }
}, 5);
"""
_ANSWERED = """
document.querySelector('#note')?.innerText.trim() || document.querySelector('#style-run')?.getBoundingClientRect().width
"""


@contextmanager
def served(command: Sequence[str], port: int) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A server of its own: its address and its process."""
    server = subprocess.Popen(
        [*command, str(port)], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        if "127.0.0.1" not in line:
            raise SystemExit(f"the server did not start: {line}")
        yield f"http://127.0.0.1:{port}/", server
    finally:
        server.terminate()
        server.wait(20)


def processor(server: subprocess.Popen[str]) -> float:
    """Seconds of processor time the server has used."""
    return _used(Path(f"/proc/{server.pid}/stat"))[1]


def browsers() -> float:
    """Seconds of processor time that the browser this process started has used, all its processes together."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            found[int(path.parent.name)] = _used(path)
    total = 0.0
    for pid, (parent, used) in found.items():
        while parent in found and parent != os.getpid():
            parent = found[parent][0]
        if parent == os.getpid() and "chrom" in _name(pid):
            total += used
    return total


def _used(path: Path) -> tuple[int, float]:
    """The parent of a process and its seconds of processor time."""
    fields = path.read_text().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text()
    return ""


def repeated(do: Callable[[], Any], times: int) -> list[float]:
    """Seconds of each of `times` calls."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        do()
        found.append(time.perf_counter() - start)
    return found


def told(name: str, found: Sequence[float]) -> None:
    print(f"{name}: {statistics.median(found):.2f} s (median of {len(found)}; best {min(found):.2f})", flush=True)


def answers(name: str, url: str, server: subprocess.Popen[str], times: int) -> None:
    """The server's own part: HTML and configuration."""
    client = httpx.Client(base_url=url, timeout=60)
    for path in ("", "config"):
        size = max(len(client.get(path).raise_for_status().content) for _ in range(2))
        before = processor(server)
        found = repeated(lambda path=path: client.get(path).raise_for_status(), times)
        spent = (processor(server) - before) / times
        told(f"{name}, GET /{path}, {size / 1000:.0f} kB, {1000 * spent:.0f} ms of the server's processor", found)


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser.

    Raises:
        OSError: there is none here.
    """
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found is None:
        raise OSError("there is no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def shown(name: str, url: str, times: int) -> None:
    """The page in a warm Chromium."""
    with chromium() as browser:
        page = browser.new_page()
        page.add_init_script(_WATCH)
        runs = [_visit(page, url) for _ in range(times + 1)][1:]
        requests = page.evaluate("performance.getEntriesByType('resource').length")
    told(f"{name}, shown", [run[0] for run in runs])
    told(f"{name}, answers", [run[1] for run in runs])
    told(f"{name}, the browser's processor until it answers", [run[2] for run in runs])
    print(f"{name}, files the page is made of: {requests}", flush=True)


def _visit(page: Any, url: str) -> tuple[float, float, float]:
    before = browsers()
    page.goto(url, wait_until="commit")
    page.wait_for_function("window.shownAt")
    page.locator("#solve, #home a").first.click()
    page.wait_for_function(_ANSWERED)
    times = page.evaluate("[window.shownAt / 1000, performance.now() / 1000]")
    spent = browsers() - before
    page.wait_for_timeout(700)
    return times[0], times[1], spent


def solves(url: str, server: subprocess.Popen[str], times: int) -> None:
    """Solve to new picture at the model's own steps, each time of another seed, so that nothing is remembered."""
    client, seeds = Client(url, verbose=False), iter(range(1000))

    def solve() -> None:
        answer = client.predict(*FIELDS, PROMPT, next(seeds), 0, 1.0, api_name="/solve")
        assert "Done." in answer[3], answer[3]

    told("solve to new picture, the first", repeated(solve, 1))
    before = processor(server)
    found = repeated(solve, times)
    spent = (processor(server) - before) / times
    told(f"solve to new picture, {spent:.1f} s of the server's processor", found)
    client.close()


def errands(url: str, times: int) -> None:
    """From the home page to the result, by mouse."""
    with chromium() as browser:
        for name, walk in (("a style out, its LoRA on disk", _style), ("a lamp off", _lamp)):
            runs = []
            for _ in range(times):
                page = browser.new_context(accept_downloads=True).new_page()
                page.goto(url)
                page.locator("#home a").first.wait_for()
                runs.append(walk(page))
                stops = page.evaluate("document.querySelectorAll('button:not([disabled]), input, textarea, a').length")
                page.context.close()
            for part in runs[0]:
                if part != "clicks":
                    told(f"{name}: {part}", [run[part] for run in runs])
            print(f"{name}: {runs[0]['clicks']:.0f} clicks; {stops} controls on the whole page", flush=True)


def _style(page: Any) -> dict[str, float]:
    """Card, button, LoRA; every walk is a new visitor's, so nothing is remembered."""
    page.locator("#home a[data-do=style]").click()
    page.locator("#style-run").wait_for()
    old = page.locator("#style-pairs .after img").first.get_attribute("src")
    start = time.perf_counter()
    page.locator("#style-run").click()
    page.wait_for_function(_OTHER, arg=["#style-pairs .after img:not(.over)", old])
    first = time.perf_counter() - start
    page.locator("#style-make-lora:not([disabled])").wait_for()
    verdict = time.perf_counter() - start
    with page.expect_download():
        page.locator("#style-make-lora").click()
    return {"first AFTER": first, "all painted and judged": verdict, "file": time.perf_counter() - start, "clicks": 3}


def _lamp(page: Any) -> dict[str, float]:
    """Card, button."""
    page.locator("#home a[data-do=lamp]").click()
    page.locator("#lamp-run").wait_for()
    start = time.perf_counter()
    page.locator("#lamp-run").click()
    page.locator("#lamp-others:not([disabled])").wait_for()
    return {"off, with its verdict": time.perf_counter() - start, "clicks": 2}


def reactions(url: str, times: int) -> None:
    """From a click to the first thing that changes on the screen because of it."""
    with chromium() as browser:
        for state in ("quiet", "beside another visitor's job"):
            other = Client(url, verbose=False) if state != "quiet" else None
            runs = []
            for number in range(times):
                job = other.submit(PROMPT, 500 + number, 200, api_name="/paint") if other else None
                page = browser.new_context().new_page()
                page.goto(f"{url}?do=style")
                page.locator("#style-run").wait_for()
                page.wait_for_timeout(1500)
                runs.append(_answers_of(page))
                page.context.close()
                if other and job:
                    other.predict(api_name="/cancel")
                    job.result(timeout=60)
            for name in runs[0]:
                told(f"first answer, {state}: {name}", [run[name] for run in runs])


def _answers_of(page: Any) -> dict[str, float]:
    """Seconds of each click of one visit."""
    label = "document.querySelector('#style-run').innerText"
    found = {"the main button": _answered(page, "#style-run", f"{label}.startsWith('Stop')")}
    found["the button again: stop"] = _answered(page, "#style-run", f"{label} !== window.was")
    page.locator("#style-run", has_text="Take it out").wait_for()
    page.locator("#style-run").click()
    page.locator("#style-make-lora:not([disabled])").wait_for()
    step = "document.querySelector('#style-past').innerText"
    found["undo"] = _answered(page, "#style-undo", f"{step} !== window.past")
    found["a step of the history"] = _answered(page, "#style-past .steps button >> nth=1", f"{step} !== window.past")
    found["another card"] = _answered(
        page, "role=tab[name='Change a fact']", "document.querySelector('#fact-run')?.getBoundingClientRect().width > 0"
    )
    return found


def _answered(page: Any, where: str, true: str) -> float:
    """Seconds from the click itself until `true` holds."""
    page.evaluate(
        """true_ => {
          window.was = document.querySelector('#style-run').innerText;
          window.past = document.querySelector('#style-past').innerText;
          window.answered = null;
          addEventListener('click', () => {
            const start = performance.now(), look = () => {
              if (eval(true_)) window.answered = performance.now() - start; else requestAnimationFrame(look);
            };
            look();
          }, {capture: true, once: true});
        }""",
        true,
    )
    page.locator(where).click()
    page.wait_for_function("window.answered !== null")
    return float(page.evaluate("window.answered")) / 1000


_OTHER = """([where, old]) => {
  const found = document.querySelector(where);
  return found && found.getAttribute('src') !== old;
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--port", type=int, default=7898)
    options = parser.parse_args()
    start = time.perf_counter()
    for name, command in (("one button", PLAIN), ("the page", PAGE)):
        start = time.perf_counter()
        with served(command, options.port) as (url, server):
            print(f"{name}: open after {time.perf_counter() - start:.1f} s; {os.getloadavg()[0]:.1f} processes wait")
            if command is PAGE:  # first, so that the server has opened its models when the page is timed
                solves(url, server, options.times)
            answers(name, url, server, options.times)
            try:
                shown(name, url, options.times)
                if command is PAGE:
                    errands(url, min(3, options.times))
                    reactions(url, min(3, options.times))
            except OSError as error:
                print(f"{name}, in a browser: not measured, {error}")


if __name__ == "__main__":
    main()
