"""The command line: verbs, the UCE script's flags, messages and exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import tiny
from PIL import Image

import concept_edit as ce
from concept_edit.__main__ import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny.tiny_pipeline("sd1").save_pretrained(path)
    return str(path)


@pytest.fixture
def call(folder, capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder and give exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def called(*arguments, model=True):
        code = run([*arguments, *(["--model", folder] if model else [])])
        out, err = capsys.readouterr()
        return code, out, err

    return called


def test_a_lists_file_name_is_not_taken_for_a_concept(call, tmp_path):
    (tmp_path / "names.txt").write_text("Van Gogh\nPicasso\n")
    for wrong, right in ((("erase", "names.txt"), "--concepts-file"), (("moderate", "names.txt"), "--concepts-file"),
                         (("erase", "Monet", "--preserve", "names.txt"), "--preserve-file")):  # fmt: skip
        code, _, err = call(*wrong)
        assert code == 2
        assert err.strip().endswith(f"give it as {right} names.txt")
    assert not list(tmp_path.glob("*.safetensors"))


def test_erase_writes_the_edit_that_the_library_solves(call, folder, tmp_path):
    code, out, err = call(
        "erase", "Van Gogh; Picasso", "--guide", "art", "--preserve", "Monet; Rembrandt", "-o", "e.safetensors",
        "--method", "uce",
    )  # fmt: skip
    assert code == 0
    assert "e.safetensors: 2 concepts; text rank 2 of 32" in out
    assert "encoding" in err
    recipe = ce.Recipe(
        edits=[ce.Erase("Van Gogh", guide="art"), ce.Erase("Picasso", guide="art")],
        preserve=["Monet", "Rembrandt"],
        method="uce",
    )
    written = ce.Edit.load("e.safetensors")
    assert written.recipe == recipe
    ce.solve(ce.open_model(folder), recipe).save("direct.safetensors")
    assert (tmp_path / "direct.safetensors").read_bytes() == (tmp_path / "e.safetensors").read_bytes()


def test_an_option_given_twice_is_a_list_as_with_semicolons(call):
    twice = ("--preserve", "Monet; cat", "--preserve", "dog", "--guide", "art", "--guide", "tree", "--layers", "k",
             "--layers", "v", "--wordings", "a {}", "--wordings", "object")  # fmt: skip
    assert call("erase", "Van Gogh; Picasso", *twice, "-q") == (0, "", "")
    recipe = ce.Edit.load("edit.safetensors").recipe
    assert (recipe.preserve, recipe.layers) == (("Monet", "cat", "dog"), ("k", "v"))
    assert [(e.guide, e.wordings) for e in recipe.edits] == [("art", ("a {}", "object")), ("tree", ("a {}", "object"))]


def test_the_command_line_says_what_a_spelling_was_taken_for(call):
    _, out, _ = call("erase", "Van Gogh; cat; dog")
    assert "told, by spelling, Van Gogh: as a style; cat, dog: as a thing (if not: --wordings object, or style)" in out
    _, out, _ = call("erase", "Van Gogh", "--json")
    assert json.loads(out)["taken_for"] == {"style": ["Van Gogh"]}
    for said in (("--wordings", "object"), ("--tokens", "last")):
        assert "by spelling" not in call("erase", "Van Gogh", *said)[1]


def test_the_uce_scripts_flags_are_understood(call, folder):
    code, out, _ = call(
        "erase", "--edit_concepts", "Van Gogh; Monet", "--guide_concepts", "art; cat", "--preserve_concepts", "dog",
        "--erase_scale", "2", "--preserve_scale", "0.5", "--lamb", "0.1", "--expand_prompts", "true",
        "--concept_type", "art", "--model_id", folder, "--save_dir", ".", "--exp_name", "mine", "--json", model=False,
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["out"] == "mine.safetensors"
    recipe = ce.Edit.load("mine.safetensors").recipe
    assert [(e.concept, e.guide, e.wordings) for e in recipe.edits] == [
        ("Van Gogh", "art", ("art",)),
        ("Monet", "cat", ("art",)),
    ]
    assert (recipe.preserve, recipe.erase_scale, recipe.preserve_scale, recipe.ridge) == (("dog",), 2.0, 0.5, 0.1)


@pytest.mark.parametrize(("flags", "guide"), [((), ""), (("--concept_type", "art"), "art"), (("--guide", "x"), "x")])
def test_the_default_guide_is_that_of_the_uce_script(call, flags, guide):
    assert call("erase", "Van Gogh", *flags, "-q")[0] == 0
    assert ce.Edit.load("edit.safetensors").recipe.edits[0].guide == guide


@pytest.mark.parametrize("spelling", ["--guide_concepts", "--guided_concept", "--guided_concepts"])
def test_the_guide_is_understood_as_both_uce_scripts_spell_it(call, spelling):
    assert call("erase", "--edit_concepts", "Van Gogh; Monet", spelling, "cat", "-q") == (0, "", "")
    edit = ce.Edit.load("edit.safetensors")
    assert [each.guide for each in edit.recipe.edits] == ["cat", "cat"]
    assert edit.recipe.method == "uce"


@pytest.mark.parametrize("more", [(), ("--expand_prompts", "true")])
def test_unsafe_concepts_go_to_the_empty_prompt_as_moderated_ones_do(call, tmp_path, more):
    asked = ("--edit_concepts", "weapon; knife", "--concept_type", "unsafe", *more)
    assert call("erase", *asked, "-q") == (0, "", "")
    edit = ce.Edit.load("edit.safetensors")
    assert edit.recipe.edits == (ce.Moderate("weapon"), ce.Moderate("knife"))
    assert edit.recipe.method == "uce"
    assert call("moderate", "weapon; knife", "--method", "uce", "-o", "moderated.safetensors", "-q") == (0, "", "")
    assert (tmp_path / "edit.safetensors").read_bytes() == (tmp_path / "moderated.safetensors").read_bytes()


def test_an_unsafe_concept_with_a_guide_goes_there_under_any_method(call):
    asked = ("weapon; knife", "--concept_type", "unsafe", "--method", "guarded")
    assert call("erase", *asked, "--guided_concept", "flower", "-q") == (0, "", "")
    assert ce.Edit.load("edit.safetensors").recipe.edits[0] == ce.Erase("weapon", guide="flower")
    assert call("erase", *asked, "-q") == (0, "", "")
    edit = ce.Edit.load("edit.safetensors")
    assert edit.recipe.edits[0] == ce.Moderate("weapon")
    assert edit.recipe.method == "guarded"


def test_moderate_solve_and_concept_files(call, tmp_path):
    assert call("moderate", "weapon; knife", "-q") == (0, "", "")
    assert ce.Edit.load("edit.safetensors").recipe.edits == (ce.Moderate("weapon"), ce.Moderate("knife"))
    (tmp_path / "names.txt").write_text("Van Gogh\nEgon Schiele\n")
    assert call("erase", "--concepts-file", "names.txt", "--guide", "art", "-q")[0] == 0
    assert ce.Edit.load("edit.safetensors").concepts == ("Van Gogh", "Egon Schiele")
    recipe = ce.Recipe(edits=[ce.Erase("cat", guide="dog")], tokens="subject", layers=["v"])
    recipe.save("r.yaml")
    assert call("solve", "r.yaml", "-o", "s.safetensors", "--statistics", "-q")[0] == 0
    assert ce.Edit.load("s.safetensors").recipe == recipe
    assert ce.Edit.load("s.safetensors").statistics is not None


def test_erase_is_guarded_unless_it_speaks_uces_own_language(call):
    code, out, _ = call("erase", "Van Gogh", "--guide", "art")
    assert code == 0
    assert "expected in text:" in out
    assert ce.Edit.load("edit.safetensors").recipe.method == "guarded"
    for flags in (
        ["--edit_concepts", "Van Gogh"],
        ["Van Gogh", "--expand_prompts", "true"],
        ["a", "--tokens", "aligned"],
    ):
        assert call("erase", *flags, "-q")[0] == 0
        assert ce.Edit.load("edit.safetensors").recipe.method == "uce"
    assert call("moderate", "weapon", "--method", "gated")[0] == 0
    assert "gate of" in call("show", "edit.safetensors", model=False)[1]


def test_show(call, folder):
    call("erase", "Van Gogh", "--guide", "art", "--tokens", "last", "-q")
    code, out, _ = call("show", "edit.safetensors", model=False)
    assert code == 0
    assert "1 concept; text rank 1 of 32" in out
    assert "erase: Van Gogh" in out
    facts = json.loads(call("show", "edit.safetensors", "--json", model=False)[1])
    assert facts["text_encoder"] == ce.open_model(folder).fingerprint
    assert facts["recipe"]["edits"][0]["guide"] == "art"
    assert facts["streams"] == {"text": {"width": 32, "rank": 1}}


def test_diagnose(call):
    call("erase", "Van Gogh", "--guide", "art", "-q")
    code, out, _ = call("diagnose", "edit.safetensors", "--held-out", "Monet; cat")
    assert code == 0
    assert "drift of held-out prompts" in out
    assert "verdict: " in out
    assert json.loads(call("diagnose", "edit.safetensors", "--json")[1])["checks"]


def test_generate_paints_a_grid_that_says_what_it_is(call):
    call("erase", "a red apple", "--guide", "dog", "-q")
    common = ("generate", "a red apple", "--seed", "3", "--count", "2", "--steps", "1")
    assert call(*common, "-o", "plain.png")[0] == 0
    code, _, err = call(*common, "-o", "edited.png", "--edit", "edit.safetensors", "--strength", "0.8")
    assert code == 0
    assert "painting" in err
    plain, edited = Image.open("plain.png"), Image.open("edited.png")
    assert plain.text["prompt"] == "a red apple"
    assert plain.text["seed"] == "3 4"
    assert edited.text["strength"] == "0.8"
    assert plain.width > plain.height
    assert plain.tobytes() != edited.tobytes()
    assert call(*common, "-o", "zero.png", "--edit", "edit.safetensors", "--strength", "0", "-q") == (0, "", "")
    assert Image.open("zero.png").tobytes() == plain.tobytes()


def test_schema(call):
    code, out, _ = call("schema", model=False)
    assert code == 0
    assert json.loads(out) == ce.Recipe.model_json_schema()
    assert call("schema", "-o", "s.json", model=False)[0] == 0


BAD = [
    (("erase", ""), "no concept to change"),
    (("erase", "a; A"), "'A' stands twice in edits"),
    (("erase", "a", "--preserve", "a"), "both changed and preserved"),
    (("erase", "a; b", "--guide", "x; y; z"), "3 guides for 2 concepts"),
    (("erase", "a", "--ridge", "-1"), "ridge.*greater than or equal to 0"),
    (("erase", "a", "--ridge", "0", "--method", "uce"), "ridge 0 is too small"),
    (("erase", "a", "--tokens", "first"), "--tokens"),
    (("erase", "a", "--layers", "nothing"), "no layer of .* is called 'nothing'"),
    (("erase", "a", "--out", "nowhere/e.safetensors"), "there is no folder nowhere"),
    (("erase", "a", "--out", "."), "it is a folder"),
    (("erase", "the red apple " * 60, "--strict"), "longer than the tokenizer takes"),
    (("erase", "--concepts-file", "none.txt"), "No such file or directory: none.txt"),
    (("solve", "none.yaml"), "No such file or directory: none.yaml"),
    (("diagnose", "none.safetensors"), "there is no file none.safetensors"),
    (("generate", "a", "--edit", "model.ckpt"), "is a pickle"),
    (("generate", "a", "--count", "0"), "--count"),
    (("generate", "a", "--seed", "-1"), "seed"),
    (("generate", "a", "--seed", "x"), "--seed"),
    (("generate", "a", "--out", "nowhere/a.png"), "there is no folder nowhere"),
    (("paint", "a"), "No such command 'paint'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda part: " ".join(part)[:40] if part else "")
def test_bad_input_is_one_line_and_exit_code_2(call, arguments, message, tmp_path):
    import re

    (tmp_path / "edit.safetensors").write_bytes(b"the old file")
    code, out, err = call(*arguments)
    last = err.strip().splitlines()[-1]
    assert code == 2
    assert out == ""
    assert last.startswith("error: ")
    assert re.search(message, last), last
    assert (tmp_path / "edit.safetensors").read_bytes() == b"the old file"


def test_a_long_prompt_is_told_on_stderr(call):
    code, _, err = call("erase", "the red apple " * 60, "-q")
    assert code == 0
    assert "note: 'the red apple" in err


def test_unknown_models_and_wrong_encoders_are_refused(call, tmp_path_factory):
    code, _, err = call("erase", "a", "--model", "no/such-model-here", model=False)
    assert code == 2
    assert "no/such-model-here" in err
    other = tmp_path_factory.mktemp("other")
    tiny.tiny_pipeline("sd1", seed=3).save_pretrained(other)
    call("erase", "a", "-q")
    code, _, err = call("generate", "a", "--edit", "edit.safetensors", "--model", str(other), model=False)
    assert code == 2
    assert "solved on the text encoder of" in err


def test_ctrl_c_is_exit_code_130_and_the_old_file_stays(call, tmp_path, monkeypatch):
    (tmp_path / "edit.safetensors").write_bytes(b"the old file")

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", interrupted)
    code, _, err = call("erase", "a", "-q")
    assert code == 130
    assert "stopped" in err
    assert [path.name for path in tmp_path.iterdir()] == ["edit.safetensors"]
    assert (tmp_path / "edit.safetensors").read_bytes() == b"the old file"


def test_a_full_disk_is_told_and_the_old_file_stays(call, tmp_path, monkeypatch):
    (tmp_path / "edit.safetensors").write_bytes(b"the old file")

    def full(_):
        raise OSError(28, "No space left on device", "edit.safetensors")

    monkeypatch.setattr("os.fsync", full)
    code, _, err = call("erase", "a", "-q")
    assert (code, err.strip()) == (2, "error: No space left on device: edit.safetensors")
    assert (tmp_path / "edit.safetensors").read_bytes() == b"the old file"


def test_the_program_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "concept_edit", "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("erase", "moderate", "solve", "show", "diagnose", "generate", "schema"))


def test_every_verb_chooses_the_device_unless_one_is_named():
    from inspect import signature

    from concept_edit.__main__ import app

    taken = {c.callback.__name__: signature(c.callback).parameters for c in app.registered_commands}
    chosen = {name: given["device"].default for name, given in taken.items() if "device" in given}
    assert {"erase", "moderate", "debias", "solve", "diagnose", "generate", "evaluate", "verify"} <= set(chosen)
    assert set(chosen.values()) == {"auto"}


def test_a_device_that_was_chosen_is_said_in_one_line(call, folder, monkeypatch):
    from concept_edit.models import placement

    placement._tell.cache_clear()
    monkeypatch.setattr(placement.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(placement, "_device", lambda _: placement.torch.device("cpu"))
    code, _, err = call("moderate", "weapon", "-q")
    assert (code, err) == (
        0,
        "note: running on cuda, which is here; device 'cpu' (--device cpu) runs on the processor\n",
    )
    assert call("moderate", "weapon", "-q") == (0, "", "")


def test_a_recipe_file_without_a_method_is_noted(call, tmp_path):
    (tmp_path / "old.yaml").write_text("edits:\n- erase: Van Gogh\n  guide: art\n")
    code, _, err = call("solve", "old.yaml", "-q")
    assert code == 0
    assert err.startswith("note: old.yaml names no method and is read as 'uce'")
    assert ce.Edit.load("edit.safetensors").recipe.method == "uce"


def test_a_slider_is_made_and_its_strip_painted(call, tmp_path):
    code, out, _ = call("steer", "doctor", "--towards", "old {}", "--away", "young {}", "--from", "-1", "--to", "3")
    assert code == 0
    slider = ce.Edit.load(tmp_path / "edit.safetensors").recipe.edits[0]
    assert (slider.towards, slider.away, slider.range) == ("old doctor", "young doctor", (-1.0, 3.0))
    fast = ("--edit", "edit.safetensors", "--steps", "1", "--frames", "3")
    code, out, _ = call("strip", "a doctor", "an apple", *fast, "--json")
    assert code == 0
    assert json.loads(out)["strengths"] == "-1 1 3"
    with Image.open(tmp_path / "strip.png") as picture:
        assert picture.text["strengths"] == "-1 1 3"
        assert picture.width > picture.height > 0
    assert call("strip", "a doctor", *fast, "--out", "strip.gif")[0] == 0
    with Image.open(tmp_path / "strip.gif") as moving:
        assert moving.n_frames == 4, "there and back"
    assert call("strip", "a doctor", *fast, "--out", "strip.bmp")[2].startswith("error: strip.bmp")
    assert "name two ends" in call("steer", "doctor", "--towards", "doctor")[2]


def test_a_slider_is_calibrated_and_its_strip_painted_at_the_marks(call, tmp_path, monkeypatch):
    import torch

    from concept_edit.balance import marks

    class Rising:
        name, calls = "rising 1", 0

        def choices(self, concept):
            return ("man", "woman")

        def __call__(self, images, choices):
            self.calls += 1
            woman = torch.arange(len(images)) < self.calls
            return torch.stack([~woman, woman], dim=1).double()

    assert call("steer", "doctor", "--towards", "old {}", "--away", "young {}", "-q")[0] == 0
    asked = ("calibrate", "woman", "--edit", "edit.safetensors", "--steps", "1", "-n", "4", "--at", "-1; 0; 2")
    assert "give a labeller" in call(*asked)[2]
    monkeypatch.setattr(marks, "_judge", lambda model: Rising())
    code, out, _ = call(*asked, "--marks", "3")
    assert code == 0
    assert "| +0 | 0.50 (0.15 to 0.85), n 4 | 0.50 |" in out
    assert "marks: -1; +0; +2" in out
    fast = ("strip", "a doctor", "--edit", "edit.safetensors", "--steps", "1", "--curve", "curve.json", "--frames", "3")
    code, out, _ = call(*fast, "--json")
    assert (code, json.loads(out)["strengths"]) == (0, "-1 0 2")
    assert "have their own ends" in call(*fast, "--from", "-1")[2]
    assert "are no strengths" in call(*asked[:-1], "low; high")[2]
