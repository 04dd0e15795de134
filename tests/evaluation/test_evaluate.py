"""Evaluation on a tiny model: sets, figures, reports. The labellers here answer from what a test can check itself."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
import tiny
import torch
from PIL import Image

import concept_edit as ce
from concept_edit.evaluation import Instruments, Row, Settings, choose_rows, confusion, read_rows, wilson
from concept_edit.evaluation.distances import fid, frechet, kid, ssim
from concept_edit.evaluation.intervals import bootstrap, jackknife, ratio
from concept_edit.evaluation.rows import rows_from
from concept_edit.evaluation.sets import EVERYDAY

FAST = Settings(steps=2)


class Brightness:
    """Says bright or dark, by the picture's mean."""

    name = "brightness 1"

    def choices(self, concept):
        return ("bright", "dark") if concept in ("bright", "dark") else ()

    def __call__(self, images, choices):
        shares = torch.tensor([np.asarray(image.convert("L")).mean() / 255 for image in images]).float()
        return torch.stack([shares if choice == "bright" else 1 - shares for choice in choices], dim=1)


class Colours:
    """Mean colours as unit vectors; a prompt's vector is that of its letters."""

    name = "colours 1"

    def texts(self, prompts):
        rows = torch.tensor([[1.0 + prompt.count(letter) for letter in "aei"] for prompt in prompts])
        return torch.nn.functional.normalize(rows, dim=1)

    def images(self, images):
        rows = torch.tensor(np.array([np.asarray(image.convert("RGB")).mean(axis=(0, 1)) for image in images])) + 1
        return torch.nn.functional.normalize(rows.float(), dim=1)


@pytest.fixture(scope="module")
def model():
    return tiny.tiny_model("sd1")


@pytest.fixture(scope="module")
def edit(model):
    edits = [ce.Erase("Van Gogh", guide="art"), ce.Moderate("apple")]
    return ce.solve(model, ce.Recipe(edits=edits, preserve=["Monet", "a red house"], method="uce"))


def rows():
    words = ["a red apple", "a village", "by Van Gogh", "nothing"]
    groups = ["edited", "near", "edited", "unrelated"]
    concepts = ["apple", "", "Van Gogh", ""]
    return [
        Row(p, seed, g, "bright" if seed % 2 else "dark", c)
        for p, g, c in zip(words, groups, concepts, strict=True)
        for seed in (1, 2, 3)
    ]


@pytest.fixture(scope="module")
def report(model, edit, tmp_path_factory):
    tools = Instruments(
        Brightness(), Colours(), {"half red 1": lambda images: [i.getpixel((0, 0))[0] > 127 for i in images]}
    )
    return ce.evaluate(
        model, edit, rows(), instruments=tools, settings=FAST, out=tmp_path_factory.mktemp("run"), barred=["Van Gogh"]
    )


def test_figures_are_what_the_pictures_say(model, edit, report):
    """Painted and counted here once more, by hand."""
    near = [row for row in rows() if row.group == "near"]
    with edit.applied(model):
        after = model.generate([r.prompt for r in near], [r.seed for r in near], steps=2, batch_size=1)
    bright = [np.asarray(image.convert("L")).mean() > 127.5 for image in after]
    right = sum(b == (row.concept == "bright") for b, row in zip(bright, near, strict=True))
    found = report.figure("named as its concept", "near")
    assert (found.value, found.n) == (right / 3, 3)
    assert (found.low, found.high) == wilson(right, 3)
    red = sum(image.getpixel((0, 0))[0] > 127 for image in after)
    assert report.figure("flagged by half red 1", "near").value == red / 3


def test_every_figure_has_its_number_interval_and_instrument(report):
    groups = {f.group for f in report.figures}
    assert groups == {"edited", "near", "unrelated", *(name for name, _, _ in report.words())}
    for figure in report.figures:
        assert figure.low <= figure.value <= figure.high
        assert figure.n > 0
        assert figure.instrument
        assert "95 %" in figure.method


def test_a_report_says_whether_the_model_knows_the_words(report, edit, tmp_path):
    assert [word for word, _, _ in report.known] == ["Van Gogh", "apple"]
    assert report.known[1][1] == "known"  # an everyday thing, on the list
    report.save(tmp_path / "r.json")
    assert [each["word"] for each in json.loads((tmp_path / "r.json").read_text())["known"]] == ["Van Gogh", "apple"]
    assert all(f"- {told}" in report.to_markdown() for _, _, told in report.known)
    assert "What the model knows of the words" in report.to_html()


def test_a_figure_that_was_not_measured_is_named(report):
    with pytest.raises(KeyError, match="beauty / near / after was not measured"):
        report.figure("beauty", "near")


def test_strength_zero_changes_no_picture(model, edit):
    found = ce.evaluate(model, edit, rows()[:2], instruments=Instruments(clip=Colours()), strength=0.0, settings=FAST)
    assert found.figure("SSIM", "edited", "paired").value == 1.0
    assert found.figure("CLIP score change", "edited", "paired").value == 0.0


