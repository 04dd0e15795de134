"""Network Dissection on what ships: the units of the embedded rooms, and of the judge that names the embedded pictures.

    python benchmarks/dissect.py --out out/dissect [--only rooms causes judge painter]

Rooms: labels by IoU with what the embedded segmenter sees in them, and with the renderer's masks. Two controls: the
masks of other rooms, which keep where things usually stand and lose what each room shows, and masks mirrored from left
to right, which lose both. Causes: the units of a layer are removed one by one from some rooms; of each thing those
that take most of its area away are then removed, and inserted where it is not, in other rooms, in sets of 1, 2, 4, ...
against as many drawn at random and all of the layer; the same for the units of the highest IoU. Judge: pictures that
the embedded model paints, labels by the colour that is painted where a unit fires; then units are removed, those that a
class needs most in sets of 1, 2, 4, ... against as many drawn at random, and flips are told. Painter: the units of the
embedded model's UNet, named by its CLIP from the pictures in which they are highest; the control has these shuffled.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

import concept_edit as ce
import styles
from concept_edit.demo import load_clip, load_judge
from concept_edit.demo.concepts import CONCEPTS, caption
from concept_edit.demo.judge import CONCEPT_NAMES, as_pictures
from styles.demo.measure import HELD_OUT, draw
from styles.dissection.activations import maps_of, maps_while, pictures_of
from styles.dissection.intervention import AreaChange, area_changes, forced
from styles.dissection.marks import embedded_masks
from styles.dissection.removal import importance, removed
from styles.dissection.report import sheet
from styles.dissection.segmenter import Segmenter, load_segmenter, seen_in
from styles.dissection.units import Dissection, labelled
from styles.generator import Generator

COLOURS = {
    "red": (0.85, 0.15, 0.15), "orange": (0.95, 0.6, 0.2), "yellow": (0.98, 0.85, 0.25), "green": (0.35, 0.65, 0.25),
    "blue": (0.3, 0.6, 0.9), "purple": (0.55, 0.35, 0.7), "pink": (0.95, 0.45, 0.6), "brown": (0.5, 0.3, 0.2),
    "grey": (0.6, 0.65, 0.7), "black": (0.15, 0.15, 0.18), "white": (1.0, 1.0, 1.0),
}  # fmt: skip
SETS = (1, 2, 4, 8, 16)
CLASSES = ("bomb", "panda", "farmer", "sun")


def colours(pictures: Tensor) -> dict[str, Tensor]:
    """Each pixel's nearest colour name; names that no picture shows are left out."""
    points = torch.tensor(list(COLOURS.values()))
    shown = (pictures.clamp(-1, 1) + 1) / 2
    nearest = (shown[:, None] - points[None, :, :, None, None]).square().sum(2).argmin(1)
    found = {name: nearest == i for i, name in enumerate(COLOURS)}
    return {name: mask for name, mask in found.items() if bool(mask.any())}


def told(found: Dissection, *controls: Dissection) -> str:
    """A line of the table."""
    what = ", ".join(f"{n} {name}" for name, n in found.counts().items()) or "none"
    share = f"{len(found.detectors())} of {len(found.units)}"
    best = [f"{len(each.detectors())}, {max(unit.iou for unit in each.units):.2f}" for each in controls]
    sure = sum(unit.iou > max(other.iou for other in controls[-1].units) for unit in found.detectors())
    cells = (found.layer, share, what, f"{found.detectors()[0].iou:.2f}", *best, str(sure))
    return f"| {' | '.join(cells)} |"


HEAD = (
    "| layer | detectors | of | best IoU | masks of other pictures: detectors, best IoU | mirrored masks: the same "
    "| detectors above all mirrored |\n|---|---|---|---|---|---|---|"
)


def last_layers(model: Generator, count: int = 4) -> list[str]:
    """The second convolutions of the last blocks."""
    return [layer.name for layer in model.layers if layer.name.endswith(".conv1")][-count:]


