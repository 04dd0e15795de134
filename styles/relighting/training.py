"""Train a relighter: resumable, with averaged weights, a loss log and a file of weights at the end.

    out/checkpoint.pt   out/relighter.safetensors   out/log.jsonl

Step `n` draws all its randomness from seed and `n` alone, so a run that was broken off and resumed makes the same steps
as one that was not; the steps since the last checkpoint are made again.
"""

from __future__ import annotations

import hashlib
import json
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from styles.files import whole
from styles.reading import sentence
from styles.relighting.batches import Batch, Pairs
from styles.relighting.network import WIDTHS, Relighter

FORMAT = "styles.relighter-run/1"
_DAMAGED = (pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError)


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and on what sizes: warm-up, then a cosine down to a fiftieth of `rate`."""

    steps: int = 6000
    rate: float = 2e-3
    warmup: int = 100
    batch: int = 16
    """Pictures of the smallest size in a step; of larger ones so many that a step costs about the same."""
    sizes: tuple[int, ...] = (64, 64, 96)
    """Sides in pixels, one drawn for each step."""
    average: float = 0.999
    seed: int = 0
    save_every: int = 250

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.save_every < 1 or not self.sizes or min(self.sizes) < 16:
            raise ValueError(
                "steps, batch and save_every must be at least 1 and sizes at least 16 pixels, got "
                f"{self.steps}, {self.batch}, {self.save_every} and {self.sizes}."
            )

    def rate_at(self, step: int) -> float:
        """The learning rate of a step."""
        ramp = min(1.0, (step + 1) / self.warmup)
        return self.rate * ramp * (0.51 + 0.49 * math.cos(math.pi * min(1.0, step / self.steps)))

    def drawn(self, pairs: Pairs, step: int) -> Batch:
        """The batch of a step."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        size = self.sizes[int(torch.randint(len(self.sizes), (1,), generator=generator))]
        return pairs.draw(max(1, round(self.batch * (min(self.sizes) / size) ** 2)), size, generator)


