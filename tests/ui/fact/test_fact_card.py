"""The fact card without a browser: jobs, boards, files, fields, and what is shown."""

from __future__ import annotations

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
from pages import result

from concept_edit.language.edit import FactEdit
from ui.fact import files, shown, work
from ui.fact.answers import ask, top_words
from ui.fact.board import Board, opening
from ui.fact.heat import held, picked
from ui.fact.lens import lens
from ui.fact.opening import fields, made
from ui.fact.wish import wish_of
from ui.fact.world import examples
from ui.workshop.session import Visit, Workshop

BAD = "<img src=x onerror=alert(1)>"


@pytest.fixture
def changed(workshop: Workshop, visit: Visit) -> Board:
    """The second example, changed."""
    fact = examples("demo")[1]
    return result(work.change(workshop, visit, wish_of("demo", fact.prompt, fact.subject, "", fact.new)))


def test_the_shipped_opening_is_what_the_library_gives(workshop: Workshop) -> None:
    kept, new = opening(), made(workshop)
    assert kept.verdict() == new.verdict()
    assert kept.by() == new.by()
    assert kept.fact == new.fact
    for one, other in zip(kept.rows, new.rows, strict=True):
        assert (one.role, one.prompt, one.before.word) == (other.role, other.prompt, other.before.word)
        assert one.after is not None
        assert other.after is not None
        assert one.after.word == other.after.word
        assert one.after.chance == pytest.approx(other.after.chance, abs=0.05)
    assert kept.map is not None
    assert new.map is not None
    assert kept.map.layer == new.map.layer
    assert kept.map.tokens == new.map.tokens


def test_a_change_is_learned_and_the_model_is_as_before(workshop: Workshop, visit: Visit, changed: Board) -> None:
    lm = workshop.language("demo")
    learned, wordings, same, near = changed.counts()
    assert (learned, wordings, near) == (6, 6, 10)
    assert same >= 8
    assert changed.verdict()[1] == f"Learned in 6 of 6 wordings; neighbours unchanged {same} of 10."
    assert [word for word, _ in top_words(lm, [changed.fact.asked])] == [changed.fact.old]
    assert changed.map is not None
    assert f"Layer chosen by the trace: {changed.layers[0]}." in changed.map.why
    assert set(changed.measures) == {"ES", "PS", "NS", "S"}


def test_the_verdict_follows_strength_and_history(workshop: Workshop, visit: Visit, changed: Board) -> None:
    none = result(work.turn(workshop, visit, 0))
    assert none.verdict()[0] == "calm"
    assert [row.after.word for row in none.rows] == [row.before.word for row in none.rows]
    weak = result(work.turn(workshop, visit, 0.2))
    assert weak.verdict()[0] == "bad"
    assert weak.verdict()[1].startswith("Learned in 0 of 6")
    assert result(work.turn(workshop, visit, 1)).verdict() == changed.verdict()
    assert work.go(visit, -1).title == opening().title
    original = work.go(visit, -1)
    assert work.desk_of(visit).at == 0
    assert "The original demo" in shown.verdict(original, original=True)
    with pytest.raises(ValueError, match="nothing to undo"):
        work.go(visit, -1)
    with pytest.raises(ValueError, match="original model"):
        work.turn(workshop, visit, 1)
    work.go(visit, +1)
    assert work.go(visit, +1).title == changed.title
    with pytest.raises(ValueError, match="from 0 to 2"):
        work.turn(workshop, visit, 3)


def test_the_opening_example_can_be_turned_without_a_change_first(workshop: Workshop, visit: Visit) -> None:
    assert result(work.turn(workshop, visit, 1)).verdict() == opening().verdict()
    assert result(work.turn(workshop, visit, 0.2)).verdict()[0] == "bad"


def test_a_chosen_layer_is_where_it_is_written(workshop: Workshop, visit: Visit) -> None:
    fact = examples("demo")[3]
    named = "demo", fact.prompt, fact.subject, fact.old, fact.new
    early, late = (result(work.change(workshop, visit, wish_of(*named, layer=layer))) for layer in (0, 1))
    assert (early.layers, late.layers) == ((0,), (1,))
    assert early.rows[0].fine
    assert late.verdict()[0] == "bad"
    assert "as you chose" in shown.why(late)
    with pytest.raises(ValueError, match="layers go from 0 to 4"):
        result(work.change(workshop, visit, wish_of(*fields(), layer=5)))
    soft = result(work.change(workshop, visit, wish_of(*fields(), method="memit")))
    assert soft.layers == (0, 1, 2)


def test_files_open_again_and_hold_what_stands_on_the_card(
    workshop: Workshop, visit: Visit, changed: Board, tmp_path: Path
) -> None:
    lm = workshop.language("demo")
    edit = result(files.write(workshop, visit, "edit"))
    assert FactEdit.load(edit).facts == (changed.fact,)
    loaded = result(files.load(workshop, visit, "demo", edit))
    assert loaded.verdict() == changed.verdict()
    assert work.desk_of(visit).board is loaded
    recipe = result(files.write(workshop, visit, "recipe"))
    assert files.read_recipe(recipe) == changed.fact
    pack = result(files.write(workshop, visit, "adapter"))
    with ZipFile(pack) as opened:
        names = [Path(name).name for name in opened.namelist()]
        config = json.loads(opened.read(opened.namelist()[0]))
    assert names == ["adapter_config.json", "adapter_model.safetensors", "README.txt"]
    assert config["target_modules"] == [lm.site("mlp", 0).module]
    for kind, complaint in (("weights", "is no file of a change"),):
        with pytest.raises(ValueError, match=complaint):
            files.write(workshop, visit, kind)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no")
    with pytest.raises(ValueError, match=r"bad\.safetensors"):
        result(files.load(workshop, visit, "demo", bad))


