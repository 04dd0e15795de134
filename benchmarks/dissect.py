"""Network Dissection on what ships: the units of the embedded rooms, and of the judge that names the embedded pictures.

    python benchmarks/dissect.py --out out/dissect

Rooms: labels by IoU with the renderer's masks. Two controls: the masks of other rooms, which keep where things usually
stand and lose what each room shows, and masks mirrored from left to right, which lose both. Judge: pictures that the
embedded model paints, labels by the colour that is painted where a unit fires; then units are removed, those that a
class needs most in sets of 1, 2, 4, ... against as many drawn at random, and flips are told.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import concept_edit as ce
import styles
from concept_edit.demo import load_judge
from concept_edit.demo.concepts import CONCEPTS, caption
from concept_edit.demo.judge import CONCEPT_NAMES, as_pictures
from styles.dissection.activations import maps_of
from styles.dissection.marks import embedded_masks
from styles.dissection.removal import importance, removed
from styles.dissection.report import sheet
from styles.dissection.units import Dissection, labelled

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


def rooms(out: Path, count: int) -> None:
    """The generator's units."""
    model = styles.load_generator("demo")
    seeds = range(count)
    z = model.sample_z(seeds)
    w, masks = model.map(z), embedded_masks(z)
    others = {name: mask.roll(count // 2, dims=0) for name, mask in masks.items()}
    mirrored = {name: mask.flip(-1) for name, mask in masks.items()}
    print(f"## Rooms: {count}\n\n{HEAD}")
    for layer in ("b8.conv1", "b16.conv1", "b32.conv1", "b64.conv1"):
        maps = maps_of(model, layer, w)
        found = labelled(layer, maps, masks)
        print(told(found, *(labelled(layer, maps, control) for control in (others, mirrored))), flush=True)
        if layer == "b32.conv1":
            picture = sheet(found, maps, model.synthesize(w), units=6, each=2)
            picture.save(out / "dissect_rooms.png")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/dissect"))
    parser.add_argument("--rooms", type=int, default=300)
    parser.add_argument("--each", type=int, default=8, help="pictures of each concept for the judge")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        rooms(args.out, args.rooms)
        judge(args.out, args.each)


if __name__ == "__main__":
    main()
