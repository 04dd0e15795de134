"""Which pipelines are of which family: those that are listed, and none that only begin with the same words."""

from __future__ import annotations

import pytest

from concept_edit.models.families import FAMILIES, family_of

MEMBERS = {
    "StableDiffusionPipeline": "sd1",
    "StableDiffusionInpaintPipeline": "sd1",
    "StableDiffusionControlNetPAGInpaintPipeline": "sd1",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusionXLControlNetUnionImg2ImgPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "StableDiffusion3ControlNetInpaintingPipeline": "sd3",
    "FluxPipeline": "flux",
    "FluxKontextPipeline": "flux",
    "FluxFillPipeline": "flux",
}
STRANGERS = (
    *("Flux3ModularPipeline", "FluxModularPipeline", "FluxKontextModularPipeline", "Flux3DistilledModularPipeline"),
    *("Flux4Pipeline", "FluxPriorReduxPipeline", "StableDiffusionXLModularPipeline", "StableDiffusion3ModularPipeline"),
    *("StableDiffusion4Pipeline", "StableDiffusionImageVariationPipeline", "StableDiffusionLatentUpscalePipeline"),
    *("StableDiffusionOnnxPipeline", "MyStableDiffusionPipeline", "FluxPipelineOfMine", "None", ""),
)


@pytest.mark.parametrize(("name", "family"), MEMBERS.items())
def test_listed_pipelines_are_members(name, family):
    assert family_of(name, {}).name == family


def test_sd_2_projects_with_linear_layers():
    assert family_of("StableDiffusionPipeline", {"use_linear_projection": True}).name == "sd2"


@pytest.mark.parametrize("name", STRANGERS)
def test_others_are_refused_by_their_name(name):
    with pytest.raises(ValueError, match=f"^{name} is of no family") as caught:
        family_of(name, {})
    assert ("as the plain one" in str(caught.value)) == ("Modular" in name)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_class_that_paints_is_a_member_and_none_is_of_two_families(family):
    assert family_of(family.pipeline, {"use_linear_projection": family.name == "sd2"}) is family


def test_of_all_pipelines_there_are_no_modular_one_is_taken():
    import diffusers

    taken = []
    for name in (name for name in dir(diffusers) if name.endswith("Pipeline")):
        try:
            taken.append((name, family_of(name, {}).name))
        except ValueError:
            continue
    assert len(taken) > 40
    assert not [name for name, _ in taken if "Modular" in name]
    assert {name for name, family in taken if family == "sdxl"} >= {"StableDiffusionXLPAGInpaintPipeline"}
