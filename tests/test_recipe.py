"""Recipes: what is refused and how it is said, YAML both ways, the published defaults."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from pydantic import ValidationError

import concept_edit as ce
from concept_edit.asked.wordings import UNTOLD, UNTOLD_THING, is_manner, told_in_manner
from concept_edit.recipe import MOST_TOLD, MethodWarning, pair_up, read_concepts

ROOT = Path(__file__).parent.parent
ARTISTS = ROOT.parent / "shared" / "data" / "prompts" / "artists_1734.txt"
FULL = ce.Recipe(
    edits=(
        ce.Erase("Van Gogh", guide="art", weight=2.0, wordings=("art", "a {} picture", "the Dutch master")),
        ce.Moderate("weapon"),
        ce.Debias("doctor", across={"man": 0.5, "woman": 0.5}),
    ),
    preserve=("Monet", ""),
    ridge=0.1,
    tokens="subject",
    layers=("v",),
)


def test_yaml_there_and_back(tmp_path):
    FULL.save(tmp_path / "r.yaml")
    assert ce.Recipe.load(tmp_path / "r.yaml") == FULL
    assert "erase: Van Gogh" in FULL.to_yaml()


def test_the_compact_form_spells_every_setting_out_and_comes_back():
    plain = json.loads(FULL.compact())
    assert ce.Recipe.model_validate(plain) == FULL
    assert set(plain) == set(ce.Recipe.model_fields)
    assert json.loads(ce.Recipe(edits=(ce.Erase("a"),)).compact())["edits"][0]["guide"] == ""


@pytest.mark.parametrize(
    ("given", "method", "tokens"),
    [
        ({}, "guarded", "subject"),
        ({"method": "guarded"}, "guarded", "subject"),
        ({"method": "gated"}, "gated", "subject"),
        ({"method": "guarded", "tokens": "last"}, "guarded", "last"),
        ({"method": "uce"}, "uce", "last"),
        ({"tokens": "last"}, "uce", "last"),
        ({"tokens": "subject"}, "uce", "subject"),
    ],
)
def test_the_method_is_guarded_unless_uces_own_language_is_spoken(given, method, tokens):
    recipe = ce.Recipe(edits=[ce.Erase("Van Gogh")], **given)
    assert (recipe.method, recipe.tokens) == (method, tokens)
    assert ce.Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert ce.Recipe.model_validate_json(recipe.compact()) == recipe


def test_a_written_recipe_without_a_method_means_what_it_meant(tmp_path):
    """Before `guarded` was the default, files left `uce` out."""
    (tmp_path / "old.yaml").write_text("edits:\n- erase: Van Gogh\n  guide: art\npreserve: [Monet]\n")
    with pytest.warns(MethodWarning, match="old.yaml names no method and is read as 'uce'"):
        old = ce.Recipe.load(tmp_path / "old.yaml")
    assert old == ce.Recipe(edits=[ce.Erase("Van Gogh", guide="art")], preserve=["Monet"], method="uce")
    old.save(tmp_path / "new.yaml")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ce.Recipe.load(tmp_path / "new.yaml") == old
        assert ce.Recipe.from_yaml("edits: []").method == "uce"


def test_the_uce_defaults_are_the_2025_code():
    recipe = ce.Recipe(edits=[ce.Erase("Van Gogh")], method="uce")
    assert (recipe.ridge, recipe.erase_scale, recipe.kept_scale) == (0.5, 1.0, 1.0)
    assert (recipe.tokens, recipe.method, recipe.kept) == ("last", "uce", ())
    assert recipe.edits[0].guide == ""


@pytest.mark.parametrize(("preserve", "scale"), [((), 1.0), (("a",), 0.5), (tuple("abcdefghijklmnop"), 0.1)])
def test_aligned_turns_to_the_2023_code(preserve, scale):
    recipe = ce.Recipe(edits=[ce.Erase("Van Gogh")], preserve=preserve, tokens="aligned")
    assert recipe.kept == ("", *preserve)
    assert recipe.kept_scale == scale
    assert recipe.model_copy(update={"preserve_scale": 0.3}).kept_scale == 0.3
    assert recipe.model_copy(update={"keep_null": False}).kept == preserve


def test_wordings_are_templates_phrases_and_the_published_sets():
    assert FULL.edits[0].prompts() == (
        "Van Gogh", "painting by Van Gogh", "art by Van Gogh", "artwork by Van Gogh", "picture by Van Gogh",
        "style of Van Gogh", "a Van Gogh picture", "the Dutch master",
    )  # fmt: skip
    assert ce.Erase("cat", wordings="object").prompts()[1:3] == ("image of cat", "photo of cat")
    assert ce.Moderate("cat").prompts() == ("cat",)


BAD = [
    ("edits:\n- erase: a\n  colour: red\n", "line 3: unknown key 'colour'"),
    ("edits: []\nridgee: 1\n", "line 2: unknown key 'ridgee'"),
    ("edits:\n- erase: a\n- {erse: b}\n", "line 3: .*erase, moderate, debias or steer"),
    ("edits:\n- erase: '  '\n", "line 2: .*a concept is empty"),
    ("edits:\n- erase: a\n- moderate: ' A '\n", "'A' stands twice in edits"),
    ("preserve: [b, B]\n", "'B' stands twice in preserve"),
    ("preserve: [a]\nedits: [{erase: A}]\n", "'A' is both changed and preserved"),
    ("edits:\n- erase: a\n  weight: 0\n", "line 3: edits.0.weight.*greater than 0"),
    ("edits:\n- erase: a\n  weight: .nan\n", "finite"),
    ("ridge: -1\n", "line 1: ridge.*greater than or equal to 0 .got -1"),
    ("ridge: .inf\n", "finite"),
    ("tokens: first\n", "line 1: tokens.*'last', 'aligned' or 'subject'"),
    ("method: magic\n", "line 1: method"),
    ("method: [uce]\n", "line 1: method"),
    ("method:\n", "line 1: method"),
    ("edits: [{debias: doctor, across: {man: 1}}]\n", "at least two different attributes"),
    ("edits: [{debias: doctor, across: {man: 0.5, woman: 0.6}}]\n", "sum to 1"),
    ("ridge: 1\nridge: 2\n", "line 2: key 'ridge' stands twice"),
    ("- a\n- b\n", "expected keys such as"),
    ("edits: [\n", "line 2: not YAML"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_bad_file_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        ce.Recipe.load(tmp_path / "bad.yaml")
    assert "bad.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_python_is_checked_as_files_are():
    with pytest.raises(ValidationError, match="colour"):
        ce.Recipe(colour="red")
    with pytest.raises(ValueError, match="a concept is empty"):
        ce.Erase("")
    with pytest.raises(ValueError, match="stands twice"):
        ce.Recipe(edits=[ce.Erase("a"), ce.Moderate("a")])


def test_a_recipe_is_frozen():
    with pytest.raises(ValidationError):
        FULL.ridge = 2.0
    with pytest.raises(AttributeError):
        FULL.edits[0].concept = "b"


def test_taking_out_and_joining():
    assert FULL.without("van gogh").concepts == ("weapon", "doctor")
    with pytest.raises(ValueError, match="'Monet' is not in the recipe"):
        FULL.without("Monet")
    a = ce.Recipe(edits=[ce.Erase("b"), ce.Erase("a", guide="x")], preserve=["K"])
    b = ce.Recipe(edits=[ce.Erase("c"), ce.Erase("b")], preserve=["k", "J"])
    assert (a + b).concepts == ("a", "b", "c")
    assert a + b == ce.Recipe(edits=(a + b).edits, preserve=(a + b).preserve)
    assert (a + b).edits == (b + a).edits
    assert [p.casefold() for p in (a + b).preserve] == [p.casefold() for p in (b + a).preserve] == ["j", "k"]
    with pytest.raises(ValueError, match="differ in ridge"):
        a + ce.Recipe(ridge=0.1)
    with pytest.raises(ValueError, match="'a' stands twice"):
        a + ce.Recipe(edits=[ce.Erase("a", guide="other")])
    with pytest.raises(ValueError, match="both changed and preserved"):
        a + ce.Recipe(preserve=["a"])


def test_guides_pair_up_with_concepts():
    assert [edit.guide for edit in pair_up(["a", "b"], ["x"])] == ["x", "x"]
    assert [edit.guide for edit in pair_up(["a", "b"], ["x", " "])] == ["x", ""]
    with pytest.raises(ValueError, match="3 guides for 2 concepts"):
        pair_up(["a", "b"], ["x", "y", "z"])


def test_concepts_from_a_text_file_and_a_csv(tmp_path):
    (tmp_path / "names.txt").write_text("Van Gogh\n\n  Egon Schiele \n", encoding="utf-8")
    assert [e.concept for e in read_concepts(tmp_path / "names.txt", guide="art")] == ["Van Gogh", "Egon Schiele"]
    (tmp_path / "names.csv").write_text('concept,guide,weight\n"Gogh, van",art,2\ncat,,\n', encoding="utf-8")
    first, second = read_concepts(tmp_path / "names.csv", guide="dog")
    assert (first.concept, first.guide, first.weight) == ("Gogh, van", "art", 2.0)
    assert (second.concept, second.guide, second.weight) == ("cat", "dog", 1.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "\n", "names no concept"),
        ("a.csv", "artist\nx\n", "expected a 'concept' column, found artist"),
        ("a.csv", "concept,weight\nx,much\n", "a.csv, line 2: .*much"),
        ("a.csv", "concept,guide\n,x\n", "a.csv, line 2: .*empty"),
    ],
)
def test_bad_concept_files_are_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_concepts(tmp_path / name)


def test_all_listed_artists_make_a_recipe():
    if not ARTISTS.is_file():
        pytest.skip(f"no {ARTISTS}")
    edits = read_concepts(ARTISTS, guide="art")
    assert len(ce.Recipe(edits=edits).edits) == len(edits) == 1734


def test_the_schema_knows_every_key_and_says_what_it_means():
    schema = ce.Recipe.model_json_schema()
    assert set(schema["properties"]) == set(ce.Recipe.model_fields)
    assert all("description" in entry for entry in schema["properties"].values())
    assert schema["additionalProperties"] is False
    assert {"erase", "guide", "weight", "wordings"} == set(schema["$defs"]["Erase"]["properties"])


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_are_recipes(path):
    recipe = ce.Recipe.load(path)
    assert recipe.edits
    assert ce.Recipe.from_yaml(recipe.to_yaml()) == recipe


@pytest.mark.parametrize("concept", ["Van Gogh", "twist of Monet", "cubism", "pop art", "ligne claire style"])
def test_artists_and_styles_are_known_by_how_they_are_called(concept):
    assert is_manner(concept)


@pytest.mark.parametrize("concept", ["cat", "red apple", "heart", "artist", ""])
def test_things_are_not_taken_for_styles(concept):
    assert not is_manner(concept)


def test_a_style_is_told_in_kept_things_each_in_one_way():
    kept = ("dog", "an old house", "", "Monet", "art", "orange", "in the style of somebody")
    assert told_in_manner(kept, 9) == ("a dog in the style of {}", "an old house by {}", "{}'s drawing of an orange")
    many = told_in_manner([f"thing {n}" for n in range(100)], 48)
    assert len(many) == 48
    assert "thing 97" in many[-1]
    assert told_in_manner(kept, 0) == ()


def test_common_things_fill_up_what_a_style_is_told_in():
    common = ("cat", "Dog", "shoe", "tree", "Van Gogh")
    told = told_in_manner(("dog", "old house"), 4, common)
    assert told == ("a dog in the style of {}", "an old house by {}", "{}'s drawing of a cat", "a tree in {} style")
    assert told_in_manner(("dog", "old house"), 2, common) == told[:2]
    assert [len(told_in_manner((), most, common)) for most in (0, 3, 48)] == [0, 3, 5]


def test_a_typed_style_is_told_in_as_many_things_whatever_is_kept():
    def told(*kept, names=("Monet",)):
        recipe = ce.Recipe(edits=list(map(ce.Erase, names)), preserve=kept)
        return [len(recipe.wordings_of(edit, quickly=True)) - len(UNTOLD) for edit in recipe.edits]

    assert told() == told("dog") == told(*(f"thing {n}" for n in range(200))) == [MOST_TOLD]
    assert told("dog", names=("Monet", "cubism")) == [MOST_TOLD // 2] * 2


def test_wordings_nobody_named_are_those_of_the_kind():
    def taken(edit, quickly=True, edits=1, **settings):
        others = [ce.Erase(f"thing {n}") for n in range(edits - 1)]
        return ce.Recipe(edits=[edit, *others], preserve=["dog"], **settings).wordings_of(edit, quickly)[:4]

    told = ("a dog in the style of {}", "a tortoise by {}")
    assert taken(ce.Erase("cat")) == UNTOLD_THING
    assert taken(ce.Erase("Monet")) == ("style", "object", *told)
    assert taken(ce.Erase("cat", wordings="style"))[:3] == ("style", *told)
    assert taken(ce.Erase("Monet", wordings="{}")) == ("{}",)
    assert taken(ce.Erase("cat", wordings=("style", "object"))) == ("style", "object")
    assert taken(ce.Erase("cat"), quickly=False) == taken(ce.Erase("Monet"), quickly=False) == ()
    assert taken(ce.Erase("cat"), edits=24) == UNTOLD_THING
    assert taken(ce.Erase("cat"), edits=25) == ()
    assert taken(ce.Erase("a photo of a cat on a mat")) == ()
    assert taken(ce.Moderate("cat")) == taken(ce.Erase("cat"), method="uce") == ()
    assert taken(ce.Erase("cat"), method="gated") == ("style", "object")
    assert taken(ce.Erase("Monet"), method="gated") == ("style", "object", *told)
    assert taken(ce.Erase("Monet", wordings="style"), method="uce") == ("style",)


def test_many_styles_share_the_things_they_are_told_in():
    kept = [f"thing {n}" for n in range(60)]
    styles = [ce.Erase(f"Artist {n}") for n in range(8)]
    recipe = ce.Recipe(edits=styles, preserve=kept, method="guarded")
    assert len(recipe.wordings_of(styles[0], True)) == 2 + 6