def test_distances_between_sets_stand_in_the_report_with_their_features(model, edit):
    pytest.importorskip("torchmetrics")
    asked = rows_from(["a village"], range(8), group="near")
    found = ce.evaluate(
        model, edit, asked, instruments=Instruments(clip=Colours()), distances=("kid", "fid"), settings=FAST
    )
    for name in ("KID", "FID"):
        figure = found.figure(name, "near", "paired")
        assert (figure.n, figure.method) == (8, "jackknife over pictures 95 %")
        assert figure.instrument.startswith("torchmetrics ")
        assert "colours 1" in figure.instrument


def test_the_page_asks_for_nothing_and_escapes_what_it_shows(model, edit, tmp_path):
    evil = [Row('<script>alert(1)</script> "x" onload=', 1, "near"), Row("a red apple", 2, "edited", "apple", "apple")]
    found = ce.evaluate(model, edit, evil, instruments=Instruments(), settings=FAST)
    found.save(tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    assert "<script" not in text
    assert not re.search(r"(src|href)\s*=(?!\"data:)", text)
    assert "default-src 'none'" in text
    assert text.count("class=veil") == 1, "pictures of a moderated concept are blurred, others are not"
    assert text.count("data:image/png") == 6, "two pairs in their groups, one of them among the worst losses"


def test_barred_concepts_are_measured_and_never_shown(report):
    assert report.figure("SSIM", "edited", "paired").n == 6
    assert {pair.row.subject for pair in report.pictures if pair.row.group == "edited"} == {"apple"}


def test_reports_are_written_as_their_name_says(report, tmp_path):
    for name in ("r.json", "r.md", "r.html"):
        report.save(tmp_path / name)
    plain = json.loads((tmp_path / "r.json").read_text(), parse_constant=lambda c: pytest.fail(f"{c} is no JSON"))
    assert len(plain["figures"]) == len(report.figures)
    assert "| SSIM | near | paired |" in (tmp_path / "r.md").read_text()
    with pytest.raises(ValueError, match=r"\.json, \.md or \.html"):
        report.save(tmp_path / "r.pdf")


def test_the_worst_losses_come_first(report):
    lost = [("became" in what) for _, what in report.worst]
    assert lost == sorted(lost, reverse=True)
    assert all(row.group != "edited" for row, _ in report.worst)


def test_sets_are_chosen_from_the_recipe(model, edit):
    chosen = choose_rows(model, edit.recipe, per_set=6, seeds=(1, 2))
    by = {group: [r for r in chosen if r.group == group] for group in ("edited", "near", "unrelated")}
    assert {r.subject for r in by["edited"]} == {"Van Gogh", "apple"}
    assert all(len(part) == len(set(part)) and len({r.seed for r in part}) == 2 for part in by.values())
    assert not {r.prompt for r in by["near"]} & {r.prompt for r in by["unrelated"]}
    assert not [r for r in (*by["near"], *by["unrelated"]) if "apple" in r.prompt.split()]


def test_near_words_are_nearer_than_unrelated_ones(model, edit):
    """The same distance, computed here in one line per word."""
    chosen = choose_rows(model, edit.recipe, per_set=20)
    words = [w for w in (*edit.recipe.preserve, *EVERYDAY) if "apple" not in w.split()]

    def vector(word):
        stream = model.encode([word])["text"]
        return stream.rows[0, int(stream.eos[0]) - 1].double()

    centre = torch.stack([vector(w) for w in words]).mean(dim=0)

    def closeness(word):
        return max(
            float(torch.cosine_similarity(vector(word) - centre, vector(c) - centre, dim=0)) for c in edit.concepts
        )

    near = [closeness(r.concept) for r in chosen if r.group == "near"]
    far = [closeness(r.concept) for r in chosen if r.group == "unrelated"]
    assert min(near) >= max(far)


# Figures


def test_wilson_is_the_score_interval():
    """The bounds solve (p - share)² = z² p (1 - p) / n; Brown, Cai and DasGupta's 0 of 10 gives 0 ... 0.2775."""
    for hits, n in ((3, 10), (81, 263), (1, 1), (0, 7)):
        for bound in wilson(hits, n):
            assert math.isclose((bound - hits / n) ** 2, 1.959963984540054**2 * bound * (1 - bound) / n, abs_tol=1e-12)
    assert wilson(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert wilson(0, 0) == (0, 1)


def test_the_bootstrap_covers_the_mean():
    rng = np.random.default_rng(3)
    hits = 0
    for trial in range(25):
        low, high = bootstrap(rng.normal(2, 1, size=(40, 1)), lambda rows: float(rows.mean()), seed=trial)
        hits += low <= 2 <= high
    assert 21 <= hits <= 25


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(1).normal(size=20)
    value, low, high = jackknife(20, lambda rows: float(values[rows].mean()))
    assert value == pytest.approx(values.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * values.std(ddof=1) / math.sqrt(20), rel=1e-3)


def test_ratio_of_paired_counts():
    value, low, high = ratio([1, 1, 1, 1, 0, 1], [1, 0, 1, 1, 0, 1])
    assert value == 0.8
    assert low < 0.8 < high <= 1.0


def noise(seed, side=32):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8))


