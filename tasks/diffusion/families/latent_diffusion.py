"""The paper's own model: latent diffusion with a BERT text encoder (Rombach et al. 2022, LDM text-to-image)."""

from tasks.diffusion.families.parts import Family, TextPart
from tasks.diffusion.families.stable_diffusion import denoise, encode

FAMILY = Family(
    text_encoders=(TextPart("tokenizer", "bert", "clip_l"),),
    encode=encode,
    denoise=denoise,
    architecture=lambda base: "latent-diffusion",
    vae="vqvae",
)
