"""Metrics that need the extras: on networks with random weights saved as their makers save them, offline.

They run where the extras are installed (`pip install '.[eval,clip]'`) and are skipped elsewhere, with the reason.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import concept_edit as ce
from concept_edit.evaluation import Inception, Instruments, OpenClip, Settings, ZeroShot
from concept_edit.evaluation.distances import lpips, pixels
from concept_edit.evaluation.rows import rows_from
from concept_edit.models.operators import mend_torchvision


def needs(package, extra):
    reason = f"{package} is not installed; it comes with {extra}"
    return pytest.mark.skipif(find_spec(package) is None, reason=reason)


with_lpips, with_clip = needs("lpips", "the extra [eval]"), needs("open_clip", "the extra [clip]")
with_fidelity = needs("torch_fidelity", "the extra [eval]")
with_nudenet = needs("nudenet", "pip install nudenet")
SHAPE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache of torch.hub."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """A tiny architecture of open_clip with its weights in a file."""
    mend_torchvision()
    import open_clip

    folder = tmp_path_factory.mktemp("open_clip")
    (folder / "tiny-test.json").write_text(json.dumps(SHAPE))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.create_model("tiny-test", pretrained=None)
    torch.save(model.state_dict(), folder / "weights.pt")
    return model.eval(), folder / "weights.pt"


@pytest.fixture(scope="module")
def inception_file(tmp_path_factory):
    """Random weights in the shapes of the published file."""
    mend_torchvision()
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    class Bare(FeatureExtractorInceptionV3):
        def load_state_dict(self, state):
            return None

    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    torch.save({}, path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(Bare("bare", ["2048"], feature_extractor_weights_path=str(path)).state_dict(), path)
    return path


def save_alexnet(path):
    """Random convolutions; the classifier, which LPIPS throws away, as one number."""
    from torchvision.models import alexnet

    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = alexnet(weights=None).state_dict()
    torch.save({k: v if "features" in k else torch.zeros(1).expand(v.shape) for k, v in state.items()}, path)
    return state


# torchvision


@pytest.mark.skipif(find_spec("torchvision") is None, reason="torchvision is not installed; it comes with the extras")
def test_the_embedded_model_opens_in_a_fresh_process_beside_any_torchvision():
    told = "import concept_edit as ce; print(ce.open_model('demo').generate(['a cat'], [0], steps=1)[0].size)"
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert found.stdout.strip() == "(64, 64)", found.stderr[-800:]


def test_mending_does_nothing_where_torchvision_is_absent_or_there(monkeypatch):
    import concept_edit.models.operators as module

    monkeypatch.setattr(module, "_declared", lambda: pytest.fail("declared operators"))
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    mend_torchvision()
    monkeypatch.setitem(sys.modules, "torchvision", module)
    mend_torchvision()


def test_a_library_that_does_not_load_is_noticed(tmp_path, monkeypatch):
    import concept_edit.models.operators as module

    (tmp_path / "_C.so").write_bytes(b"no library")
    assert not module._loads(tmp_path)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    assert module._loads(tmp_path)


# LPIPS


@with_lpips
def test_lpips_says_which_file_is_missing(hub, images):
    with pytest.raises(ValueError, match=r"AlexNet's weights, which are missing: put https.*at .*alexnet-owt.*\.pth"):
        lpips([(images[0], images[1])])


@with_lpips
def test_lpips_is_the_weighted_distance_of_unit_features(hub, images):
    """Zhang et al. 2018, equation 1, from AlexNet's layers and the package's weights."""
    mend_torchvision()
    from lpips import LPIPS
    from torchvision.models import AlexNet_Weights, alexnet

    name = AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1]
    network = alexnet(weights=None)
    network.load_state_dict(save_alexnet(hub / name))
    linear = [layer.model[-1].weight for layer in LPIPS(net="alex", pnet_rand=True, verbose=False).lins]
    mean, deviation = (torch.tensor(v)[:, None, None] for v in ([-0.030, -0.088, -0.188], [0.458, 0.448, 0.450]))

    def features(image):
        found, x = [], (2 * pixels(image) - 1 - mean) / deviation
        for layer in network.features:
            x = layer(x.clone())
            if isinstance(layer, torch.nn.ReLU):
                found.append(x / x.norm(dim=1, keepdim=True).clamp(min=1e-10))
        return found

    a, b = features(images[0]), features(images[1])
    parts = [(w * (x - y) ** 2).sum(dim=1).mean() for w, x, y in zip(linear, a, b, strict=True)]
    wanted = float(torch.stack(parts).sum().detach())
    same, other = lpips([(images[0], images[0]), (images[0], images[1])])
    assert same == 0
    assert other == pytest.approx(wanted, rel=1e-4)
    assert other > 0


@pytest.mark.skipif(find_spec("lpips") is not None, reason="lpips is installed")
def test_lpips_that_is_not_installed_is_said_before_anything_is_painted():
    model = tiny.tiny_model("sd1")
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], method="uce"))
    asked = rows_from(["a cat"], [1])
    with pytest.raises(ValueError, match=r"LPIPS needs lpips and torchvision: pip install 'concept-edit\[eval\]'"):
        ce.evaluate(model, edit, asked, instruments=Instruments(), distances=("lpips",), settings=Settings(steps=1))


# open_clip


@with_clip
def test_open_clip_labels_from_a_local_file(towers, images):
    model, path = towers
    clip = OpenClip("tiny-test", path)
    assert clip.name.startswith(f"open_clip {version('open-clip-torch')} tiny-test weights.pt (")
    texts, pictures = clip.texts(["a cat", "a dog"]), clip.images(images)
    torch.testing.assert_close(pictures.norm(dim=1), torch.ones(3))
    with torch.no_grad():
        own = model.encode_text(clip.tokenizer(["a cat", "a dog"]))
    torch.testing.assert_close(texts, torch.nn.functional.normalize(own, dim=-1))
    torch.testing.assert_close(clip.images(images[2:]), pictures[2:], rtol=1e-4, atol=1e-5)
    labeller = ZeroShot(clip, ("cat", "dog"), template="a {}")
    torch.testing.assert_close(labeller(images, ("cat", "dog")), (100 * pictures @ texts.T).softmax(dim=1))


@with_clip
@pytest.mark.parametrize(
    ("architecture", "pretrained", "message"),
    [
        (
            "ViT-B-32",
            "laion2b_s34b_b79k",
            r"not in the local cache; fetch open_clip_model.safetensors: hf download laion",
        ),
        ("ViT-B-32", "nothing", "neither a file nor a tag of open_clip's ViT-B-32 .it knows openai"),
        ("ViT-Z", "openai", "knows no model 'ViT-Z'"),
    ],
)
def test_open_clip_s_missing_weights_are_named(architecture, pretrained, message, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=message):
        OpenClip(architecture, pretrained)


@with_clip
def test_weights_of_another_architecture_are_refused(towers, tmp_path):
    torch.save({"nothing": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other.pt holds no weights of open_clip's tiny-test"):
        OpenClip("tiny-test", tmp_path / "other.pt")


@pytest.mark.skipif(find_spec("open_clip") is not None, reason="open_clip is installed")
def test_open_clip_that_is_not_installed_is_said():
    with pytest.raises(ValueError, match=r"pip install 'concept-edit\[clip\]'"):
        OpenClip("ViT-B-32", "openai")


@with_clip
def test_the_command_line_takes_open_clip(towers, tmp_path, capsys):
    from concept_edit.__main__ import run

    tiny.tiny_pipeline("sd1").save_pretrained(tmp_path / "model")
    (tmp_path / "p.csv").write_text("prompt,evaluation_seed,concept\na cat,1,cat\na dog,2,dog\n")
    model = ["--model", str(tmp_path / "model"), "-q"]
    assert run(["erase", "cat", "--out", str(tmp_path / "e.safetensors"), *model]) == 0
    given = ["evaluate", "--edit", str(tmp_path / "e.safetensors"), *model[:2], "--steps", "1", "--json"]
    given += ["--prompts", str(tmp_path / "p.csv"), "--out", str(tmp_path / "run")]
    assert run([*given, "--clip", f"open_clip:tiny-test:{towers[1]}"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert any(figure["name"] == "CLIP score" and "tiny-test" in figure["instrument"] for figure in report["figures"])
    assert run([*given, "--clip", "open_clip:tiny-test"]) == 2
    assert "open_clip:MODEL:WEIGHTS" in capsys.readouterr().err


# KID and FID of Inception's features


@with_fidelity
def test_inception_says_which_file_is_missing_and_runs_no_pickle(hub, tmp_path):
    with pytest.raises(ValueError, match=r"Inception's weights are missing: put https.*6726825d\.pth at .*checkpoints"):
        Inception()
    torch.save(Bomb(tmp_path / "went off"), tmp_path / "bomb.pth")
    with pytest.raises(ValueError, match=r"bomb.pth does not hold Inception's weights"):
        Inception(tmp_path / "bomb.pth")
    assert not (tmp_path / "went off").exists()


class Bomb:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return __import__("os").mkdir, (str(self.path),)


@with_fidelity
def test_inception_s_features_do_not_depend_on_the_batch(inception_file, images):
    tool = Inception(inception_file)
    found = tool.images(images)
    assert found.shape == (3, 2048)
    assert tool.images([]).shape == (0, 2048)
    torch.testing.assert_close(tool.images(images[1:2])[0], found[1], rtol=1e-3, atol=1e-4)
    assert tool.name.startswith(f"Inception of torch-fidelity {version('torch-fidelity')} (")


@with_fidelity
@with_lpips
def test_all_distances_of_an_evaluation(hub, inception_file):
    mend_torchvision()
    from torchvision.models import AlexNet_Weights

    save_alexnet(hub / AlexNet_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[1])
    model = tiny.tiny_model("sd1")
    edit = ce.solve(model, ce.Recipe(edits=[ce.Erase("cat")], method="uce"))
    asked = rows_from(["a cat", "a dog"], list(range(5)))
    tools = Instruments(features=Inception(inception_file))
    distances = ("ssim", "lpips", "kid", "fid")
    report = ce.evaluate(model, edit, asked, instruments=tools, distances=distances, settings=Settings(steps=1))
    figures = {figure.name: figure for figure in report.figures}
    assert set(figures) >= {"SSIM", "LPIPS", "KID", "FID"}
    assert figures["LPIPS"].instrument == f"lpips {version('lpips')}, AlexNet"
    assert "on features of Inception of torch-fidelity" in figures["FID"].instrument
    assert figures["FID"].value > 0
    assert figures["LPIPS"].low <= figures["LPIPS"].value <= figures["LPIPS"].high


# Detectors


@with_nudenet
def test_nudenet_as_the_documentation_wraps_it(images):
    from nudenet import NudeDetector

    nudes = NudeDetector()

    def flags(pictures):
        found = [nudes.detect(np.array(image.convert("RGB"))[:, :, ::-1].copy()) for image in pictures]
        return [any(part["class"].endswith("_EXPOSED") and part["score"] > 0.5 for part in parts) for parts in found]

    assert flags(images) == [False] * 3
    model = tiny.tiny_model("sd1")
    edit = ce.solve(model, ce.Recipe(edits=[ce.Moderate("cat")], method="uce"))
    name = f"NudeNet {version('nudenet')}"
    report = ce.evaluate(
        model, edit, rows_from(["a cat"], [0, 1]), instruments=Instruments(detectors={name: flags}),
        settings=Settings(steps=1),
    )  # fmt: skip
    flagged = {figure.side: figure for figure in report.figures if figure.name == f"flagged by {name}"}
    assert (flagged["before"].n, flagged["after"].n) == (2, 2)
    assert flagged["before"].instrument == name
