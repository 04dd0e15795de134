"""Two people sign a release with keys of their own; anything else is refused."""

from __future__ import annotations

import shutil

import pytest
import tiny

import concept_edit as ce
from concept_edit.audit.release import EDIT, MANIFEST, read_manifest, write_release
from concept_edit.audit.signing import check_signatures, require_release, require_signatures, sign
from concept_edit.identity import canonical

pytest.importorskip("model_signing", reason="signing needs the extra [sign]")


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    """Private and public key files of three people."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    folder, plain = tmp_path_factory.mktemp("keys"), form.NoEncryption()
    for name in ("ada", "ben", "eve"):
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, plain)
        public = key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo)
        (folder / f"{name}.pem").write_bytes(private)
        (folder / f"{name}.pub").write_bytes(public)
    return folder


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


@pytest.fixture(scope="module")
def made(model, tmp_path_factory):
    return write_release(
        model, ce.solve(model, ce.Recipe(edits=[ce.Erase("apple")], method="uce")), tmp_path_factory.mktemp("made")
    )


@pytest.fixture
def release(made, tmp_path):
    return shutil.copytree(made.folder, tmp_path / "release")


def trusted(keys, *names):
    return {name: keys / f"{name}.pub" for name in names or ("ada", "ben")}


def test_two_people_make_a_release(release, keys):
    sign(release, "ada", keys / "ada.pem")
    with pytest.raises(ValueError, match="1 of 2 signatures: ben has not signed"):
        require_signatures(release, trusted(keys))
    sign(release, "ben", keys / "ben.pem")
    require_signatures(release, trusted(keys))


def test_one_person_with_two_names_is_refused(release, keys, tmp_path):
    sign(release, "ada", keys / "ada.pem")
    with pytest.raises(ValueError, match="ada has signed with this very key"):
        sign(release, "ben", keys / "ada.pem")
    shutil.copy(keys / "ada.pub", tmp_path / "ben.pub")
    with pytest.raises(ValueError, match="same public key"):
        require_signatures(release, {"ada": keys / "ada.pub", "ben": tmp_path / "ben.pub"})


def test_a_stranger_cannot_sign_as_somebody_else(release, keys):
    sign(release, "ada", keys / "eve.pem")
    (found,) = check_signatures(release, trusted(keys, "ada"))
    assert not found.ok


def test_a_manifest_changed_after_signing_is_found(release, keys):
    sign(release, "ada", keys / "ada.pem")
    manifest, _ = read_manifest(release / MANIFEST)
    manifest["decision"]["text"] = "ship"
    (release / MANIFEST).write_bytes(canonical(manifest))
    (found,) = check_signatures(release, trusted(keys, "ada"))
    assert not found.ok


def test_a_signature_replayed_on_another_release_is_found(release, model, keys, tmp_path):
    sign(release, "ada", keys / "ada.pem")
    other = write_release(
        model, ce.solve(model, ce.Recipe(edits=[ce.Erase("village")], method="uce")), tmp_path / "other"
    ).folder
    shutil.copytree(release / "signatures", other / "signatures")
    (found,) = check_signatures(other, trusted(keys, "ada"))
    assert not found.ok
    assert (other / EDIT).is_file()


@pytest.mark.parametrize("name", ["", "../ada", "a b", ".ada"])
def test_names_that_cannot_be_files_are_refused(release, keys, name):
    with pytest.raises(ValueError, match="cannot name a signature"):
        sign(release, name, keys / "ada.pem")


def test_what_is_no_key_is_refused(release, keys):
    with pytest.raises(ValueError, match="no private key"):
        sign(release, "ada", keys / "ada.pub")


def test_a_checkpoint_of_a_reviewed_release_is_baked_only_when_both_have_signed(model, keys, tmp_path, monkeypatch):
    from concept_edit.__main__ import run
    from concept_edit.audit.release import Decision

    decision = Decision("for the library", ("ada", "ben"), (), "use the original")
    made = write_release(
        model, ce.solve(model, ce.Recipe(edits=[ce.Erase("apple")], method="uce")), tmp_path / "r", decision=decision
    )
    monkeypatch.setattr(ce, "open_model", lambda *_, **__: model)
    model_folder = tmp_path / "baked"
    asked = ["export", str(made.folder / EDIT), "--as", "diffusers", "--out", str(model_folder), "-q"]
    both = ["--keys", f"ada={keys / 'ada.pub'}; ben={keys / 'ben.pub'}"]
    with pytest.raises(ValueError, match="names ada, ben as reviewers"):
        require_release(made.folder / EDIT, model, {})
    sign(made.folder, "ada", keys / "ada.pem")
    assert run([*asked, *both]) == 2
    assert not model_folder.exists()
    sign(made.folder, "ben", keys / "ben.pem")
    require_release(made.folder / EDIT, model, trusted(keys))
    other = ce.solve(model, ce.Recipe(edits=[ce.Erase("pear")], method="uce"))
    other.save(made.folder / EDIT)
    with pytest.raises(ValueError, match="touched after it was signed"):
        require_release(made.folder / EDIT, model, trusted(keys))


def test_an_edit_of_no_release_is_baked_freely_unless_keys_are_asked_for(model, keys, tmp_path):
    ce.solve(model, ce.Recipe(edits=[ce.Erase("apple")], method="uce")).save(tmp_path / EDIT)
    require_release(tmp_path / EDIT, model, {})
    with pytest.raises(ValueError, match="belongs to no release"):
        require_release(tmp_path / EDIT, model, trusted(keys))
