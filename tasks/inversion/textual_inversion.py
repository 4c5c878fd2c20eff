"""Textual Inversion (Gal et al. 2022, eq. 2): the rows that best denoise the concept's pictures under neutral captions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import pvariance as variance

import torch
from torch import Tensor

from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.words import initializer_rows, token_ids
from tasks.inversion.options import EarlyStop, Pivotal


@dataclass
class Word:
    """One new word in training: its data, its random numbers, its rows and their optimizer. Nothing is shared between words."""

    concept: str
    placeholder_token: str
    templates: tuple[str, ...]
    contexts: tuple[str, ...]
    """What else each picture shows, which ends its captions so that the word need not mean it; or one for all."""
    captions: Callable[[int], Tensor]
    """optimizer step -> token ids (pictures, templates, text encoders, length), or one for all pictures; the word's vectors count from the
    end of the vocabulary."""
    means: Tensor
    """(pictures, channels, height, width): the pictures' scaled latents."""
    stds: Tensor
    rows: Tensor
    """(vectors, dim), the only parameters."""
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    batch_size: int
    learning_rate: float
    seed: int
    max_train_steps: int
    timesteps: tuple[float, float]
    """The part of the noise schedule that is trained on, in shares from no noise to pure noise."""
    average_last: float
    """The share of the steps, from the end, whose rows are averaged; 0 takes the last ones."""
    average: Tensor
    """(vectors, dim), that average so far."""
    published: int
    """The first of the vectors that are the word; a method may use more in training."""
    early_stop: EarlyStop | None = None
    fixed_losses: list[float] = field(default_factory=list)
    """On pictures, captions, noise and timesteps that are the same at every look."""
    settled: bool = False
    """Whether the early stop has found that there is nothing more to learn."""
    probe_every: int = 0
    """Optimizer steps between two looks at the scores; 0 takes none."""
    probe: Callable[[Tensor], dict[str, float]] | None = None
    """What rows (vectors, dim) score: reconstruction, editability and the `score` of both."""
    probes: list[dict[str, float]] = field(default_factory=list)
    """`step` and scores of every look."""
    best: Tensor | None = None
    """(vectors, dim): the rows that scored best."""
    tuning: Pivotal | None = None
    """How the denoiser is tuned around the word, once it is found."""
    settle: Callable[["Word"], None] | None = None
    """What a method does to its word after every step."""
    penalty: Callable[[Tensor], Tensor] | None = None
    """What a method adds to the loss, of rows (vectors, dim)."""
    step: int = 0
    seconds: float = 0.0
    """Its share of the time of the batches that it was in."""
    error: str | None = None

    @property
    def done(self) -> bool:
        return self.error is not None or self.settled or self.step >= self.max_train_steps

    @property
    def input_ids(self) -> Tensor:
        """The token ids of the captions at this step."""
        return self.captions(self.step)

    @property
    def learned(self) -> Tensor:
        """(vectors, dim): what is published."""
        return self.average[: self.published] if self.best is None else self.best

    def count_step(self, seconds: float = 0.0) -> None:
        """Count an optimizer step that took `seconds` and take its rows into the average.

        Later steps weigh more, by a power of their number (Shamir & Zhang 2013), so that nobody needs to know when the last will be. The power
        is such that the mean age is that of the plain average over the last `average_last` of the steps.
        """
        self.step += 1
        self.seconds += seconds
        power = 2 / self.average_last - 2 if self.average_last else float("inf")
        with torch.no_grad():
            self.average.lerp_(self.rows, 1.0 if power == float("inf") else (power + 1) / (power + self.step))
        if self.settle:
            self.settle(self)

    def watch(self, loss: float) -> None:
        """Take a loss on the fixed batch; the word may stop when the last ones hardly differ (DVAR, Voronov et al. 2023)."""
        assert self.early_stop is not None
        self.fixed_losses.append(loss)
        self.settled = len(self.fixed_losses) > self.early_stop.window and self.unrest < self.early_stop.ratio

    @property
    def unrest(self) -> float:
        """The variance of the last losses on the fixed batch, as a share of that of all."""
        assert self.early_stop is not None
        return variance(self.fixed_losses[-self.early_stop.window :]) / (variance(self.fixed_losses) or 1.0)

    @property
    def due_for_a_probe(self) -> bool:
        return bool(self.probe_every) and (self.done or self.step % self.probe_every == 0)

    def look(self) -> None:
        """Take the scores of the rows as they would be published now, and keep them if none were better."""
        assert self.probe is not None
        rows = self.average[: self.published]
        scores = self.probe(rows)
        if all(scores["score"] > earlier["score"] for earlier in self.probes):
            self.best = rows.clone()
        self.probes.append({"step": self.step, **scores})

    def state(self) -> dict:
        """Return all that a resumed training needs."""
        found = {"rows": self.rows.detach(), "average": self.average, "fixed_losses": self.fixed_losses, "settled": self.settled}
        return {
            **found,
            "probes": self.probes,
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "step": self.step,
            "seconds": self.seconds,
        }

    def restore(self, state: dict) -> None:
        with torch.no_grad():
            self.rows.copy_(state["rows"])
        self.average.copy_(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.fixed_losses, self.settled = state["fixed_losses"], state["settled"]
        self.probes, self.best = state["probes"], None if state["best"] is None else state["best"].to(self.average)


@dataclass(frozen=True)
class Batch:
    """What one word brings to one step; first dimension: its batch size."""

    input_ids: Tensor
    latents: Tensor
    noise: Tensor
    timesteps: Tensor


def new_word(
    base: BaseModel,
    concept: str,
    placeholder_token: str,
    initializer: str | Tensor,
    templates: tuple[str, ...],
    latents: tuple[Tensor, Tensor],
    num_vectors: int,
    batch_size: int,
    learning_rate: float,
    max_train_steps: int,
    timesteps: tuple[float, float],
    average_last: float,
    seed: int,
    early_stop: EarlyStop | None = None,
    contexts: tuple[str, ...] = ("",),
) -> Word:
    """Prepare a word that starts as its initializer: an ordinary word, a phrase of them, or the rows of another concept (vectors, dim).

    Raises:
        ValueError: the placeholder is a word already, a word of the initializer is not one token, or it has other than 1 or `num_vectors` rows.
    """
    generator = torch.Generator().manual_seed(seed)
    start = (initializer if isinstance(initializer, Tensor) else initializer_rows(base, initializer)).cpu()
    if num_vectors not in (1, len(start)) and len(start) > 1:
        raise ValueError(
            f"{concept} has invert.num_vectors {num_vectors} and starts as {len(start)}; set it to {len(start)}, one for each, or to 1, their mean"
        )
    rows = first_rows(start, num_vectors, generator).to(base.device).requires_grad_(True)
    input_ids = caption_ids(base, [template.format(placeholder_token) for template in templates], contexts, {placeholder_token: num_vectors})
    return Word(
        concept=concept,
        placeholder_token=placeholder_token,
        templates=templates,
        contexts=contexts,
        captions=lambda step: input_ids,
        means=latents[0].cpu(),  # a large catalog's would fill a GPU
        stds=latents[1].cpu(),
        rows=rows,
        optimizer=optimizer_of(rows, learning_rate),
        generator=generator,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        max_train_steps=max_train_steps,
        timesteps=timesteps,
        average_last=average_last,
        average=torch.zeros_like(rows, requires_grad=False),
        published=num_vectors,
        early_stop=early_stop,
    )


def first_rows(start: Tensor, num_vectors: int, generator: torch.Generator) -> Tensor:
    """Return the rows (num_vectors, dim) that a word starts as.

    start: (rows, dim). As many vectors take one row each, in order; one vector takes their mean, which is as near to all as can be; of one row
    further vectors start there too, moved a little apart.
    """
    if len(start) == num_vectors:
        return start.clone()
    row = start.mean(dim=0)
    rows = row.repeat(num_vectors, 1)
    rows[1:] += 0.01 * row.norm() * torch.randn(rows[1:].shape, generator=generator) / row.numel() ** 0.5
    return rows


def caption_ids(base: BaseModel, captions: Sequence[str], contexts: Sequence[str], words: Mapping[str, int]) -> Tensor:
    """Return the token ids of captions in each context: (contexts, captions, text encoders, length); `words` as of `token_ids`."""
    texts = [f"{caption} {context}".strip() for context in contexts for caption in captions]
    return token_ids(base, texts, words).unflatten(0, (len(contexts), len(captions)))


def optimizer_of(rows: Tensor, learning_rate: float) -> torch.optim.Optimizer:
    """Return the rows' optimizer, without weight decay: it would pull the word towards zero, not towards the vocabulary."""
    return torch.optim.AdamW([rows], lr=learning_rate, weight_decay=0.0)


def draw_batch(word: Word, num_train_timesteps: int) -> Batch:
    """Draw pictures, captions, noise and timesteps from the word's own generator."""
    device, generator, n = word.rows.device, word.generator, word.batch_size
    pictures = torch.randint(len(word.means), (n,), generator=generator)
    input_ids = word.input_ids
    captions = torch.randint(input_ids.shape[1], (n,), generator=generator)
    shape = (n, *word.means.shape[1:])
    posterior_noise = torch.randn(shape, generator=generator)
    return Batch(
        input_ids=input_ids[pictures % len(input_ids), captions].to(device),
        latents=(word.means[pictures] + word.stds[pictures] * posterior_noise).to(device),
        noise=torch.randn(shape, generator=generator).to(device),
        timesteps=spread_timesteps(word, torch.rand(n, generator=generator), num_train_timesteps).to(device),
    )


def spread_timesteps(word: Word, shares: Tensor, num_train_timesteps: int) -> Tensor:
    """Return one timestep from each of as many equal parts of the word's range: (n,) from shares in [0, 1) of each part.

    Evenly spread over a batch the gradient is steadier, and no timestep is less likely.
    """
    low, high = word.timesteps
    spread = (torch.arange(len(shares)) + shares) / len(shares)
    return ((low + (high - low) * spread) * num_train_timesteps).long().clamp(max=num_train_timesteps - 1)


def fixed_batch(word: Word, num_train_timesteps: int) -> Batch:
    """Return the batch of the early stop: the same pictures, noise and captions at every call, and the middles of the timesteps' parts."""
    assert word.early_stop is not None
    pictures = word.early_stop.pictures
    batch = draw_batch(replace(word, batch_size=pictures, generator=torch.Generator().manual_seed(0)), num_train_timesteps)
    return replace(batch, timesteps=spread_timesteps(word, torch.full((pictures,), 0.5), num_train_timesteps).to(word.rows.device))
