"""A CLIP that guides diffusion by its gradient. It is not the judge, or the pictures would be made for the score."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.ddim import initial_noise, shift_of
from tasks.diffusion.noise.ddpm import Denoising, to_clean, to_epsilon
from tasks.diffusion.words import unconditional
from tasks.settings import Settings
from tasks.similarity.scorer import Scorer, load_scorer
from tasks.study.cells import Plan

CUTS = 4  # random crops of each picture whose mean gradient is followed, against patterns that only one crop would show
SMALLEST_CUT = 0.7  # of the side
WORD_STEPS, WORD_RATE = 200, 1e-2
MOST_WORDS = 2000  # that a learned word is told apart from


@dataclass(frozen=True)
class Guide:
    clip: Scorer

    @property
    def identity(self) -> dict[str, str]:
        return self.clip.identity

    def text_features(self, text: str, learned: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the L2-normalised feature of a text: (dim,). learned: an ordinary word -> the row (width,) that it is read as instead."""
        tower = getattr(self.clip.model, "text", self.clip.model)
        tokens = self.clip.tokenizer([text]).to(self.clip.device)
        embedded = tower.token_embedding(tokens)
        for word, row in (learned or {}).items():
            embedded = torch.where((tokens == self.token(word))[..., None], row, embedded)
        hidden = tower.transformer(embedded + tower.positional_embedding, attn_mask=tower.attn_mask)
        ended = tower.ln_final(hidden)[torch.arange(len(tokens)), tokens.argmax(dim=1)]  # the end's id is the highest, as in CLIP
        return F.normalize(ended @ tower.text_projection, dim=-1)[0]

    def token(self, word: str) -> int:
        """Return the id of a word of one token.

        Raises:
            ValueError: the word has several.
        """
        tokens = self.clip.tokenizer([word])[0]
        if int(tokens.argmax()) != 2:  # the start, the word, the end
            raise ValueError(f"{word!r} is several tokens of the study's guide; choose an ordinary word of one token under `things`")
        return int(tokens[1])

    def words(self) -> list[str]:
        """Return whole words of the vocabulary, at most `MOST_WORDS`, spread evenly over it."""
        tokenizer = self.clip.tokenizer
        table = tokenizer.tokenizer.get_vocab() if hasattr(tokenizer, "tokenizer") else tokenizer.encoder
        words = sorted(token[:-4] for token in table if token.endswith("</w>") and token[:-4].isalpha())
        return words[:: -(-len(words) // MOST_WORDS)]

    def image_features(self, pixels: Tensor) -> Tensor:
        """Return L2-normalised features (n, dim) of pixels (n, 3, height, width) in [-1, 1]."""
        side = self.clip.model.visual.image_size
        resized = F.interpolate(pixels, side if isinstance(side, int) else tuple(side), mode="bilinear", antialias=True)
        mean, std = (torch.tensor(self.clip.model.visual.preprocess_cfg[key], device=pixels.device).view(-1, 1, 1) for key in ("mean", "std"))
        return F.normalize(self.clip.model.encode_image(((resized + 1) / 2 - mean) / std), dim=-1)


def load_guide(plan: Plan, settings: Settings) -> Guide:
    """Load the CLIP that the plan names.

    Raises:
        ValueError: it is the judge.
    """
    judge = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device).identity
    guide = Guide(load_scorer(plan.guide.model, plan.guide.pretrained, settings.runtime.device))
    if guide.identity["weights_sha256"] == judge["weights_sha256"]:
        raise ValueError(f"the study's guide, {plan.guide.model}, is the scorer too, so its pictures would be made for the score; name another CLIP")
    return guide


def clip_guided(base: BaseModel, guide: Guide, text: Tensor, starts: Tensor | None, number: int, plan: Plan) -> Tensor:
    """Return latents (number, channels, height, width) of diffusion without a prompt that follows a CLIP's gradient to a text's feature (dim,).

    The gradient changes the predicted noise (Dhariwal & Nichol 2021, algorithm 2) and is that of the squared great-circle distance between the
    text and crops of the predicted picture (Crowson 2021). starts: latents to start from, at `plan.guide.start` of the schedule; None starts
    from noise.

    Raises:
        ValueError: the base model is no denoising diffusion.
    """
    process = base.noise
    if not isinstance(process, Denoising):
        raise ValueError(f"{base.identity['model']} is a rectified flow, and this guidance is written for denoising diffusion")
    steps = process.steps(plan.num_inference_steps)
    noise, generator = initial_noise(base, range(number)), torch.Generator().manual_seed(0)
    latents, nothing = noise, unconditional(base).repeat(len(noise))
    if starts is not None:
        steps = steps[round((1 - plan.guide.start) * len(steps)) :]
        latents = process.noisy(starts, noise, steps[0].before)
    for step in steps:
        latents = latents.detach().requires_grad_()
        with torch.enable_grad():
            prediction = base.denoise(latents, step.timestep, nothing)
            clean = to_clean(prediction, latents, step.before, process.prediction_type)
            pixels = base.vae.decode(clean / base.vae.config.scaling_factor + shift_of(base)).sample
            cut = torch.cat([crop(pixels, generator) for _ in range(CUTS)])
            distance = ((guide.image_features(cut) - text).norm(dim=-1) / 2).arcsin().square().mul(2)
            (gradient,) = torch.autograd.grad(distance.sum() / CUTS, latents)
        epsilon = to_epsilon(prediction.detach(), latents.detach(), step.before, process.prediction_type)
        epsilon = epsilon + (1 - step.before).sqrt() * plan.guide.scale * gradient
        clean = to_clean(epsilon, latents.detach(), step.before, "epsilon")
        latents = process.noisy(clean, epsilon, step.after)
    return latents.detach()


def crop(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return the same random square of every picture."""
    share, *place = torch.rand(3, generator=generator).tolist()
    side = round(pixels.shape[-1] * (SMALLEST_CUT + (1 - SMALLEST_CUT) * share))
    top, left = (round(part * (pixels.shape[-1] - side)) for part in place)
    return F.interpolate(pixels[..., top : top + side, left : left + side], pixels.shape[-1], mode="bilinear", antialias=True)


def word_of(guide: Guide, pictures: Sequence[Image.Image], coarse_word: str) -> Tensor:
    """Return the row (width,) of the guide's text space whose caption the pictures match better than any other word's caption.

    As in PALAVRA the loss is contrastive, knows no generator, and starts at the coarse word. PALAVRA trains an encoder for it first.
    """
    tower = getattr(guide.clip.model, "text", guide.clip.model)
    images = guide.clip.image_features(list(pictures)).to(guide.clip.device)
    others = guide.clip.text_features([f"a photo of a {word}" for word in guide.words()]).to(guide.clip.device)
    row = tower.token_embedding.weight[guide.token(coarse_word)].detach().clone().requires_grad_()
    optimizer, scale = torch.optim.Adam([row], WORD_RATE), guide.clip.model.logit_scale.exp().clamp(max=100)
    with torch.enable_grad():
        for _ in range(WORD_STEPS):
            texts = torch.cat([guide.text_features(f"a photo of a {coarse_word}", {coarse_word: row})[None], others])
            loss = F.cross_entropy(scale * images @ texts.T, torch.zeros(len(images), dtype=torch.long, device=images.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return row.detach()