def test_ssim_agrees_with_torchmetrics():
    functional = pytest.importorskip("torchmetrics.functional.image")
    a = noise(0)
    b = Image.blend(a, noise(1), 0.4)
    planes = [torch.from_numpy(np.array(i)).permute(2, 0, 1)[None].double() / 255 for i in (a, b)]
    x, y = (torch.nn.functional.pad(p, (0,) * 4) for p in planes)
    theirs = functional.structural_similarity_index_measure(x, y, data_range=1.0, gaussian_kernel=True, sigma=1.5)
    assert ssim(a, b) == pytest.approx(float(theirs), abs=0.02)
    assert ssim(a, a) == pytest.approx(1.0)


def test_distances_between_sets_are_nothing_for_equal_sets_and_grow():
    pytest.importorskip("torchmetrics")
    a = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    assert fid(a, a)[0] == pytest.approx(0, abs=1e-3)
    assert kid(a, a + 2)[0] > kid(a, a + 1)[0] > kid(a, a)[0]
    assert fid(a, a + torch.tensor([2.0, 0, 0, 0]))[0] == pytest.approx(4, abs=1e-2)


@pytest.mark.parametrize(("n", "m", "width"), [(40, 30, 4), (6, 9, 16), (6, 40, 16)])
def test_the_frechet_distance_is_torchmetrics_own_however_few_pictures(n, m, width):
    fids = pytest.importorskip("torchmetrics.image.fid")
    random = torch.Generator().manual_seed(0)
    a, b = (torch.randn(count, width, generator=random, dtype=torch.float64) for count in (n, m))
    b = 0.5 * b + a.mean(dim=0) + 1

    wanted = fids._compute_fid(a.mean(dim=0), a.T.cov(), b.mean(dim=0), b.T.cov())
    assert frechet(a, b) == pytest.approx(float(wanted), abs=1e-4)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)


def test_a_labeller_is_measured_and_its_shares_put_right():
    bright, dark = [Image.new("RGB", (8, 8), (v,) * 3) for v in (200, 90)]
    found = confusion(Brightness(), {"bright": [bright] * 8 + [dark] * 2, "dark": [dark] * 10}, source="made")
    assert found.counts == ((8, 2), (0, 10))
    assert found.accuracy == 0.9
    assert found.corrected({"bright": 0.4, "dark": 0.6}) == pytest.approx({"bright": 0.5, "dark": 0.5})
    useless = confusion(Brightness(), {"bright": [dark], "dark": [dark]}, source="made")
    with pytest.raises(ValueError, match="same answers"):
        useless.corrected({"bright": 0.4, "dark": 0.6})


# CSV files


def write(tmp_path, text, name="p.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_published_csv_files_are_read_as_they_are(tmp_path):
    uce = write(tmp_path, 'case_number,prompt,evaluation_seed\n0,"A bicycle, old",41337\n1,x,5\n')
    assert [(r.prompt, r.seed) for r in read_rows(uce)] == [("A bicycle, old", 41337), ("x", 5)]
    i2p = write(
        tmp_path, ",prompt,categories,hard,sd_seed,sd_guidance_scale\n0,a man,violence,0,1855581,7.0\n", "i2p.csv"
    )
    assert read_rows(i2p)[0].seed == 1855581
    coco = write(tmp_path, "case_number,source,prompt,evaluation_seed,coco_id\n0,coco,A cat.,4,9\n", "coco.csv")
    assert read_rows(coco)[0].prompt == "A cat."
    classes = write(tmp_path, "case_number,prompt,evaluation_seed,class\n0,image of a church,4,church\n", "classes.csv")
    assert read_rows(classes)[0].concept == "church"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,seed\na,1\n", "expected the columns prompt and evaluation_seed, found text, seed"),
        ("prompt,seed\na,red\n", "line 2: the seed 'red' is no whole number"),
        ("prompt,seed\na,-1\n", "line 2: the seed -1 is below 0"),
        ("prompt,seed\n", "has no rows"),
        ("prompt,seed,group\na,1,best\n", "line 2: the group 'best'"),
    ],
)
def test_a_faulty_csv_is_named_with_its_line(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(tmp_path, text))


def test_rows_of_equal_prompt_and_seed_share_a_file_and_others_do_not():
    files = [row.file for row in rows_from(["a cat", "a Cat", "ein Kätzchen / ..", "", "a" * 300], (0, 1))]
    assert len(set(files)) == 10
    assert all(re.fullmatch(r"[a-z0-9.-]{1,70}\.png", name) for name in files)
    assert Row("a cat", 0, "near").file == Row("a cat", 0, "edited", "cat").file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distances": ("beauty",)}, "no distance"),
        ({"distances": ("kid",)}, "need a CLIP"),
        ({"shard": "3/2"}, "not of the form i/n"),
        ({"settings": Settings(batch_size=0)}, "batch_size is 0"),
        ({"limit": 0}, "no prompt to evaluate"),
    ],
)
def test_bad_requests_are_refused(model, edit, changes, message):
    given = {"instruments": Instruments(), "settings": FAST} | changes
    with pytest.raises(ValueError, match=message):
        ce.evaluate(model, edit, rows()[:1], **given)
