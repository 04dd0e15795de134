"""Two people vouch for a release: each signs its manifest with a key of their own (OpenSSF model signing, P-256 keys).

    sign("release", "ada", "ada.pem")
    sign("release", "ben", "ben.pem")
    require_signatures("release", {"ada": "ada.pub", "ben": "ben.pub"})

The manifest holds the hashes of everything else. A signature counts only with a public key the checker already trusts.
Needs the extra: pip install 'concept-edit[sign]'.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from concept_edit.audit.manifest import MANIFEST, read_manifest
from concept_edit.audit.verification import Finding, verify
from concept_edit.files import replace_file
from concept_edit.models.contract import Model
from concept_edit.unfinished import part_name

FOLDER = "signatures"
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""What a person can sign as: the signature's file has the name."""
NEEDED = 2
"""Trusted signatures that a release with reviewers needs before it may be baked in."""


def sign(
    folder: str | os.PathLike[str], name: str, private_key: str | os.PathLike[str], *, password: str | None = None
) -> Path:
    """Sign the manifest of a release as `name`; the signature file.

    Raises:
        ValueError: a name that cannot be a file's, a key that is no P-256, P-384 or P-521 key, a key that another name
            has signed with, a missing extra.
        OSError: no manifest there, or the signature cannot be written.
    """
    if not re.fullmatch(NAME, name):
        raise ValueError(f"{name!r} cannot name a signature; use letters, digits, '.', '_' and '-'")
    signing, _ = _package()
    manifest = Path(folder) / MANIFEST
    read_manifest(manifest)
    public = _public_pem(Path(private_key), password)
    place = Path(folder) / FOLDER
    place.mkdir(exist_ok=True)
    for other in sorted(place.glob("*.pub")):
        if other.stem != name and other.read_bytes() == public:
            raise ValueError(f"{other.stem} has signed with this very key; the second person needs a key of their own")
    target = place / f"{name}.sig"
    part = part_name(target)
    try:
        config = signing.Config().use_elliptic_key_signer(private_key=private_key, password=password)
        config.sign(manifest, part)
        replace_file(target, part.read_bytes())
    finally:
        part.unlink(missing_ok=True)
    replace_file(place / f"{name}.pub", public)
    return target


def check_signatures(folder: str | os.PathLike[str], trusted: Mapping[str, str | os.PathLike[str]]) -> list[Finding]:
    """One finding for each trusted person: whether their key signed this very manifest.

    Raises:
        ValueError: the extra is missing, or two names have one key.
        OSError: a public key cannot be read.
    """
    _, verifying = _package()
    keys = {name: Path(path).read_bytes().strip() for name, path in trusted.items()}
    if len(set(keys.values())) < len(keys):
        raise ValueError(f"{', '.join(keys)}: two of these names have the same public key; each person needs their own")
    return [_checked(Path(folder), name, Path(path), verifying) for name, path in trusted.items()]


def require_signatures(
    folder: str | os.PathLike[str], trusted: Mapping[str, str | os.PathLike[str]], *, count: int = NEEDED
) -> None:
    """Refuse a release that fewer than `count` trusted people have signed.

    Raises:
        ValueError: too few valid signatures; who is missing is named.
    """
    findings = check_signatures(folder, trusted)
    good = [finding for finding in findings if finding.ok]
    if len(good) < count:
        missing = "; ".join(finding.text for finding in findings if not finding.ok) or "nobody else is trusted"
        raise ValueError(f"{folder} has {len(good)} of {count} signatures: {missing}")


def require_release(edit: str | os.PathLike[str], model: Model, trusted: Mapping[str, str | os.PathLike[str]]) -> None:
    """Refuse to bake an edit whose release names reviewers before two trusted people have signed it, and a signed one
    that is no longer what they signed. An edit that belongs to no release with reviewers passes, unless `trusted` names
    somebody.

    Raises:
        ValueError: signatures missing, or a part touched since; each is named.
    """
    folder = Path(edit).parent
    manifest = folder / MANIFEST
    reviewers: Sequence[str] = ()
    if manifest.is_file():
        reviewers = read_manifest(manifest)[0]["decision"]["reviewers"]
    if not trusted and not reviewers:
        return
    if not manifest.is_file():
        raise ValueError(f"{edit} belongs to no release that could be signed; make one with concept-edit audit")
    if not trusted:
        raise ValueError(
            f"the release names {', '.join(reviewers)} as reviewers; name the public keys you trust, "
            f"as in --keys '{reviewers[0]}={reviewers[0]}.pub; ...', so that their signatures can be checked"
        )
    require_signatures(folder, trusted)
    found = verify(edit, model)
    if not found.ok:
        raise ValueError(f"the release was touched after it was signed: {', '.join(found.touched)}")


def _checked(folder: Path, name: str, key: Path, verifying: Any) -> Finding:
    signature = folder / FOLDER / f"{name}.sig"
    if not signature.is_file():
        return Finding("signatures", False, f"{name} has not signed")
    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).verify(folder / MANIFEST, signature)
    except Exception as error:
        return Finding("signatures", False, f"{name}'s signature is not of this manifest by this key ({error})")
    return Finding("signatures", True, f"{name} has signed this manifest")


def _public_pem(path: Path, password: str | None) -> bytes:
    from cryptography.hazmat.primitives import serialization

    try:
        key: Any = serialization.load_pem_private_key(path.read_bytes(), password.encode() if password else None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is no private key in PEM form, or its password is missing ({error})") from error
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))


def _package() -> tuple[Any, Any]:
    try:
        from model_signing import signing, verifying
    except ImportError as error:
        raise ValueError("signing needs the extra: pip install 'concept-edit[sign]'") from error
    return signing, verifying