def test_an_adapter_in_peft_says_what_the_card_says(
    workshop: Workshop, visit: Visit, changed: Board, tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    from concept_edit.demo.language import folder
    from concept_edit.language.open import open_language_model

    with ZipFile(result(files.write(workshop, visit, "adapter"))) as pack:
        pack.extractall(tmp_path)
    place = next(path for path in tmp_path.iterdir() if path.is_dir())
    plain = open_language_model(folder("facts"), device="cpu")
    held_model = peft.PeftModel.from_pretrained(plain.model, place).merge_and_unload()
    found = ask(open_language_model((held_model, plain.tokenizer)), [changed.fact.asked], changed.fact.new)
    assert changed.rows[0].after is not None
    assert found[0].chance == pytest.approx(changed.rows[0].after.chance, abs=1e-3)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("", "Ada", "", "x"), "write the sentence up to its answer"),
        (("Ada plays the", "", "", "x"), "write who or what it is about"),
        (("Ada plays the", "Ada", "", " "), "write what the model should say"),
        (("Ada plays the", "Bob", "", "x"), "does not hold “Bob”"),
        (("The friend of Ada", "Ada", "", "x"), "ends with whom it is about"),
        (("Ada plays the", "Ada", "x", "x"), "says “x” already"),
        (("Ada " * 200, "Ada", "", "x"), "at most 400 letters"),
    ],
)
def test_fields_that_ask_for_nothing_are_told_so(given: tuple[str, str, str, str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        wish_of("demo", *given)


def test_own_wordings_and_neighbours_are_asked(workshop: Workshop, visit: Visit) -> None:
    model, prompt, subject, _, new = fields()
    near = "The mother tongue of Selmo Thoyth is\nGilda Lorimo plays the = lute"
    wish = wish_of(model, prompt, subject, "", new, f"{subject} dreams in", near)
    assert wish.fact.paraphrases == ("{} dreams in",)
    board = result(work.change(workshop, visit, wish))
    assert [row.role for row in board.rows] == ["asked", "wording", "neighbour", "neighbour"]
    assert board.fact.neighbours == (
        ("The mother tongue of Selmo Thoyth is", "Abric"),
        ("Gilda Lorimo plays the", "lute"),
    )
    with pytest.raises(ValueError, match="does not hold"):
        wish_of(model, prompt, subject, "", new, "somebody else dreams in")


def test_what_the_model_says_already_is_no_change(workshop: Workshop, visit: Visit) -> None:
    model, prompt, subject, old, _ = fields()
    with pytest.raises(ValueError, match=f"says “{old}” there already"):
        result(work.change(workshop, visit, wish_of(model, prompt, subject, "", old)))
    assert work.desk_of(visit).board is opening()


def test_the_lens_ends_in_what_the_model_says(workshop: Workshop) -> None:
    lm = workshop.language("demo")
    prompt = opening().fact.asked
    table = lens(lm, prompt)
    assert (len(table), len(table[0]), len(table[0][0])) == (lm.encode([prompt]).lengths[0], lm.layers, 5)
    (word, chance), *_ = table[-1][-1]
    ((said, p),) = top_words(lm, [prompt])
    assert (word.strip(), chance) == (said, pytest.approx(p, abs=1e-4))
    assert table[-1][0][0][0].strip() != said


def test_answers_are_whole_words_whatever_the_batch(workshop: Workshop) -> None:
    lm = workshop.language("demo")
    prompts = [row.prompt for row in opening().rows]
    together = top_words(lm, prompts)
    alone = [top_words(lm, [prompt])[0] for prompt in prompts]
    assert [word for word, _ in together] == [word for word, _ in alone]
    assert [p for _, p in together] == pytest.approx([p for _, p in alone], abs=1e-4)


def test_text_of_visitors_is_harmless() -> None:
    told = shown.sentence(BAD, f"{BAD} is", BAD, BAD, BAD)
    assert "<img" not in told
    plain = opening().plain()
    plain["fact"]["new"] = plain["rows"][0]["prompt"] = plain["rows"][0]["after"]["word"] = plain["model"] = BAD
    plain["map"]["why"], plain["notes"] = BAD, [BAD]
    board = Board.of(plain)
    parts = [
        shown.answers(board),
        shown.verdict(board),
        shown.why(board),
        shown.figures(board),
        shown.past(1, 1, board),
    ]
    assert "<img" not in "".join(parts)


def test_a_layer_is_picked_by_its_number_alone() -> None:
    assert picked(json.dumps({**json.loads(held(opening())), "picked": 3})) == 3
    for wrong in ("", "{}", "[]", '{"picked": "3"}', '{"picked": -2}', "[" * 5000):
        with pytest.raises(ValueError, match="choose a layer"):
            picked(wrong)


def test_examples_are_known_to_the_model(workshop: Workshop) -> None:
    lm = workshop.language("demo")
    for fact in examples("demo"):
        assert top_words(lm, [fact.asked])[0][0] == fact.old
        assert len(fact.paraphrases) == 5
        assert len(fact.neighbours) == 10
        assert all(fact.subject not in prompt for prompt, _ in fact.neighbours[:8])


def test_ordinary_sentences_are_whole_paragraphs() -> None:
    for embedded in (True, False):
        texts = work.ordinary(embedded)
        assert len(texts) > 50
        assert all(text[0].isalpha() and "\n" not in text for text in texts)
