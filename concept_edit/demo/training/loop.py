"""One training loop for every part of the embedded model: accelerate, EMA, a loss log, checkpoints to resume from.

Step `n` draws all its randomness from seed and `n` alone, so a run that was broken off and resumed makes the same
steps as one that was not. Ctrl-C leaves a checkpoint behind.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from diffusers.training_utils import EMAModel
from torch import Tensor, nn
from tqdm import tqdm

LossFunction = Callable[[Any, torch.Generator], Tensor]
Show = Callable[[Any, Path], None]
Trained = TypeVar("Trained", bound=nn.Module)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: warm-up, then a cosine down to a twentieth of `rate`."""

    steps: int
    rate: float
    warmup: int = 100
    ema: float = 0.999
    seed: int = 0
    weight_decay: float = 0.01
    save_every: int = 250

    def rate_at(self, step: int) -> float:
        ramp = min(1.0, (step + 1) / self.warmup)
        return self.rate * ramp * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.steps))))


def run(
    model: Trained,
    loss: LossFunction,
    schedule: Schedule,
    folder: Path,
    *,
    show: Show | None = None,
    stop_after: int | None = None,
) -> Trained:
    """Train `model` in place up to `schedule.steps` and leave its EMA weights in it.

    Resumes from `folder/checkpoint.pt`. `show` gets the EMA model and a file stem at every save, for sample grids.
    `stop_after` ends this process's part early (the checkpoint stays, and EMA weights are in the model).
    """
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    optimizer = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=schedule.weight_decay)
    ema = EMAModel(model.parameters(), decay=schedule.ema, use_ema_warmup=True, power=0.75)
    start = _resume(folder, model, optimizer, ema)
    trained, optimizer = accelerator.prepare(model, optimizer)
    ema.to(accelerator.device)
    end = schedule.steps if stop_after is None else min(schedule.steps, start + stop_after)
    bar = tqdm(range(start, end), initial=start, total=schedule.steps, mininterval=10, desc=folder.name)
    mean = None
    done = start
    try:
        for step in bar:
            value = _step(accelerator, trained, loss, optimizer, schedule, step)
            ema.step(model.parameters())
            done = step + 1
            mean = value if mean is None else 0.98 * mean + 0.02 * value
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
            if done % schedule.save_every == 0 or done == end:
                _save(folder, model, optimizer, ema, done)
                _report(folder, model, ema, done, mean, show)
    except KeyboardInterrupt:
        _save(folder, model, optimizer, ema, done)
        raise
    ema.copy_to(model.parameters())
    return model


def _report(folder: Path, model: nn.Module, ema: EMAModel, step: int, loss: float, show: Show | None) -> None:
    """Append to the loss log, and show the EMA weights' pictures."""
    with (folder / "log.jsonl").open("a") as log:
        log.write(json.dumps({"step": step, "loss": round(loss, 5)}) + "\n")
    if show is not None:
        ema.store(model.parameters())
        ema.copy_to(model.parameters())
        show(model, folder / f"step_{step:06d}")
        ema.restore(model.parameters())


def _step(accelerator: Any, model: Any, loss: LossFunction, optimizer: Any, schedule: Schedule, step: int) -> float:
    seed = schedule.seed * 1_000_003 + step * 131 + accelerator.process_index
    torch.manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate_at(step)
    with accelerator.autocast():
        value = loss(model, torch.Generator().manual_seed(seed))
    accelerator.backward(value)
    accelerator.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(value.detach())


def _save(folder: Path, model: nn.Module, optimizer: Any, ema: EMAModel, step: int) -> None:
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema.state_dict(), "step": step}
    torch.save(state, folder / "checkpoint.part")
    os.replace(folder / "checkpoint.part", folder / "checkpoint.pt")


def _resume(folder: Path, model: nn.Module, optimizer: Any, ema: EMAModel) -> int:
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    ema.load_state_dict(state["ema"])
    return state["step"]


def steps_done(folder: Path) -> int:
    """Steps of the run whose checkpoint lies here; 0 where none does."""
    path = folder / "checkpoint.pt"
    return torch.load(path, map_location="cpu", weights_only=True)["step"] if path.exists() else 0


def load_ema(model: Trained, folder: Path) -> Trained:
    """Put the EMA weights of a run's checkpoint into `model`."""
    state = torch.load(folder / "checkpoint.pt", map_location="cpu", weights_only=True)
    for parameter, value in zip(model.parameters(), state["ema"]["shadow_params"], strict=True):
        parameter.data.copy_(value)
    return model
