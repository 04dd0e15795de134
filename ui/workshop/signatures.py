"""Who of a release's reviewers has signed it, and whether the signature is by a key that the visitor trusts."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from concept_edit.audit.release import MANIFEST, read_manifest
from concept_edit.audit.signing import FOLDER, NAME, NEEDED, check_signatures
from ui.workshop.errors import say


@dataclass(frozen=True)
class Signed:
    """One person's part."""

    name: str
    state: str
    """`trusted`: a valid signature by a trusted key. `unchecked`: a signature, but no key to check it with. `missing`:
    named as a reviewer, or trusted, and there is no signature. `wrong`: a signature that is not of this manifest by the
    trusted key."""
    text: str

    @property
    def ok(self) -> bool:
        """Whether it counts."""
        return self.state == "trusted"


def placed(files: Sequence[Path], folder: Path, ending: str) -> dict[str, Path]:
    """Copy uploaded signatures or keys to where they are looked for, named by person; name -> file.

    Raises:
        ValueError: a name that no person can sign with, or two files of one person.
    """
    found: dict[str, Path] = {}
    place = folder / (FOLDER if ending == ".sig" else "trusted")
    place.mkdir(parents=True, exist_ok=True)
    for path in files:
        if not re.fullmatch(NAME, path.stem) or path.suffix.lower() != ending:
            raise ValueError(f"{path.name} is no file of a person; name it as they sign, such as ada{ending}")
        if path.stem in found:
            raise ValueError(f"two files are named {path.name}; give one for each person")
        found[path.stem] = Path(shutil.copyfile(path, place / f"{path.stem}{ending}"))
    return found


def signed(folder: Path, trusted: dict[str, Path]) -> list[Signed]:
    """Everybody the manifest names as a reviewer, who has signed, or whose key is trusted. None without a manifest.

    Raises:
        ValueError: as `check_signatures` and `read_manifest`.
    """
    if not (folder / MANIFEST).is_file():
        return []
    reviewers = read_manifest(folder / MANIFEST)[0]["decision"]["reviewers"]
    there = {path.stem for path in (folder / FOLDER).glob("*.sig")}
    checked = dict(zip(trusted, check_signatures(folder, trusted), strict=True)) if trusted else {}
    found = []
    for name in dict.fromkeys([*reviewers, *sorted(there), *trusted]):
        if name not in there:
            found.append(Signed(name, "missing", f"{name} has not signed, or the signature was not given"))
        elif name not in checked:
            found.append(Signed(name, "unchecked", f"a signature of {name} is there; give the public key you trust"))
        else:
            found.append(Signed(name, "trusted" if checked[name].ok else "wrong", say(ValueError(checked[name].text))))
    return found


def verdict(found: Sequence[Signed]) -> str:
    """In a sentence; empty where nobody is named."""
    if not found:
        return ""
    good = [each.name for each in found if each.ok]
    wrong = [each.name for each in found if each.state == "wrong"]
    if wrong:
        return f"Not by the key you trust, or not of this manifest: the signature of {', '.join(wrong)}."
    if len(good) >= NEEDED:
        return f"Signed by {', '.join(good)}, whose keys you trust."
    by = f" ({', '.join(good)})" if good else ""
    return f"{len(good)} of {NEEDED} trusted signatures{by}: it may not be baked into a model yet."