def train_relighter(
    pairs: Pairs | str | Path,
    out: str | Path,
    *,
    schedule: Schedule | None = None,
    widths: Sequence[int] = WIDTHS,
    start: Relighter | None = None,
    until: int | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Relighter:
    """Train a network on pairs of pictures, and leave it in `out/relighter.safetensors`; a killed run goes on.

    `pairs`: "rooms" (`RenderedPairs`), "switch" (the embedded generator under the switch that `solve_control` finds on
    four of its lamps), the folder of `FolderPairs`, or any object with their `draw` and `note`. `start`, such as
    `load_relighter("demo")`, is a network that learns on instead of a fresh one of these `widths`. `until` ends this
    call early at that step of the schedule. `progress(step, steps, loss)` is called after every step.

    Returns the network with averaged weights. It runs where accelerate puts it.

    Raises:
        ValueError: pairs that are damaged, settings that make no sense, or a folder of another run.
        OSError: the folder cannot be written.
    """
    source, plan, root = pairs_from(pairs), schedule or Schedule(), Path(out)
    root.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    shape = tuple(widths) if start is None else start.widths
    live, slow = (Relighter(widths=shape, side=max(plan.sizes)) for _ in range(2))
    slow.load_state_dict(live.state_dict() if start is None else start.state_dict())
    live.load_state_dict(slow.state_dict())
    optimizer = torch.optim.AdamW(live.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=1e-4)
    run = _Run(root, live, slow, optimizer, _settings(plan, live, source, start))
    first = run.resume()
    accelerator = Accelerator()
    trained, optimizer = accelerator.prepare(live, optimizer)
    slow.to(accelerator.device)
    end = min(plan.steps, until or plan.steps)
    for done in range(first + 1, end + 1):
        loss = _step(accelerator, trained, optimizer, plan, source, done - 1)
        average(slow, live, min(plan.average, done / (19 + done)))
        if done % plan.save_every == 0 or done == end:
            run.save(done, loss)
        if progress is not None:
            progress(done, plan.steps, loss)
    slow.save(root / "relighter.safetensors", note=source.note)
    return slow.eval().requires_grad_(False)


def pairs_from(source: Pairs | str | Path) -> Pairs:
    """A source of pairs from its name; what is one already is handed back."""
    from styles.relighting.photographs import FolderPairs
    from styles.relighting.rooms import RenderedPairs, switched_rooms

    if not isinstance(source, str | Path):
        return source
    if source == "rooms":
        return RenderedPairs(device=Accelerator().device)
    return switched_rooms() if source == "switch" else FolderPairs(source)


def loss_of(painted: Tensor, batch: Batch) -> Tensor:
    """L1 + L2 of display values and L1 of their gradients; pixels that the lamp changes count up to four times."""
    weight = 1 + 3 * (batch.truth - batch.photos).abs().amax(1, keepdim=True).clamp_max(1)
    error = painted - batch.truth
    across, down = error[..., :, 1:] - error[..., :, :-1], error[..., 1:, :] - error[..., :-1, :]
    return (weight * (error.abs() + error.square())).mean() + 0.5 * (across.abs().mean() + down.abs().mean())


@torch.no_grad()
def average(slow: nn.Module, live: nn.Module, keep: float) -> None:
    """Exponential moving average of the weights."""
    torch._foreach_lerp_(list(slow.parameters()), list(live.parameters()), 1 - keep)


def _step(accelerator: Any, net: Any, optimizer: Any, plan: Schedule, pairs: Pairs, step: int) -> float:
    batch = plan.drawn(pairs, step)
    batch = Batch(*(part.to(accelerator.device) for part in vars(batch).values()))
    for group in optimizer.param_groups:
        group["lr"] = plan.rate_at(step)
    loss = loss_of(net(batch.photos, batch.fractions, batch.masks), batch)
    optimizer.zero_grad()
    accelerator.backward(loss)
    accelerator.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def _settings(plan: Schedule, net: Relighter, source: Pairs, start: Relighter | None) -> dict[str, Any]:
    """What a run's steps depend on."""
    plain = {key: value for key, value in asdict(plan).items() if key != "save_every"}
    begun = "fresh" if start is None else _digest(start)
    named = {"format": FORMAT, "widths": net.widths, "pairs": source.note, "start": begun}
    return json.loads(json.dumps({**named, **plain}))


def _digest(net: Relighter) -> str:
    """SHA-256 of a network's weights."""
    weights = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        weights.update(name.encode() + value.detach().float().cpu().contiguous().numpy().tobytes())
    return weights.hexdigest()


@dataclass
class _Run:
    """The folder of a run: checkpoint and log."""

    root: Path
    live: Relighter
    slow: Relighter
    optimizer: torch.optim.Optimizer
    settings: dict[str, Any]

    def save(self, step: int, loss: float) -> None:
        state = {
            "settings": json.dumps(self.settings),
            "step": step,
            "live": self.live.state_dict(),
            "slow": self.slow.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with whole(self.root / "checkpoint.pt") as part:
            torch.save(state, part)
        with (self.root / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "loss": round(loss, 5)}) + "\n")

    def resume(self) -> int:
        """Take up the folder's checkpoint, if there is one; the step to go on with."""
        path = self.root / "checkpoint.pt"
        if not path.is_file():
            return 0
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            found = json.loads(state["settings"])
            other = [key for key in self.settings if found.get(key) != self.settings[key]]
            if not other:
                self.live.load_state_dict(state["live"])
                self.slow.load_state_dict(state["slow"])
                self.optimizer.load_state_dict(state["optimizer"])
            step = int(state["step"])
        except _DAMAGED as error:
            raise ValueError(f"{path} is damaged ({sentence(error)}); delete it, or name another folder.") from None
        if other:
            raise ValueError(f"{self.root} holds another run (another {', '.join(other)}); name another folder.")
        return step
