"""Generators from what foreign files hold: official PyTorch and TensorFlow-era networks, rosinality's state dicts.

The shapes of the weights decide the configuration; keyword arguments stored in a file are only asked for what shapes
cannot tell (clamp, learning-rate multiplier).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from styles.checkpoints.config import MAX_RESOLUTION
from styles.checkpoints.stored import Record, StoredTensor, UnsafeFileError
from styles.generator import Generator
from styles.layers import FIR, GeneratorConfig

AVERAGE_SAMPLES = 10_000
Weights = dict[str, Tensor]


def from_object(content: Any) -> Generator:
    """A generator from what a pickle or torch file holds."""
    if isinstance(content, dict) and "G_ema" in content:
        return _official(content["G_ema"])
    if isinstance(content, dict) and isinstance(content.get("g_ema"), dict):
        return _rosinality(content)
    if isinstance(content, tuple | list) and len(content) == 3 and isinstance(content[2], Record):
        return _tensorflow(content[2])
    if isinstance(content, Record):
        return _tensorflow(content) if content.name.startswith("dnnlib.tflib") else _official(content)
    keys = sorted(str(key)[:40] for key in content)[:8] if isinstance(content, dict) else type(content).__name__
    raise ValueError(
        f"no StyleGAN2 generator in the file (it holds {keys}); expected 'G_ema', 'g_ema' or three networks."
    )


def assemble(config: GeneratorConfig, weights: Weights) -> Generator:
    """The generator with these weights; names and shapes must agree, and nothing is allocated before they do."""
    model = empty(config, {name: tuple(value.shape) for name, value in weights.items()})
    if any(not bool(torch.isfinite(value).all()) for value in weights.values()):
        raise ValueError("the file holds NaN or infinite weights.")
    model.load_state_dict({name: value.float().clone() for name, value in weights.items()}, assign=True)
    return model


def empty(config: GeneratorConfig, given: Mapping[str, tuple[int, ...]]) -> Generator:
    """The generator of a configuration without numbers, if weights of the `given` shapes are those it has."""
    if config.resolution > MAX_RESOLUTION:
        raise ValueError(f"generators up to {MAX_RESOLUTION} px are read, got {config.resolution} px.")
    if max(*config.channels, config.w_dim, config.z_dim, config.c_dim, config.mapping_layers) > 65536:
        raise ValueError("the file describes layers far wider than any StyleGAN2; refused.")
    with torch.device("meta"):
        model = Generator(config)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            have, need = given.get(name, "nothing"), wanted.get(name, "nothing")
            raise ValueError(f"weight {name[:80]!r}: the file has {have}, a generator of its configuration has {need}.")
    return model


def channels_of(weights: Weights) -> tuple[int, ...]:
    """Feature channels of each block, from the biases of the last convolutions."""
    sides = sorted(int(m[1]) for name in weights if (m := re.fullmatch(r"synthesis\.b(\d{1,5})\.conv1\.bias", name)))
    if not sides or sides != [4 << i for i in range(len(sides))] or sides[-1] > MAX_RESOLUTION:
        raise ValueError(f"the file's synthesis blocks are {sides[:12]}; StyleGAN2 has 4, 8, 16, ... up to 2048 px.")
    return tuple(weights[f"synthesis.b{side}.conv1.bias"].numel() for side in sides)


def config_of(weights: Weights, *, clamp: float | None = None, mapping_lr: float = 0.01) -> GeneratorConfig:
    """The configuration that the shapes of official-named weights tell."""
    channels = channels_of(weights)
    resolution = 4 << (len(channels) - 1)
    depth = sum(bool(re.fullmatch(r"mapping\.fc\d+\.weight", name)) for name in weights)
    first, embed = _need(weights, "mapping.fc0.weight"), weights.get("mapping.embed.weight")
    w_dim = _need(weights, "synthesis.b4.conv1.affine.weight").shape[-1]
    torgb = _need(weights, f"synthesis.b{resolution}.torgb.weight")
    return GeneratorConfig(
        resolution,
        channels,
        z_dim=first.shape[-1] - (w_dim if embed is not None else 0),
        w_dim=w_dim,
        c_dim=0 if embed is None else embed.shape[-1],
        mapping_layers=depth,
        mapping_width=first.shape[0] if depth > 1 and first.shape[0] != w_dim else None,
        mapping_lr=mapping_lr,
        architecture="skip" if "synthesis.b4.torgb.weight" in weights or resolution == 4 else "orig",
        clamp=clamp,
        rgb=torgb.shape[0],
    )


def _need(weights: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in weights or weights[name].ndim < 1:
        raise ValueError(f"the file has no weight {name!r}; is it a StyleGAN2 generator?")
    return weights[name]


# Official PyTorch files -----------------------------------------------------------------------------------------------


def _official(record: Any) -> Generator:
    """Stored modules of the official PyTorch code (StyleGAN2-ADA and the StyleGAN2 of the StyleGAN3 repository)."""
    if not isinstance(record, Record):
        raise ValueError("'G_ema' in the file is no stored network.")
    modules = dict(_modules(record))
    refuse_others(modules)
    weights = {name: value for name, value in _tensors(modules) if not name.endswith("resample_filter")}
    layer = modules.get("synthesis.b4.conv1", record).state
    mapping = modules.get("mapping.fc0", record).state
    config = config_of(
        weights, clamp=_number(layer.get("conv_clamp")), mapping_lr=_number(mapping.get("bias_gain")) or 0.01
    )
    if any(name.endswith((".skip.weight",)) for name in weights):
        raise ValueError("this generator has the residual architecture; 'skip' and 'orig' are read.")
    weights.setdefault("mapping.w_avg", torch.zeros(config.w_dim))
    return assemble(config, weights)


def _number(value: Any) -> float | None:
    """A number above 0, or None for anything else."""
    plain = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e30
    return float(value) if plain else None


def _modules(record: Record, name: str = "", depth: int = 0) -> Iterator[tuple[str, Record]]:
    """Every stored module with its dotted name."""
    if depth > 8:
        raise UnsafeFileError("the stored network is nested more deeply than any generator; refused.")
    yield name, record
    children = record.state.get("_modules", {})
    if not isinstance(children, dict) or len(children) > 64:
        raise UnsafeFileError("the stored network is damaged.")
    for key, child in children.items():
        if isinstance(child, Record):
            yield from _modules(child, f"{name}.{key}" if name else str(key), depth + 1)


def _tensors(modules: Mapping[str, Record]) -> Iterator[tuple[str, Tensor]]:
    for name, record in modules.items():
        for part in ("_parameters", "_buffers"):
            values = record.state.get(part)
            for key, value in (values if isinstance(values, dict) else {}).items():
                if isinstance(value, StoredTensor):
                    full = f"{name}.{key}" if name else str(key)
                    yield full, _checked_filter(full, value.tensor())


def _checked_filter(name: str, value: Tensor) -> Tensor:
    """Other up-sampling filters than [1,3,3,1] would give other images: refused."""
    if name.endswith(("resample_filter", "blur.kernel", "upsample.kernel")):
        taps = torch.tensor(FIR)
        wanted = torch.outer(taps, taps) / taps.sum() ** 2
        if value.shape != wanted.shape or not torch.allclose(value.float() / value.float().sum(), wanted, atol=1e-5):
            raise ValueError(f"{name}: only the up-sampling filter [1, 3, 3, 1] is read.")
    return value


def refuse_others(modules: Mapping[str, Record]) -> None:
    """StyleGAN3 and StyleGAN-XL are recognised by their modules and refused by name."""
    classes = {record.name for record in modules.values()}
    if {"SuperresGenerator", "SuperresSynthesisNetwork"} & classes or "mapping.embed_proj" in modules:
        raise ValueError("this is a StyleGAN-XL generator; only StyleGAN2 is read for now.")
    if "SynthesisInput" in classes or any(re.search(r"synthesis\.L\d+_\d+_\d+$", name) for name in modules):
        raise ValueError("this is a StyleGAN3 generator; only StyleGAN2 is read for now.")
    if "synthesis" not in modules or "mapping" not in modules:
        raise ValueError(f"no StyleGAN2 generator in the file: its modules are {sorted(modules)[:8]}.")


# rosinality -----------------------------------------------------------------------------------------------------------


def _rosinality(content: Mapping[str, Any]) -> Generator:
    """Files of rosinality/stylegan2-pytorch: other names, one more axis, the same numbers."""
    stored = content["g_ema"]
    flat = {name: _checked_filter(str(name), v.tensor()) for name, v in stored.items() if isinstance(v, StoredTensor)}
    weights = dict(_renamed(flat))
    average = content.get("latent_avg")
    if isinstance(average, StoredTensor):
        weights["mapping.w_avg"] = average.tensor().reshape(-1)
        return assemble(config_of(weights), weights)
    config = config_of(weights)
    weights["mapping.w_avg"] = torch.zeros(config.w_dim)
    model = assemble(config, weights)
    centre(model)
    return model


@torch.no_grad()
def centre(model: Generator, *, samples: int = AVERAGE_SAMPLES) -> None:
    """Set w_avg to the mean w of many fixed latents, for files that do not store it."""
    z = torch.randn(samples, model.config.z_dim, generator=torch.Generator().manual_seed(0)).to(model.device)
    model.mapping.w_avg.copy_(torch.stack([model.mapping(part).mean(0) for part in z.chunk(10)]).mean(0))  # type: ignore[operator]


def _renamed(flat: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, value in flat.items():
        if name.endswith("kernel"):
            continue
        yield _official_name(name), _official_shape(name, value)


def _official_name(name: str) -> str:
    """The official name of a rosinality weight."""
    if name == "input.input":
        return "synthesis.b4.const"
    if match := re.fullmatch(r"style\.(\d{1,3})\.(weight|bias)", name):
        return f"mapping.fc{int(match[1]) - 1}.{match[2]}"
    if match := re.fullmatch(r"noises\.noise_(\d{1,3})", name):
        return f"{_conv_name(int(match[1]))}.noise_const"
    if match := re.fullmatch(r"(?:conv1|convs\.(\d{1,3}))\.(.+)", name):
        return f"{_conv_name(0 if match[1] is None else int(match[1]) + 1)}.{_PARTS.get(match[2], match[2])}"
    if match := re.fullmatch(r"(?:to_rgb1|to_rgbs\.(\d{1,3}))\.(.+)", name):
        side = 4 if match[1] is None else 8 << min(int(match[1]), 20)
        return f"synthesis.b{side}.torgb.{_PARTS.get(match[2], match[2])}"
    raise ValueError(f"unknown weight {name[:60]!r} in a rosinality file.")


_PARTS = {
    "conv.weight": "weight", "conv.modulation.weight": "affine.weight", "conv.modulation.bias": "affine.bias",
    "noise.weight": "noise_strength", "activate.bias": "bias",
}  # fmt: skip


def _conv_name(index: int) -> str:
    """The convolutions in order: b4.conv1, b8.conv0, b8.conv1, ..."""
    return f"synthesis.b{4 << min((index + 1) // 2, 20)}.conv{'1' if index % 2 == 0 else '0'}"


def _official_shape(name: str, value: Tensor) -> Tensor:
    if name.endswith("noise.weight"):
        return value.reshape(())
    if name == "input.input" or name.endswith("conv.weight"):
        return value[0]
    if name.startswith("noises."):
        return value[0, 0]
    return value.reshape(-1) if name.startswith("to_rgb") and name.endswith(".bias") else value


# TensorFlow era -------------------------------------------------------------------------------------------------------


def _tensorflow(record: Record) -> Generator:
    """Networks pickled by the TensorFlow code: lists of named arrays, weights laid out height, width, in, out."""
    if not record.name.startswith("dnnlib.tflib"):
        raise ValueError("the third entry of the file is no stored network.")
    arrays = dict(_variables(record))
    weights: Weights = {}
    for name, value in arrays.items():
        for pattern, convert_one in _TF_RULES:
            if match := re.fullmatch(pattern, name):
                target, made = convert_one(match, value)
                weights[target] = made
    static = record.state.get("static_kwargs")
    clamp = _number(static.get("conv_clamp")) if isinstance(static, dict) else None
    if "mapping/LabelConcat/weight" in arrays:
        raise ValueError("conditional TensorFlow-era models normalise their labels otherwise and are not read.")
    if "mapping.w_avg" not in weights:
        raise ValueError("no StyleGAN2 generator in the TensorFlow record (no average w); StyleGAN1 is not read.")
    return assemble(config_of(weights, clamp=clamp), weights)


def _variables(record: Record, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """The arrays of a network and of its parts, under 'mapping/' and 'synthesis/'."""
    variables, parts = record.state.get("variables"), record.state.get("components")
    for row in variables if isinstance(variables, list) else []:
        values = getattr(row[1], "values", None) if isinstance(row, tuple | list) and len(row) == 2 else row
        if isinstance(row, tuple | list) and len(row) == 2 and values is not None and not callable(values):
            yield prefix + str(row[0]), torch.from_numpy(values.astype("float32"))
    for name, part in (parts if isinstance(parts, dict) and depth < 3 else {}).items():
        if isinstance(part, Record):
            yield from _variables(part, f"{name}/", depth + 1)


_Rule = tuple[str, Callable[[re.Match[str], Tensor], tuple[str, Tensor]]]
_CONV = {"Conv": "conv1", "Conv1": "conv1", "Conv0_up": "conv0", "ToRGB": "torgb"}
_WHERE = r"synthesis/(\d{1,5})x\d{1,5}/(Conv|Conv1|Conv0_up|ToRGB)/"


def _place(match: re.Match[str]) -> str:
    return f"synthesis.b{match[1]}.{_CONV[match[2]]}"


def _kernel(match: re.Match[str], value: Tensor) -> tuple[str, Tensor]:
    turned = value.flip(0, 1) if match[2] == "Conv0_up" else value
    return f"{_place(match)}.weight", turned.permute(3, 2, 0, 1).contiguous()


def _noise(match: re.Match[str], value: Tensor) -> tuple[str, Tensor]:
    return f"{_conv_name(int(match[1]))}.noise_const", value[0, 0]


_TF_RULES: tuple[_Rule, ...] = (
    (r"(?:.*/)?dlatent_avg", lambda m, v: ("mapping.w_avg", v)),
    (r"mapping/Dense(\d{1,3})/weight", lambda m, v: (f"mapping.fc{m[1]}.weight", v.T.contiguous())),
    (r"mapping/Dense(\d{1,3})/bias", lambda m, v: (f"mapping.fc{m[1]}.bias", v)),
    (r"synthesis/4x4/Const/const", lambda m, v: ("synthesis.b4.const", v[0])),
    (r"synthesis/noise(\d{1,3})", _noise),
    (_WHERE + "weight", _kernel),
    (_WHERE + "bias", lambda m, v: (f"{_place(m)}.bias", v)),
    (_WHERE + "mod_weight", lambda m, v: (f"{_place(m)}.affine.weight", v.T.contiguous())),
    (_WHERE + "mod_bias", lambda m, v: (f"{_place(m)}.affine.bias", v + 1)),
    (_WHERE + "noise_strength", lambda m, v: (f"{_place(m)}.noise_strength", v.reshape(()))),
)
"""The official code adds 1 to a modulation bias at run time; up-convolution kernels are stored flipped."""
