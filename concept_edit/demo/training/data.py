"""Fetch the open emoji sets by name, rasterise them, and write what was used, with checksums and attribution.

    python -m concept_edit.demo.training.data --root work/demo

Everything is skipped that is already there and intact, so a broken-off run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from concept_edit.demo.concepts import CONCEPTS, STYLES, Concept, Style

PACKAGES = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/twemoji": "1.2.5",
    "@iconify-json/emojione": "1.2.3",
    "@lobehub/fluent-emoji-3d": "1.1.0",
    "emoji-datasource": "16.0.0",
}
PERSON = {"man": "1f468", "woman": "1f469"}
PIXELS = 96
"""Drawn larger than the model's 64 px, so that augmentation can move and scale without blur."""


@dataclass(frozen=True)
class Drawing:
    """One picture of the data set. `concept` is empty for emoji the prompts never name (they only widen the towers)."""

    file: str
    sha256: str
    style: str
    name: str
    concept: str = ""
    presentation: str = ""
    category: str = ""
    """Unicode's category, of emoji the prompts never name."""


def install(root: Path) -> Path:
    """Install the named npm packages (no scripts run) and return their folder."""
    root.mkdir(parents=True, exist_ok=True)
    modules = root / "node_modules"
    if all((modules / name / "package.json").exists() for name in PACKAGES):
        return modules
    (root / "package.json").write_text('{"private": true}')
    names = [f"{name}@{version}" for name, version in PACKAGES.items()]
    subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", *names], cwd=root, check=True)
    return modules


class EmojiSet:
    """One style's drawings by Unicode sequence."""

    def __init__(self, style: Style, modules: Path) -> None:
        self.style, self.folder = style, modules / style.package
        self.modules = modules

    @cached_property
    def icons(self) -> dict:
        return json.loads((self.folder / "icons.json").read_text())

    @cached_property
    def names(self) -> dict[str, str]:
        """Unicode sequence -> icon name. EmojiOne ships no sequences: it uses Noto's names for the same things."""
        names = json.loads((self.folder / "chars.json").read_text())
        if not names:
            noto = json.loads((self.modules / "@iconify-json/noto/chars.json").read_text())
            known = set(self.icons["icons"]) | set(self.icons.get("aliases", {}))
            names = {key: name for key, name in noto.items() if name in known}
        return names

    def draw(self, key: str) -> Image.Image | None:
        """The drawing on white, PIXELS square; None when the set has none."""
        for candidate in (key, key.replace("-fe0f", "")):
            if (self.folder / "assets").exists():
                path = self.folder / "assets" / f"{candidate}.webp"
                if path.exists():
                    return on_white(Image.open(path))
            elif candidate in self.names:
                return on_white(self.rasterise(self.names[candidate]))
        return None

    def rasterise(self, name: str) -> Image.Image:
        import cairosvg

        aliases = self.icons.get("aliases", {})
        icon = self.icons["icons"].get(name) or self.icons["icons"][aliases[name]["parent"]]
        width, height = (icon.get(side, self.icons[side]) for side in ("width", "height"))
        svg = (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'viewBox="0 0 {width} {height}">{icon["body"]}</svg>'
        )
        png = cairosvg.svg2png(svg.encode(), output_width=4 * PIXELS, output_height=4 * PIXELS)
        return Image.open(io.BytesIO(png))


def on_white(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA").resize((PIXELS, PIXELS), Image.Resampling.LANCZOS)
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image)
    return background.convert("RGB")


def sequences(concept: Concept) -> Iterator[tuple[str, str]]:
    """(presentation, Unicode sequence) of each drawing of a concept."""
    if concept.women is None:
        yield "", concept.key
    else:
        for presentation, person in PERSON.items():
            yield presentation, f"{person}-200d-{concept.key}"


def wanted(modules: Path, wide: bool) -> Iterator[tuple[str, dict[str, str]]]:
    """(sequence, the `Drawing` fields it sets): the prompts' concepts first, then the rest of Unicode."""
    seen = set()
    for concept in CONCEPTS:
        for presentation, key in sequences(concept):
            seen.add(key)
            name = f"{presentation} {concept.name}".strip()
            yield key, {"name": name, "concept": concept.name, "presentation": presentation}
    if wide:
        for row in json.loads((modules / "emoji-datasource/emoji.json").read_text()):
            key = row["unified"].lower()
            if key not in seen and row["category"] not in ("Flags", "Component"):
                yield key, {"name": row["name"].lower(), "category": row["category"]}


def rasterise_all(modules: Path, out: Path, wide: bool) -> list[Drawing]:
    sets = [EmojiSet(style, modules) for style in STYLES]
    rows = []
    for key, facts in tqdm(list(wanted(modules, wide)), desc="rasterise", unit="emoji"):
        for emoji in sets:
            path = out / emoji.style.name / f"{key}.png"
            image = None if path.exists() else emoji.draw(key)
            if image is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                partial = path.with_suffix(".part")
                image.save(partial, format="PNG")
                partial.rename(path)
            if path.exists():
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                file = str(path.relative_to(out))
                rows.append(Drawing(file, digest, emoji.style.name, **facts))
    return rows


def attribution() -> str:
    lines = [
        f"- {s.name}: {s.author}, package `{s.package}` {PACKAGES[s.package]}, licence {s.licence}" for s in STYLES
    ]
    lines.append(f"- names: package `emoji-datasource` {PACKAGES['emoji-datasource']}, licence MIT")
    return "\n".join(lines) + "\n"


def load(root: Path) -> list[Drawing]:
    """The drawings of a data set made by `main`, each checked to be the file that was recorded."""
    rows = [Drawing(**row) for row in json.loads((root / "drawings.json").read_text())]
    for row in rows:
        if hashlib.sha256((root / "drawings" / row.file).read_bytes()).hexdigest() != row.sha256:
            raise ValueError(
                f"{row.file} is not the drawing that was recorded; delete it and run the data script again"
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("work/demo"))
    parser.add_argument("--narrow", action="store_true", help="only the concepts the prompts name")
    args = parser.parse_args()
    modules = install(args.root)
    rows = rasterise_all(modules, args.root / "drawings", wide=not args.narrow)
    (args.root / "drawings.json").write_text(json.dumps([asdict(row) for row in rows], indent=0))
    (args.root / "ATTRIBUTION.md").write_text(attribution())
    print(f"{len(rows)} drawings, {sum(bool(r.concept) for r in rows)} of them named by prompts, in {args.root}")


if __name__ == "__main__":
    main()
