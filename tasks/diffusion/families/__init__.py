"""The families of base models by the pipeline class that model_index.json names. A family is one module and one entry here."""

from collections.abc import Mapping
from typing import Any

from tasks.diffusion.families import flux, latent_diffusion, stable_diffusion, stable_diffusion_3, stable_diffusion_xl, z_image
from tasks.diffusion.families.parts import Family

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": stable_diffusion.FAMILY,
    "StableDiffusionXLPipeline": stable_diffusion_xl.FAMILY,
    "StableDiffusion3Pipeline": stable_diffusion_3.FAMILY,
    "FluxPipeline": flux.FAMILY,
    "ZImagePipeline": z_image.FAMILY,
    "LDMTextToImagePipeline": latent_diffusion.FAMILY,
}


def family_of(model_index: Mapping[str, Any], model: str) -> Family:
    """Return the family of a pipeline's model_index.json; `model` names it in errors.

    Raises:
        ValueError: the pipeline is of no family that words can be learned for.
    """
    name = model_index["_class_name"]
    if name not in FAMILIES:
        raise ValueError(f"{model} is a {name}; base.model in params.yaml takes a {', a '.join(FAMILIES)}")
    return FAMILIES[name]
