"""Marks of a slider: monotone regression against the definition, equal steps of a known curve, files, refusals."""

from __future__ import annotations

import dataclasses
import itertools
from contextlib import contextmanager
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

import concept_edit as ce
from concept_edit.balance.marks import Curve, Point, calibrate
from concept_edit.evaluation.intervals import wilson

RECIPE = ce.Recipe(
    edits=[ce.Steer("doctor", towards="woman doctor", away="man doctor", range=(-1, 3), wordings=("a {}", "one {}"))],
    method="uce",
)


def curve(*shares, n=10, at=None):
    strengths = range(len(shares)) if at is None else at
    return Curve("woman", "stub 1", tuple(Point(float(x), hits, n) for x, hits in zip(strengths, shares, strict=True)))


class Brightness:
    """Dark pictures show a man, bright ones a woman."""

    name = "brightness 1"

    def choices(self, concept):
        return ("man", "woman") if concept in ("man", "woman") else ()

    def __call__(self, images, choices):
        shares = torch.tensor([image.getpixel((0, 0))[0] / 255 for image in images])
        return torch.stack([1 - shares, shares], dim=1)


class Painter:
    """Of ten seeds, so many pictures are bright as the strength says: 1 + 2 x strength."""

    name = "stub"
    strength = 0.0

    def __init__(self):
        self.asked = []

    def generate(self, prompts, seeds, **settings):
        self.asked.append((tuple(prompts), tuple(seeds), settings))
        bright = 1 + 2 * self.strength
        return [Image.new("RGB", (2, 2), (255 if seed % 10 < bright else 0,) * 3) for seed in seeds]


@dataclasses.dataclass
class Slid:
    recipe: ce.Recipe

    @contextmanager
    def applied(self, model, strength=1.0):
        model.strength = strength
        yield model
        model.strength = 0.0


def nearest_monotone(shares, weights):
    """By the definition: the best of all ways to cut the row into runs with one value each, values rising."""
    n, best = len(shares), None
    for cuts in itertools.product([False, True], repeat=n - 1):
        runs, start = [], 0
        for i, cut in enumerate((*cuts, True), 1):
            if cut:
                runs.append(range(start, i))
                start = i
        means = [sum(weights[i] * shares[i] for i in run) / sum(weights[i] for i in run) for run in runs]
        if any(b < a for a, b in itertools.pairwise(means)):
            continue
        fit = [mean for mean, run in zip(means, runs, strict=True) for _ in run]
        loss = sum(w * (a - b) ** 2 for w, a, b in zip(weights, shares, fit, strict=True))
        if best is None or loss < best[0] - 1e-12:
            best = loss, fit
    return best[1]


def test_the_monotone_curve_is_the_nearest_one_by_definition():
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        counts = torch.randint(1, 9, (6,), generator=generator).tolist()
        hits = [int(torch.randint(0, n + 1, (1,), generator=generator)) for n in counts]
        points = tuple(Point(float(i), h, n) for i, (h, n) in enumerate(zip(hits, counts, strict=True)))
        fitted = Curve("woman", "stub 1", points).fitted
        want = nearest_monotone([h / n for h, n in zip(hits, counts, strict=True)], counts)
        assert fitted == pytest.approx(want, abs=1e-9)


def test_marks_lie_where_equal_steps_of_the_curve_are_seen():
    # Nothing rises up to 1 or from 4 on; 0 to 0.4 from 1 to 2 and 0.4 to 1 from 2 to 4.
    found = curve(0, 0, 4, 7, 10, 10)
    assert found.marks(2) == (1.0, 4.0)
    assert found.marks(6) == pytest.approx((1.0, 1.5, 2.0, 2 + 2 / 3, 3 + 1 / 3, 4.0), abs=1e-3)
    assert list(found.marks(9)) == sorted(found.marks(9))


def test_a_share_that_does_not_rise_has_no_marks():
    with pytest.raises(ValueError, match="does not rise"):
        curve(5, 5, 3).marks()
    with pytest.raises(ValueError, match="two marks"):
        curve(0, 5).marks(1)


def test_the_same_seeds_are_painted_at_every_strength_and_counted():
    model, seen = Painter(), []
    found = calibrate(
        model, Slid(RECIPE), "woman", Brightness(), pictures=10, seed=20, progress=lambda *done: seen.append(done)
    )
    assert [p.strength for p in found.points] == [-1, -0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3]
    assert [p.hits for p in found.points] == [0, 0, 1, 2, 3, 4, 5, 6, 7]
    assert found.points[4].interval == wilson(3, 10)
    assert len({(prompts, seeds) for prompts, seeds, _ in model.asked}) == 1
    assert model.asked[0][0][:3] == ("a doctor", "one doctor", "a doctor")
    assert seen[-1] == (9, 9)
    assert found.marks(8) == pytest.approx((-0.5, 0, 0.5, 1, 1.5, 2, 2.5, 3))


def test_a_curve_travels_as_json_and_is_told_as_a_table(tmp_path):
    found = curve(0, 5, 10, at=(-1, 0.5, 2))
    found.save(tmp_path / "c.json")
    assert Curve.load(tmp_path / "c.json") == found
    found.save(tmp_path / "c.md")
    low, high = wilson(5, 10)
    assert f"| +0.5 | 0.50 ({low:.2f} to {high:.2f}), n 10 | 0.50 |" in (tmp_path / "c.md").read_text()
    (tmp_path / "foreign.json").write_text("{}")
    with pytest.raises(ValueError, match=r"foreign\.json holds no curve"):
        Curve.load(tmp_path / "foreign.json")


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(ValueError, match="cannot tell 'cat'"):
        calibrate(Painter(), Slid(RECIPE), "cat", Brightness())
    with pytest.raises(ValueError, match="no slider"):
        calibrate(Painter(), Slid(ce.Recipe(edits=[ce.Erase("doctor")])), "woman", Brightness())
    with pytest.raises(ValueError, match="give a labeller"):
        calibrate(Painter(), Slid(RECIPE), "woman")
    with pytest.raises(ValueError, match="above the one before"):
        curve(1, 2, at=(1, 1))


def test_a_curve_is_drawn_on_a_page_that_asks_for_nothing(tmp_path):
    found = Curve("<b>woman", "stub 1", tuple(Point(x, hits, 10) for x, hits in ((-1.0, 0), (0.0, 4), (2.0, 10))))
    found.save(tmp_path / "c.html")
    text = (tmp_path / "c.html").read_text()
    assert "<b>" not in text
    assert "http" not in text.replace("http-equiv", "")
    drawing = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in drawing.iter("circle")]
    assert len(dots) == 3
    across, up = [x for x, _ in dots], [y for _, y in dots]
    assert (across[1] - across[0]) / (across[2] - across[0]) == pytest.approx(1 / 3, abs=0.01)
    assert (up[0] - up[1]) / (up[0] - up[2]) == pytest.approx(0.4, abs=0.01)
    assert sum(line.get("stroke-width") == "3" for line in drawing.iter("line")) == 9
    assert f"{wilson(4, 10)[0]:.2f} to {wilson(4, 10)[1]:.2f}" in text


def test_a_flat_curve_says_on_its_page_that_it_has_no_marks(tmp_path):
    curve(3, 3, 3).save(tmp_path / "c.html")
    assert "No marks: the share of &#x27;woman&#x27; does not rise" in (tmp_path / "c.html").read_text()
