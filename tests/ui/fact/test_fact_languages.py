"""The language models the workshop holds: which names it offers, that each is opened once, that paths are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from concept_edit.demo.language import folder
from ui.workshop.session import Settings, Workshop


def test_a_language_model_is_opened_once(workshop: Workshop) -> None:
    opened = workshop.language("demo")
    assert opened is workshop.language("demo")
    assert opened.name == "demo"
    other = Workshop()
    assert not other.speaks("demo")
    assert other.language("demo") is not opened
    assert other.speaks("demo")


def test_only_names_of_the_server_are_opened(workshop: Workshop) -> None:
    assert workshop.language_names()[0] == "demo"
    for name in (str(folder("facts")), "../weights", "gpt2", ""):
        with pytest.raises(ValueError, match="is no language model of this server"):
            workshop.language(name)


def test_the_command_lines_model_is_offered_by_its_name_alone() -> None:
    place = folder("facts")
    workshop = Workshop(Settings(language=str(place)))
    assert workshop.language_names()[-1] == place.name
    assert workshop.language(place.name).name == place.name
    assert str(Path(place).parent) not in " ".join(workshop.language_names())
