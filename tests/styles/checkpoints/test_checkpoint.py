"""Checkpoints: three formats in, one out, and hostile files that get nowhere."""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import pickle
import resource
import struct
import sys
import types
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from planted import tiny, vectors
from safetensors.torch import save_file

import styles
from styles.checkpoints.foreign import from_object
from styles.checkpoints.stored import Array, Record
from styles.checkpoints.torchfile import read_file
from styles.generator import Generator

TRAP = Path("trap")
NUMBER = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def same(first: Generator, second: Generator) -> None:
    assert first.config == second.config
    for (name, a), b in zip(first.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("options", [{}, {"architecture": "orig", "clamp": 256.0}, {"c_dim": 4, "mapping_width": 24}])
def test_safetensors_round_trip(options: dict[str, object], tmp_path: Path) -> None:
    model = tiny(**options)
    styles.save_generator(model, tmp_path / "g.safetensors")
    same(styles.load_generator(tmp_path / "g.safetensors"), model)
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


@pytest.mark.parametrize("name", ["sg2_32.pkl", "rosinality_64.pt"])
def test_convert_keeps_every_number(name: str, tmp_path: Path) -> None:
    made = styles.convert(vectors(name), tmp_path / "g.safetensors")
    same(styles.load_generator(tmp_path / "g.safetensors"), made)


def test_half_weights_are_near(model: Generator, tmp_path: Path) -> None:
    styles.save_generator(model, tmp_path / "g.safetensors", dtype="float16")
    half = styles.load_generator(tmp_path / "g.safetensors")
    w = model.map(model.sample_z([0]))
    assert 0 < float((half.synthesize(w) - model.synthesize(w)).abs().max()) < 0.05


def test_a_failed_save_leaves_the_old_file(model: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "g.safetensors"
    styles.save_generator(model, target)
    before = target.read_bytes()

    def broken(_: object, part: Path, **__: object) -> None:
        assert part != target
        part.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("styles.checkpoints.checkpoint.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        styles.save_generator(model, target)
    assert target.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["g.safetensors"]


def rosinality_names(model: Generator) -> dict[str, torch.Tensor]:
    """A generator's weights under rosinality's names, written out by hand as that code would store them."""
    state, made = model.state_dict(), {}
    made["input.input"] = state["synthesis.b4.const"][None]
    for i in range(model.config.mapping_layers):
        made[f"style.{i + 1}.weight"], made[f"style.{i + 1}.bias"] = (
            state[f"mapping.fc{i}.{part}"] for part in ("weight", "bias")
        )
    convs = [layer for layer in model.layers if layer.kind != "torgb"]
    for i, layer in enumerate(convs):
        new, old = "conv1" if i == 0 else f"convs.{i - 1}", f"synthesis.{layer.name}"
        made[f"{new}.conv.weight"] = state[f"{old}.weight"][None]
        made[f"{new}.conv.modulation.weight"] = state[f"{old}.affine.weight"]
        made[f"{new}.conv.modulation.bias"] = state[f"{old}.affine.bias"]
        made[f"{new}.noise.weight"] = state[f"{old}.noise_strength"].reshape(1)
        made[f"{new}.activate.bias"] = state[f"{old}.bias"]
        made[f"noises.noise_{i}"] = state[f"{old}.noise_const"][None, None]
    for i, layer in enumerate(layer for layer in model.layers if layer.kind == "torgb"):
        new, old = "to_rgb1" if i == 0 else f"to_rgbs.{i - 1}", f"synthesis.{layer.name}"
        made[f"{new}.conv.weight"] = state[f"{old}.weight"][None]
        made[f"{new}.conv.modulation.weight"] = state[f"{old}.affine.weight"]
        made[f"{new}.conv.modulation.bias"] = state[f"{old}.affine.bias"]
        made[f"{new}.bias"] = state[f"{old}.bias"].reshape(1, 3, 1, 1)
    return made


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_rosinality_training_checkpoints(model: Generator, tmp_path: Path, legacy: bool) -> None:
    """Both file layouts of torch.save, with the Namespace that training checkpoints carry and without latent_avg."""
    content = {
        "g_ema": rosinality_names(model),
        "args": argparse.Namespace(lr=0.002),
        "g_optim": {"state": {0: {"step": 3}}},
    }
    torch.save(content, tmp_path / "g.pt", _use_new_zipfile_serialization=not legacy)
    loaded = styles.load_generator(tmp_path / "g.pt")
    for name, value in model.state_dict().items():
        if name != "mapping.w_avg":
            assert torch.equal(loaded.state_dict()[name], value), name
    z = torch.randn(10_000, 16, generator=torch.Generator().manual_seed(1))
    assert float((loaded.mapping.w_avg - model.mapping(z).mean(0)).abs().max()) < 0.05  # type: ignore[operator]


def tensorflow_record(model: Generator) -> Record:
    """The record of a TensorFlow-era network: its names, layouts and run-time offsets, from a generator's weights."""
    state = model.state_dict()
    mapping: dict[str, torch.Tensor] = {}
    for i in range(model.config.mapping_layers):
        mapping[f"Dense{i}/weight"] = state[f"mapping.fc{i}.weight"].T
        mapping[f"Dense{i}/bias"] = state[f"mapping.fc{i}.bias"]
    synthesis = {"4x4/Const/const": state["synthesis.b4.const"][None], "lod": torch.zeros(())}
    convs = 0
    for layer in model.layers:
        side, part = layer.name[1:].split(".")
        place = {"conv0": "Conv0_up", "torgb": "ToRGB"}.get(part, "Conv" if side == "4" else "Conv1")
        old, new = f"synthesis.{layer.name}", f"{side}x{side}/{place}"
        kernel = state[f"{old}.weight"].permute(2, 3, 1, 0)
        synthesis[f"{new}/weight"] = kernel.flip(0, 1) if part == "conv0" else kernel
        synthesis[f"{new}/bias"] = state[f"{old}.bias"]
        synthesis[f"{new}/mod_weight"] = state[f"{old}.affine.weight"].T
        synthesis[f"{new}/mod_bias"] = state[f"{old}.affine.bias"] - 1
        if part != "torgb":
            synthesis[f"{new}/noise_strength"] = state[f"{old}.noise_strength"]
            synthesis[f"noise{convs}"] = state[f"{old}.noise_const"][None, None]
            convs += 1

    def record(arrays: dict[str, torch.Tensor], **parts: Record) -> Record:
        variables = [(name, Array(value.contiguous().numpy())) for name, value in arrays.items()]
        return Record(
            "dnnlib.tflib.network.Network", {"variables": variables, "components": parts, "static_kwargs": {}}
        )

    return record({"dlatent_avg": state["mapping.w_avg"]}, mapping=record(mapping), synthesis=record(synthesis))


def test_tensorflow_era_records(model: Generator) -> None:
    loaded = from_object((None, None, tensorflow_record(model)))
    w = model.map(model.sample_z([0]))
    torch.testing.assert_close(
        loaded.synthesize(loaded.map(model.sample_z([0]))), model.synthesize(w), atol=1e-5, rtol=0
    )


class _Fake:
    """Stands in for a class of a library that is not installed, so that pickle can name it."""


@pytest.fixture
def tflib(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    for name in ("dnnlib", "dnnlib.tflib", "dnnlib.tflib.network"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    cls = type("Network", (), {"__module__": "dnnlib.tflib.network"})
    monkeypatch.setattr(sys.modules["dnnlib.tflib.network"], "Network", cls, raising=False)
    return cls


def test_tensorflow_era_pickles(model: Generator, tflib: type, tmp_path: Path) -> None:
    def thaw(record: Record) -> object:
        found = tflib()
        parts = {name: thaw(part) for name, part in record.state["components"].items()}
        variables = [(name, array.values) for name, array in record.state["variables"]]
        vars(found).update(record.state, components=parts, variables=variables)
        return found

    path = tmp_path / "network.pkl"
    path.write_bytes(pickle.dumps((None, None, thaw(tensorflow_record(model))), protocol=3))
    loaded = styles.load_generator(path)
    w = model.map(model.sample_z([0]))
    torch.testing.assert_close(loaded.synthesize(w), model.synthesize(w), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("classes", "name"),
    [
        (("Generator", "SynthesisNetwork", "SynthesisInput"), "StyleGAN3"),
        (("Generator", "SuperresGenerator"), "StyleGAN-XL"),
    ],
)
def test_other_generators_are_refused_by_name(classes: tuple[str, ...], name: str) -> None:
    root = Record(classes[0], {"_modules": {f"m{i}": Record(other, {}) for i, other in enumerate(classes[1:])}})
    with pytest.raises(ValueError, match=name):
        from_object({"G_ema": root})


# Hostile files --------------------------------------------------------------------------------------------------------


class Exploit:
    """Pickles as a call."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.args


def inner(payload: bytes) -> bytes:
    """The second shape: a harmless global that unpickles its argument again."""
    return pickle.dumps({"G_ema": Exploit(torch.storage._load_from_bytes, payload)})


def persistent_bomb() -> bytes:
    """An object of the official kind whose source code would write the trap when executed."""
    for name in ("torch_utils", "torch_utils.persistence"):
        sys.modules[name] = types.ModuleType(name)

    def _reconstruct_persistent_obj(meta: object) -> object:
        raise AssertionError

    _reconstruct_persistent_obj.__module__ = "torch_utils.persistence"
    _reconstruct_persistent_obj.__qualname__ = "_reconstruct_persistent_obj"
    sys.modules["torch_utils.persistence"]._reconstruct_persistent_obj = _reconstruct_persistent_obj  # type: ignore[attr-defined]
    source = f"open({str(TRAP.absolute())!r}, 'w').write('ran')"
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": "Generator", "state": {}}
    try:
        return pickle.dumps({"G_ema": Exploit(_reconstruct_persistent_obj, meta)})
    finally:
        for name in ("torch_utils", "torch_utils.persistence"):
            del sys.modules[name]


def laughs() -> bytes:
    """A tuple of itself, 200 levels deep, as a dictionary key: hashing it would take 2^200 steps."""
    deep = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(200))
    return b"\x80\x02}(K\x01K\x02\x86q\x00" + deep + b"K\x01u."


def huge_tensor(size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A small storage under a huge shape."""
    storage = Exploit(torch.storage._load_from_bytes, storage_bytes(4))
    tensor = Exploit(torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, collections.OrderedDict())
    return zip_of({"g_ema": {"input.input": tensor}})


def storage_bytes(count: int) -> bytes:
    """A storage as torch.save wrote it before 1.6."""
    data = io.BytesIO()
    torch.save(torch.zeros(count).storage(), data, _use_new_zipfile_serialization=False)
    return data.getvalue()


ONE = storage_bytes(1)


def shared_numbers() -> bytes:
    """Two hundred views of the same four megabytes."""
    storage = Exploit(torch.storage._load_from_bytes, storage_bytes(1_000_000))
    build = torch._utils._rebuild_tensor_v2
    views = {
        f"style.{i + 1}.weight": Exploit(build, storage, 0, (1000, 1000), (1000, 1), False, {}) for i in range(200)
    }
    return pickle.dumps({"g_ema": views})


def zip_of(content: object) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a/data.pkl", pickle.dumps(content, protocol=2))
    return file.getvalue()


def long_put() -> bytes:
    return b"\x80\x02}r\xff\xff\xff\x7fu."


def compressed() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a/data.pkl", b"\x00" * 50_000_000)
    return file.getvalue()


def safetensors_of(header: object, body: bytes = b"") -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + body


def config_bomb(**changes: object) -> bytes:
    config = {**tiny().config.to_dict(), **changes}
    meta = {"format": "styles.generator/1", "config": json.dumps(config)}
    return safetensors_of({"__metadata__": meta, "a": NUMBER}, b"\0" * 4)


HOSTILE: dict[str, Any] = {
    "call": lambda: pickle.dumps({"G_ema": Exploit(os.system, f"touch {TRAP.absolute()}")}),
    "call in protocol 0": lambda: f"cos\nsystem\n(S'touch {TRAP.absolute()}'\ntR.".encode() + b" " * 16,
    "call in protocol 2": lambda: f"\x80\x02cos\nsystem\n(S'touch {TRAP.absolute()}'\ntR.".encode("latin1"),
    "eval": lambda: pickle.dumps({"G_ema": Exploit(eval, f"open({str(TRAP.absolute())!r}, 'w')")}),
    "getattr": lambda: pickle.dumps({"G_ema": Exploit(getattr, "a", "upper")}),
    "inner pickle": lambda: inner(pickle.dumps(Exploit(os.system, f"touch {TRAP.absolute()}"))),
    "inner zip": lambda: inner(zip_of(Exploit(os.system, f"touch {TRAP.absolute()}"))),
    "embedded source": persistent_bomb,
    "call in a zip": lambda: zip_of({"g_ema": Exploit(os.system, f"touch {TRAP.absolute()}")}),
    "instance": lambda: b"\x80\x02(ios\nsystem\n.         ",
    "extension": lambda: b"\x80\x02\x82\x01.             ",
    "self-referring key": laughs,
    "deep lists": lambda: b"\x80\x04" + b"]" * 300_000 + b"a" * 299_999 + b".",
    "deep marks": lambda: b"\x80\x04" + b"(" * 1_000_000 + b".",
    "endless pushes": lambda: b"\x80\x04" + b"N" * 5_000_000 + b".",
    "huge memo index": long_put,
    "huge bytes": lambda: b"\x80\x04\x8e" + b"\xff" * 7 + b"\x0f" + b"x" * 100,
    "huge bytearray": lambda: b"\x80\x05\x96" + b"\x00" * 5 + b"\x10\x00\x00" + b"x" * 100,
    "long digits": lambda: b"\x80\x02I" + b"9" * 3_000_000 + b"\n.",
    "huge shape": lambda: huge_tensor((1 << 40,), (1,)),
    "zero strides": lambda: huge_tensor((1 << 20, 1 << 20), (0, 0)),
    "negative offset": lambda: huge_tensor((-4,), (1,)),
    "shared numbers": shared_numbers,
    "many inner pickles": lambda: pickle.dumps([Exploit(torch.storage._load_from_bytes, ONE) for _ in range(9000)]),
    "compressed zip": compressed,
    "empty zip": lambda: b"PK\x05\x06" + b"\0" * 18,
    "broken zip": lambda: b"PK\x03\x04" + b"\xff" * 100,
    "wrong magic": lambda: b"GIF89a" + b"\0" * 100,
    "too short": lambda: b"\x80\x04.",
    "other pickle": lambda: pickle.dumps({"weights": [1, 2, 3] * 10}),
    "header beyond the end": lambda: struct.pack("<Q", 1 << 40) + b"{" + b" " * 100,
    "broken header": lambda: safetensors_of(b"{" + b"[" * 90_000),
    "foreign safetensors": lambda: safetensors_of({"a": NUMBER}, b"\0" * 4),
    "huge resolution": lambda: config_bomb(resolution=1 << 30, channels=[1] * 29),
    "huge width": lambda: config_bomb(w_dim=1 << 40),
    "config of another kind": lambda: config_bomb(channels="abc"),
    "deep config": lambda: safetensors_of(
        {"__metadata__": {"format": "styles.generator/1", "config": "[" * 60_000},
         "a": NUMBER}, b"\0" * 4),
}  # fmt: skip


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_files_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile"
    path.write_bytes(HOSTILE[kind]())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r".{20}") as caught:
        styles.load_generator(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200_000  # KiB
    assert len(str(caught.value)) < 600
    assert not TRAP.exists()


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("name", ["sg2_32.pkl", "rosinality_64.pt", "own"])
def test_truncated_files_are_refused(name: str, share: float, tmp_path: Path) -> None:
    if name == "own":
        styles.save_generator(tiny(), tmp_path / "own.safetensors")
        whole = (tmp_path / "own.safetensors").read_bytes()
    else:
        whole = vectors(name).read_bytes()
    cut = tmp_path / "cut"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=r".{20}"):
        styles.load_generator(cut)


def test_flipped_bytes_never_run_anything(tmp_path: Path) -> None:
    """Random damage gives a generator or a ValueError, no other exception."""
    whole = bytearray(vectors("sg2_32.pkl").read_bytes())
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(25):
        damaged = bytearray(whole)
        for at in random.integers(0, 4000, 5):
            damaged[at] = random.integers(0, 256)
        (tmp_path / "d.pkl").write_bytes(damaged)
        try:
            styles.load_generator(tmp_path / "d.pkl")
        except ValueError:
            refused += 1
    assert refused > 10


def test_the_official_file_is_read_without_its_source() -> None:
    """The vectors' embedded sources raise SystemExit when run; reading keeps only class names and states."""
    content = read_file(vectors("sg2_32.pkl"))
    assert content["G_ema"].name == "Generator"
    assert "module_src" not in content["G_ema"].state


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "nan"])
def test_weights_that_do_not_fit(change: str, tmp_path: Path) -> None:
    model = tiny()
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    name = "synthesis.b8.conv0.weight"
    if change == "missing":
        del weights[name]
    elif change == "extra":
        weights["synthesis.b64.conv0.weight"] = torch.zeros(1)
    elif change == "shape":
        weights[name] = weights[name][:, :5].contiguous()
    else:
        weights[name] = weights[name] * float("nan")
    meta = {"format": "styles.generator/1", "config": json.dumps(model.config.to_dict())}
    save_file(weights, tmp_path / "g.safetensors", metadata=meta)
    with pytest.raises(ValueError, match="NaN" if change == "nan" else "weight 'synthesis"):
        styles.load_generator(tmp_path / "g.safetensors")


def test_plain_mistakes(model: Generator, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        styles.load_generator(tmp_path / "nowhere.pkl")
    with pytest.raises(ValueError, match="dtype must be"):
        styles.load_generator("demo", dtype="int8")
    with pytest.raises(ValueError, match=r"saved as \.safetensors"):
        styles.save_generator(model, tmp_path / "g.pkl")
