"""YAML: bombs of every kind are refused while they are read; what a recipe needs is read as PyYAML reads it."""

from __future__ import annotations

import math

import pytest
import yaml

import concept_edit as ce
from concept_edit.reading.yaml_text import DEEPEST, MOST_CHARACTERS, MOST_KEYS, read_yaml

BOMBS = {
    "laughs": ("a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a]\n" for i in range(40)), "anchor or alias"),
    "alias": ("a: *b", "anchor or alias"),
    "merge": ("a: {<<: {b: 1}}", "merge key <<"),
    "float": ("ridge: !!float x", "the tag .*float"),
    "timestamp": ("ridge: !!timestamp x", "the tag .*timestamp"),
    "object": ("ridge: !!python/object/apply:os.system [ls]", "the tag"),
    "deep list": ("preserve: " + "[" * 900 + "]" * 900, f"more than {DEEPEST} levels"),
    "deep mapping": ("{a: " * 900 + "}" * 900, f"more than {DEEPEST} levels"),
    "deep block": ("\n".join(" " * i + "a:" for i in range(900)), f"more than {DEEPEST} levels"),
    "deep dashes": ("- " * 900, f"more than {DEEPEST} levels"),
    "many keys": ("".join(f"k{i}: 1\n" for i in range(MOST_KEYS + 1)), "keys in one mapping"),
    "list as a key": ("? [a]\n: 1", "as a key"),
    "mapping as a key": ("{{a: 1}: 2}", "as a key"),
    "key twice": ("ridge: 1\nridge: 2", "line 2: key 'ridge' stands twice"),
    "two documents": ("--- {}\n--- {}", "a second document"),
    "too long": ("#" * (MOST_CHARACTERS + 1), "longer than 8 MB"),
    "half a character": ("preserve: ['\ud800']", "not text"),
    "control character": ("preserve: [\x00]", "not YAML"),
    "many digits": ("ridge: " + "9" * 5000, "ridge"),
    "infinity": ("ridge: .inf", "finite"),
    "date": ("ridge: 2001-99-99", "ridge"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs(kind: str) -> None:
    text, words = BOMBS[kind]
    with pytest.raises(ValueError, match=words) as caught:
        ce.Recipe.from_yaml(text)
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_entries_are_counted_while_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("concept_edit.reading.yaml_text.MOST_ENTRIES", 100)
    with pytest.raises(ValueError, match="line 99: more than 100 entries, which no recipe needs"):
        read_yaml("preserve:\n" + "- a\n" * 10_000 + "]]] never read", "it")


PLAIN = [
    "012", "08", "0x1F", "-5", "1_000", "1.5", "1e5", "1.5e+3", ".5", "yes", "No", "~", "", "x", '"x"', "'5'", "0o7",
    "+.inf", "-.INF", "-0", "0b101", "|\n  abc", ">-\n  a\n  b", "[1, {a: b}]", "{a: null, 'b': [on]}", "a: b: c",
]  # fmt: skip


@pytest.mark.parametrize("text", PLAIN)
def test_words_and_numbers_as_pyyaml_reads_them(text: str) -> None:
    whole = f"k: {text}"
    try:
        expected = yaml.safe_load(whole)
    except yaml.YAMLError:
        with pytest.raises(ValueError, match="not YAML"):
            read_yaml(whole, "it")
        return
    assert repr(read_yaml(whole, "it")[0]) == repr(expected)


def test_dates_stay_text_and_nan_is_a_number() -> None:
    assert read_yaml("[2001-01-01, 1:30]", "it")[0] == ["2001-01-01", "1:30"]
    assert math.isnan(read_yaml("[.nan]", "it")[0][0])


def test_what_is_written_is_read_again() -> None:
    names = ("yes", "012", "2001-01-01", "<<", "a: b", "- x", "é", "#1", "'", '"', "null", "1.5", "=", "*a", "&a", "!x")
    recipe = ce.Recipe(edits=[ce.Erase(name) for name in names], preserve=["", "a\nb"])
    assert ce.Recipe.from_yaml(recipe.to_yaml()) == recipe
