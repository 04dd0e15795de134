"""What the distribution promises: it builds, holds its data, and works from an installed wheel without a network."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NO_NETWORK = """
import socket
def refused(*args, **kwargs): raise OSError("no network in this test")
socket.socket.connect = refused; socket.create_connection = refused; socket.getaddrinfo = refused
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked as an installer would."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", str(folder), str(ROOT)], check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def python(site: Path, code: str) -> str:
    env = os.environ | {"PYTHONPATH": str(site), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK + code], env=env, cwd=site.parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_embedded_model_paints_from_an_installed_wheel_without_a_network(installed: Path) -> None:
    code = """
import concept_edit as ce
model = ce.open_model("demo")
image, = model.generate(["a red apple"], seeds=[3], steps=2)
print(ce.__file__, image.size)
"""
    where, size = python(installed, code).split(" ", 1)
    assert Path(where).is_relative_to(installed)
    assert size == "(64, 64)"


def test_the_embedded_judges_load_from_an_installed_wheel(installed: Path) -> None:
    code = """
from PIL import Image
from concept_edit.demo import load_clip, load_judge
white = Image.new("RGB", (64, 64), "white")
print([load_judge(kind)([white])[0].concept for kind in ("cnn", "vit")], load_clip()(["art"], [white]).shape)
"""
    assert "torch.Size([1])" in python(installed, code)


def test_the_wheel_holds_types_licence_and_no_training_leftovers(installed: Path) -> None:
    names = {p.relative_to(installed).as_posix() for p in installed.rglob("*") if p.is_file()}
    assert "concept_edit/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if name.endswith((".pt", ".part", ".pkl"))]


def test_the_version_has_one_home(installed: Path) -> None:
    import concept_edit

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    (metadata,) = installed.glob("*.dist-info/METADATA")
    assert f"Version: {concept_edit.__version__}\n" in metadata.read_text()


def test_the_tree_stays_small() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout, so there is no list of tracked files to add up")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(f.stat().st_size for f in files if f.is_file()) < 70e6
