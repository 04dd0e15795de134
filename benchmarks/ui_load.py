"""The page under load: simulated users on loopback; errors, waiting times, and the server's memory.

python benchmarks/ui_load.py --users 20 --minutes 5 --steps 4

Each user is a session of its own and loops: preview the recipe, solve, turn the strength, undo, redo, write the LoRA;
after `--rounds` of that it leaves and comes back as a new session, as people do. All share the one lane of heavy work,
so waiting grows with the users: times are given as ratios to those of a single user, measured first in the same run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradio_client import Client
from ui_time import FIELDS, PAGE, PROMPT, served


@dataclass
class Seen:
    """What all users saw."""

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Action -> seconds of each call."""
    faults: list[str] = field(default_factory=list)
    sessions: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> int:
        return sum(map(len, self.times.values()))


def memory(server: subprocess.Popen[str]) -> float:
    """Resident memory in MB."""
    text = Path(f"/proc/{server.pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) / 1000


def actions(number: int, steps: int) -> tuple[tuple[str, tuple[Any, ...]], ...]:
    """A round of one user."""
    shot = (PROMPT, number, steps)
    return (
        ("/recipe", FIELDS), ("/solve", (*FIELDS, *shot, 1.0)), ("/strength", (0.5, *shot)), ("/undo", shot),
        ("/redo", shot), ("/export_lora", ()),
    )  # fmt: skip


def use(url: str, number: int, end: float, options: argparse.Namespace, seen: Seen) -> None:
    """One user until `end`, session after session."""
    while time.monotonic() < end:
        try:
            client = Client(url, verbose=False)
        except Exception as error:
            _fault(seen, "connecting", repr(error))
            continue
        with seen.lock:
            seen.sessions += 1
        for name, values in actions(number, options.steps) * options.rounds:
            if time.monotonic() < end:
                _act(client, name, values, seen)
        client.close()


def _act(client: Client, name: str, values: tuple[Any, ...], seen: Seen) -> None:
    start = time.perf_counter()
    try:
        answer = str(client.predict(*values, api_name=name))
    except Exception as error:
        _fault(seen, name, repr(error))
        return
    if 'role="alert"' in answer:
        _fault(seen, name, answer)
        return
    with seen.lock:
        seen.times[name].append(time.perf_counter() - start)


def _fault(seen: Seen, name: str, text: str) -> None:
    with seen.lock:
        seen.faults.append(f"{name}: {text}")
        if len(seen.faults) <= 5:
            print(f"error at {name}: {text[:400]}", flush=True)


def load(server: subprocess.Popen[str], url: str, options: argparse.Namespace) -> Seen:
    """All users at once; a line of memory every `--every` seconds."""
    seen, start = Seen(), time.monotonic()
    end = start + 60 * options.minutes
    users = [threading.Thread(target=use, args=(url, i, end, options, seen), daemon=True) for i in range(options.users)]
    for user in users:
        user.start()
    print("| s | memory, MB | actions | sessions so far |\n|---|---|---|---|")
    while time.monotonic() < end:
        time.sleep(max(0.0, min(options.every, end - time.monotonic())))
        passed = time.monotonic() - start
        print(f"| {passed:.0f} | {memory(server):.0f} | {seen.done} | {seen.sessions} |", flush=True)
    for user in users:
        user.join(180)
    print(f"| all have left, {time.monotonic() - start:.0f} | {memory(server):.0f} | {seen.done} | {seen.sessions} |")
    return seen


def alone(url: str, options: argparse.Namespace) -> Seen:
    """One user, two rounds; the first warms."""
    client, seen = Client(url, verbose=False), Seen()
    for number in range(3):
        seen = Seen() if number == 0 else seen
        for name, values in actions(100 + number, options.steps):
            _act(client, name, values, seen if number else Seen())
    client.close()
    return seen


def report(single: Seen, crowd: Seen) -> None:
    """Waiting as ratios to one user's."""
    print("| action | done | one user, s | median, times that | longest, times that |\n|---|---|---|---|---|")
    for name, found in crowd.times.items():
        base = statistics.median(single.times[name])
        row = [f"{statistics.median(found) / base:.1f}", f"{max(found) / base:.1f}"]
        print(f"| {name} | {len(found)} | {base:.2f} | {row[0]} | {row[1]} |")
    print(f"errors: {len(crowd.faults)} of {crowd.done + len(crowd.faults)} actions in {crowd.sessions} sessions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--steps", type=int, default=4, help="denoising steps of the users' pictures")
    parser.add_argument("--rounds", type=int, default=2, help="rounds of a session")
    parser.add_argument("--every", type=float, default=30, help="seconds between two looks at the memory")
    parser.add_argument("--port", type=int, default=7899)
    options = parser.parse_args()
    with served(PAGE, options.port) as (url, server):
        single = alone(url, options)
        print(f"processes waiting on the machine: {os.getloadavg()[0]:.1f}; memory {memory(server):.0f} MB", flush=True)
        report(single, load(server, url, options))
        print(f"processes waiting on the machine at the end: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