def rooms(out: Path, count: int) -> None:
    """The generator's units."""
    model = styles.load_generator("demo", device="cpu")
    z = model.sample_z(range(count))
    w = model.map(z)
    pictures = pictures_of(model, w)
    said = embedded_masks(z, size=model.config.resolution)
    seen = seen_in(load_segmenter("demo", device="cpu"), pictures)
    layers = last_layers(model)
    for who, masks in (("the segmenter sees", seen), ("the renderer says", said)):
        others = {name: mask.roll(count // 2, dims=0) for name, mask in masks.items()}
        mirrored = {name: mask.flip(-1) for name, mask in masks.items()}
        print(f"## Rooms: {count}, what {who}\n\n{HEAD}")
        for layer in layers:
            maps = maps_of(model, layer, w)
            found = labelled(layer, maps, masks)
            print(told(found, *(labelled(layer, maps, control) for control in (others, mirrored))), flush=True)
            if layer == layers[-2] and masks is seen:
                sheet(found, maps, pictures, units=6, each=2).save(out / "dissect_rooms.png")
        print()


def causes(count: int, screened: int) -> None:
    """Units removed and inserted in the generator."""
    model, seer = styles.load_generator("demo", device="cpu"), load_segmenter("demo", device="cpu")
    w, other = model.map(draw(HELD_OUT + 101, screened)), model.map(draw(HELD_OUT + 102, count))
    seen, layers = seen_in(seer, pictures_of(model, w)), last_layers(model)
    found = {layer: labelled(layer, maps_of(model, layer, w), seen) for layer in layers}
    alone = {layer: lost(model, layer, w, seer) for layer in layers}
    print(f"## Causes: units chosen in {screened} rooms, measured in {count} others\n\n{CAUSES}")
    for thing in THINGS:
        layer = max(layers, key=lambda name: float(alone[name][thing].topk(4).values.sum()))
        units = len(found[layer].units)
        orders = {
            "take most away": alone[layer][thing].argsort(descending=True).tolist(),
            "highest IoU": [unit.channel for unit in found[layer].detectors(thing)],
            "random": torch.randperm(units, generator=torch.Generator().manual_seed(7)).tolist(),
        }
        for name, order in orders.items():
            sizes = [size for size in SETS[:4] if size <= len(order)]
            sets = [order[:size] for size in (sizes if name == "take most away" else sizes[-1:])]
            sets += [order] if name == "random" else []
            for change in area_changes(model, layer, sets, other, seer, concept=thing) if sets else []:
                who = "all" if len(change.units) == units else name
                print(cause(thing, layer, who, change), flush=True)


def lost(model: Generator, layer: str, w: Tensor, seer: Segmenter) -> dict[str, Tensor]:
    """How much of each thing's area goes without each unit alone."""

    def areas(units: list[int]) -> Tensor:
        with forced(model, layer, units):
            found = seer.masks(pictures_of(model, w), THINGS)
        return torch.stack([found[thing].float().mean() for thing in THINGS])

    rest = torch.stack([areas([unit]) for unit in range(model.layer(layer).channels)])
    return dict(zip(THINGS, (areas([]) - rest).T, strict=True))


CAUSES = (
    "| thing | layer | units | how many | area, % of the picture | without them | inserted | others move without them |"
    "\n|---|---|---|---|---|---|---|---|"
)
THINGS = ("shade", "pendant", "window", "picture", "bed")


def cause(thing: str, layer: str, name: str, change: AreaChange) -> str:
    """A line of the table: areas in %, and the mean change of the other things' areas relative to them."""
    others = [key for key in THINGS if key != thing and change.whole[key] > 0]
    rest = [abs(change.removed[key] / change.whole[key] - 1) for key in others]
    areas = [f"{100 * each[thing]:.2f}" for each in (change.whole, change.removed, change.inserted)]
    cells = (thing, layer, name, str(len(change.units)), *areas, f"{sum(rest) / len(rest):.0%}")
    return f"| {' | '.join(cells)} |"


def judge(out: Path, each: int) -> None:
    """The judge's units."""
    model, network = ce.open_model("demo"), load_judge().network
    names = [concept.name for concept in CONCEPTS]
    prompts = [caption("a {thing}", name) for name in names for _ in range(each)]
    images = model.generate(prompts, [6000 + i for i in range(len(prompts))], steps=10, batch_size=24)
    pictures, labels = as_pictures(images), torch.tensor([names.index(n) for n in names for _ in range(each)])
    masks = colours(pictures)
    draw = torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    print(f"\n## Judge: {len(pictures)} pictures\n\n{HEAD}")
    for layer in ("body.3", "body.7", "body.11"):
        maps = maps_of(network, layer, pictures)
        found = labelled(layer, maps, masks)
        controls = ({n: m[draw] for n, m in masks.items()}, {n: m.flip(-1) for n, m in masks.items()})
        print(told(found, *(labelled(layer, maps, control) for control in controls)), flush=True)
        if layer == "body.3":
            sheet(found, maps, pictures, units=6, each=1).save(out / "dissect_judge.png")
    needed(network, pictures, labels)


def needed(network: torch.nn.Module, pictures: Tensor, labels: Tensor) -> None:
    """Units that a class needs."""
    classes, layer = len(CONCEPT_NAMES), "body.11"

    def answer(logits: Tensor) -> Tensor:
        return logits[:, :classes].argmax(dim=1)

    print("\n| class | units removed | named right | the others | random units: named right | what it becomes |")
    print("|---|---|---|---|---|---|")
    for name in CLASSES:
        of = CONCEPT_NAMES.index(name)
        given = {"classes": classes, "answer": answer}
        own = pictures[labels == of]
        order = importance(network, layer, own, of, units=96, logits=lambda out: out[:, :classes])
        chance = torch.randperm(96, generator=torch.Generator().manual_seed(of)).tolist()
        for count in (0, *SETS):
            cut, random = removed(network, layer, [order[:count], chance[:count]], pictures, labels, **given)
            others = [value for k, value in enumerate(cut.by_class) if k != of and value == value]
            flips = [f"{CONCEPT_NAMES[b]} ({n})" for a, b, n in cut.flips if a == of][:2]
            print(
                f"| {name} | {count} | {cut.by_class[of]:.2f} | {sum(others) / len(others):.2f} "
                f"| {random.by_class[of]:.2f} | {', '.join(flips) or '-'} |",
                flush=True,
            )


def painter(out: Path) -> None:
    """The UNet's units by SoftWPMI: how many of a unit's four highest pictures are of the concept that names it."""
    model, clip = ce.open_model("demo", device="cpu"), load_clip()
    names = [concept.name for concept in CONCEPTS]
    own = [name for name in names for _ in range(3)]
    print(f"\n## Painter: {len(own)} pictures\n\n| layer | named units | names | of it among the top four | shuffled |")
    print("|---|---|---|---|---|")
    for layer in ("down_blocks.1.resnets.0", "mid_block.resnets.1", "up_blocks.1.resnets.0"):

        def paint(index: int) -> Image:
            return model.generate([caption("a {thing}", own[index])], [6500 + index], steps=6)[0]

        maps, images = maps_while(model.pipeline.unet, layer, paint, len(own))
        order = torch.randperm(len(own), generator=torch.Generator().manual_seed(0)).tolist()
        found = labelled(layer, maps, names, clip=clip, pictures=images)
        control = labelled(layer, maps, names, clip=clip, pictures=[images[k] for k in order])
        told = [hits(each, own) for each in (found, control)]
        counts = ", ".join(f"{n} {name}" for name, n in list(found.counts().items())[:5])
        named = f"{len(found.detectors())} of {len(found.units)}"
        print(f"| {layer} | {named} | {counts}, ... | {told[0]:.2f} | {told[1]:.2f} |", flush=True)
        if layer.startswith("mid"):
            sheet(found, maps, as_pictures(images), units=6, each=1).save(out / "dissect_painter.png")


def hits(found: Dissection, own: Sequence[str]) -> float:
    """Share of the top four pictures of the named units that are of the concept, the mean over them."""
    shares = [sum(own[k] == unit.label for k in unit.top[:4]) / 4 for unit in found.detectors()]
    return sum(shares) / max(1, len(shares))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/dissect"))
    parser.add_argument("--rooms", type=int, default=300)
    parser.add_argument("--screened", type=int, default=60, help="rooms in which units are chosen for what they cause")
    parser.add_argument("--only", nargs="+", default=["rooms", "causes", "judge", "painter"], help="which parts to run")
    parser.add_argument("--each", type=int, default=8, help="pictures of each concept for the judge")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        if "rooms" in args.only:
            rooms(args.out, args.rooms)
        if "causes" in args.only:
            causes(args.rooms, args.screened)
        if "judge" in args.only:
            judge(args.out, args.each)
        if "painter" in args.only:
            painter(args.out)


if __name__ == "__main__":
    main()
