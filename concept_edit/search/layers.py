"""Which layers' matrices an edit should change: windows of cross-attention layers, judged on pictures.

LocoGen (Basu et al., ICML 2024) gives a window of cross-attention layers another prompt's embedding, and looks where
the picture changes. An edit does just that to the rows of its concepts, W' = W (I + A) with one A for all matrices of
a stream; so a window is the same edit written into fewer matrices, and one solve serves the whole search.

    found = search_layers(model, edit)
    print(found.to_markdown())
    fewer = ce.solve(model, found.recipe())
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL.Image import Image

from concept_edit.edit import Edit
from concept_edit.evaluation.instruments import Labeller, embedded_instruments, named
from concept_edit.evaluation.intervals import wilson
from concept_edit.evaluation.run import Settings
from concept_edit.models.contract import Model
from concept_edit.recipe import Erase, Moderate, Recipe, normal


@dataclass(frozen=True)
class Window:
    """Neighbouring layers, and what pictures show where only their matrices are changed."""

    layers: tuple[str, ...]
    """Modules in the order of the denoiser; empty: nothing is changed."""
    left: tuple[int, int]
    """Pictures of erased concepts that still show them, and all."""
    kept: tuple[int, int]
    """Pictures of other concepts that show them, and all."""

    @property
    def left_share(self) -> float:
        """Of the pictures of erased concepts."""
        return self.left[0] / self.left[1]

    @property
    def kept_share(self) -> float:
        """Of the pictures of others."""
        return self.kept[0] / self.kept[1]


@dataclass(frozen=True)
class LayerSearch:
    """Every window tried."""

    asked: Recipe
    """The recipe of the edit."""
    labeller: str
    """What named the pictures, with its version."""
    before: Window
    """The unedited model."""
    windows: tuple[Window, ...]
    """All layers first, then by size and place."""

    @property
    def everywhere(self) -> Window:
        """The edit in all its matrices."""
        return self.windows[0]

    @property
    def best(self) -> Window:
        """Of the windows that leave no more than all layers do, the one that keeps most; of equals the smallest."""
        enough = [window for window in self.windows if window.left_share <= self.everywhere.left_share]
        return max(enough, key=lambda window: (window.kept_share, -window.left_share, -len(window.layers)))

    def recipe(self) -> Recipe:
        """The recipe with the best window as its layers; as it was where that is all of them."""
        if self.best is self.everywhere:
            return self.asked
        return self.asked.model_copy(update={"layers": tuple(f"{layer}.*" for layer in self.best.layers)})

    def sentence(self) -> str:
        """What was found."""
        best, every = self.best, self.everywhere
        if best is every:
            return f"No window leaves as little as all {len(every.layers)} layers and keeps more; keep them all."
        return (
            f"{_where(best.layers)} ({len(best.layers)} of {len(every.layers)} layers) leave {best.left_share:.2f} and "
            f"keep {best.kept_share:.2f}; all layers leave {every.left_share:.2f} and keep {every.kept_share:.2f}. "
            "Chosen on these pictures: measure the choice on others."
        )

    def to_markdown(self) -> str:
        """A table, the best window marked, with 95 % intervals."""
        lines = ["| layers | first to last | left | kept | |", "|---|---|---|---|---|"]
        for window in (self.before, *self.windows):
            mark = "chosen" if window is self.best else ""
            where = _where(window.layers) if window.layers else "the model as it is"
            cells = (str(len(window.layers)), where, _told(*window.left), _told(*window.kept), mark)
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join([*lines, "", f"{self.sentence()} Named by {self.labeller}."])


def layers_of(model: Model, recipe: Recipe) -> list[str]:
    """Modules whose matrices the recipe may change, each once, in the order of the denoiser."""
    sites = [site for site in model.sites if recipe.edits_layer(site.name, site.role)]
    return list(dict.fromkeys(site.name.rsplit(".", 2 if site.role in ("k", "v") else 1)[0] for site in sites))


def search_layers(
    model: Model,
    edit: Edit,
    labeller: Labeller | None = None,
    *,
    kept: Sequence[str] = (),
    sizes: Sequence[int] = (),
    wording: str = "a {}",
    seeds: Sequence[int] = (0, 1),
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LayerSearch:
    """Write the edit into every window of neighbouring layers in turn, and count what pictures show.

    `kept` are concepts that should stay, by default those that the recipe preserves and the labeller can name; `sizes`
    how many layers a window has, by default every number. Every window paints the same seeds.

    Raises:
        ValueError: a gate, or sliders, which leave nothing to count; a labeller that cannot name what is asked; no
            other concept to keep; a model with one such layer.
    """
    edit.refuse_gate("kept to some layers")
    told = labeller if labeller is not None else embedded_instruments()[0]
    gone = [item.concept for item in edit.recipe.edits if isinstance(item, Erase | Moderate)]
    stays = [name for name in (kept or edit.recipe.preserve) if normal(name) not in map(normal, gone)]
    gone, stays = ([name for name in names if _knows(told, name)] for names in (gone, stays))
    if not gone or not stays:
        raise ValueError(
            f"{told.name} cannot name any concept that is {'erased' if not gone else 'kept'}; "
            "windows are chosen by both: give concepts that it can tell"
        )
    places = layers_of(model, edit.recipe)
    if len(places) < 2:
        raise ValueError(f"{model.name} reads the text in one layer; there are no windows to choose from")
    asked = [(name, wording.replace("{}", name), seed) for name in (*gone, *stays) for seed in seeds]
    windows = _windows(places, sizes)
    found: list[Window] = []
    for done, window in enumerate([(), *windows]):
        names = tuple(f"{layer}.*" for layer in window)
        fewer = replace(edit, recipe=edit.recipe.model_copy(update={"layers": names}))
        with fewer.applied(model, 1.0 if window else 0.0):
            images = _painted(model, asked, settings or Settings(batch_size=16))
        shown, cut = _shown(told, images, [name for name, _, _ in asked]), len(gone) * len(seeds)
        found.append(Window(window, (sum(shown[:cut]), cut), (sum(shown[cut:]), len(shown) - cut)))
        if progress is not None:
            progress(done + 1, 1 + len(windows))
    return LayerSearch(edit.recipe, told.name, found[0], tuple(found[1:]))


def _windows(places: Sequence[str], sizes: Sequence[int]) -> list[tuple[str, ...]]:
    """All of them, then each run of each size."""
    wanted = [size for size in (sizes or range(1, len(places))) if 0 < size < len(places)]
    runs = [tuple(places[start : start + size]) for size in wanted for start in range(len(places) - size + 1)]
    return [tuple(places), *runs]


def _painted(model: Model, asked: Sequence[tuple[str, str, int]], settings: Settings) -> list[Image]:
    return model.generate([prompt for _, prompt, _ in asked], [seed for _, _, seed in asked], **vars(settings))


def _knows(labeller: Labeller, name: str) -> bool:
    return normal(name) in map(normal, labeller.choices(name))


def _shown(labeller: Labeller, images: Sequence[Image], names: Sequence[str]) -> list[bool]:
    """Whether each picture shows its name; those with the same choices are named together."""
    found = [False] * len(names)
    choices = [labeller.choices(name) for name in names]
    for some in dict.fromkeys(choices):
        places = [n for n, own in enumerate(choices) if own == some]
        for place, said in zip(places, named(labeller, [images[n] for n in places], some).tolist(), strict=True):
            found[place] = normal(some[said]) == normal(names[place])
    return found


def _where(layers: Sequence[str]) -> str:
    """The first and the last module, without what all transformer blocks are called."""
    ends = [layer.replace(".transformer_blocks", "").removesuffix(".attn2") for layer in (layers[0], layers[-1])]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _told(hits: int, n: int) -> str:
    low, high = wilson(hits, n)
    return f"{hits / n:.2f} ({low:.2f} to {high:.2f}), n {n}"
