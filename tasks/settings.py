"""params.yaml as frozen types; nothing else reads it."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from tasks.artifacts import check_concept_key, check_prompt, check_suite
from tasks.documents import read_yaml_once
from tasks.inversion.options import FROM_PICTURES, Invert, check_start
from tasks.inversion.section import SEEDS, Section, faults

Prompt = Annotated[str, AfterValidator(check_prompt)]
Suite = Annotated[tuple[Prompt, ...], Field(min_length=2), AfterValidator(check_suite)]


class Base(Section):
    model: str
    """A diffusers folder, a hub id, or `emoji-ldm`, which comes with wordmint."""
    revision: str | None
    """The commit of a hub model, or the first digits of the SHA-256 of a folder's weights; other weights are then refused."""
    resolution: int | None = Field(default=None, ge=8, le=8192)
    """The side of the pictures in px; by default the one that the configs of the model name."""
    encoder: str | None = None
    """The folder or file of an encoder of the model, or `emoji-encoder`, which comes with wordmint; for words that start from pictures."""


class Scorer(Section):
    model: str
    """An open_clip model name, `local-dir:FOLDER`, or `emoji-clip`, which comes with wordmint."""
    pretrained: str | None
    """The tag of an open_clip model's weights, or the first digits of the SHA-256 of a folder's weights; other weights are then refused."""


class Curate(Section):
    min_images: int = Field(ge=1, le=1_000_000)
    """Fewer usable pictures than this is an error."""
    min_side: int = Field(ge=1, le=1_000_000)
    """Pictures with a shorter side below this many px are dropped."""
    min_sharpness: float = Field(ge=0, le=1020)
    """Blurrier pictures are dropped: the standard deviation of the Laplacian in grey levels, at the base model's resolution."""
    max_pixels: int = Field(ge=1)
    """Pictures with more pixels are dropped before they are decoded."""
    near_duplicate_distance: int = Field(ge=0, le=64)
    """Hamming distance of two 64-bit perceptual hashes up to which pictures count as the same."""
    min_similarity: float = Field(ge=-1, le=1)
    """A picture whose mean CLIP cosine with the rest of the set is lower is dropped as an outlier."""


class Prompts(Section):
    object: Suite
    """Prompts for things. The first measures reconstruction, the others measure editability."""
    style: Suite
    """Prompts for styles, by the same rule."""


class Sample(Section):
    num_inference_steps: int | None = Field(default=None, ge=1, le=500)
    """Steps of the sampler: DDIM, or Euler's for models of rectified flow; null: the base model's own number."""
    guidance_scale: float | None = Field(default=None, ge=1, le=100)
    """Guidance, classifier-free or distilled; 1 is the plain conditional prediction. null: the base model's own."""
    pictures_per_prompt: int = Field(ge=1, le=10_000)
    """Pictures of each prompt with the word."""
    reference_pictures: int = Field(ge=2, le=10_000)
    """Pictures of each prompt with the coarse word or a caption in the word's place; at most pictures_per_prompt."""
    seed: int = Field(ge=0, lt=SEEDS)
    """The seed of a prompt's first picture; later ones take the next seeds."""
    prompts: Prompts

    def look(self, own: tuple[int, float]) -> tuple[int, float]:
        """Return the steps and the guidance scale; `own` are the base model's, for what is not set."""
        return self.num_inference_steps or own[0], self.guidance_scale or own[1]


class Fidelity(Section):
    model: str
    """A folder or a hub id of an image model, such as facebook/dinov2-small, or `emoji-eye`, which comes with wordmint."""
    revision: str | None
    """The commit of a hub model, or the first digits of the SHA-256 of a folder's weights; other weights are then refused."""


class Score(Section):
    fidelity: Fidelity | None = None
    """The judge that sees shape where CLIP sees the kind of thing; null: objects have two scores instead of three."""
    bootstrap_samples: int = Field(ge=100, le=100_000)
    """Resamplings from which an interval is taken."""
    confidence: float = Field(gt=0, lt=1)
    """The share of bootstrap samples that an interval holds."""
    seed: int = Field(ge=0, lt=SEEDS)
    """The seed of the bootstrap."""


class Register(Section):
    promote: Literal["by_hand", "when_better"]
    """Whether a build moves the champion itself when the gate finds a new version better, or leaves it to `wordmint promote`."""
    floor: bool = True
    """Whether a first version is held back if its reconstruction or fidelity is below the coarse word's, or its interval reaches Prompt-Only."""


class Imported(Section):
    """An imported file. DVC compares its digest, so another file makes the invert stage stale."""

    file: str = Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$")
    """The file's name below data/imported/KEY/."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """The file's digest; another file is refused."""


class Concept(Section):
    kind: Literal["object", "style"]
    """Chooses templates and prompts."""
    placeholder_token: str = Field(pattern=r"^<[^<>:\s\p{Cc}]{1,64}>$")
    """The new word as it is written in prompts, in angle brackets; `:` is for its strength, as in `<fox:0.7>`."""
    initializer_token: str = Field(pattern=r"^\S+( \S+)*$", max_length=200)
    """The start of the search: an ordinary word, a phrase, the placeholder of another concept, or `<from-pictures>`."""
    invert: dict[str, Any] | None = None
    """Changes to the section `invert` for this concept alone."""
    source: Imported | None = None
    """The file of an imported word, which is not trained; `wordmint import` writes this entry."""
    lora: Imported | None = None
    """The LoRA that came with an imported word, if one did."""


class Runtime(Section):
    checkpoint_every: int = Field(ge=1, le=10_000_000)
    """Optimizer steps between an inversion's checkpoints."""
    concepts_per_batch: int | None = Field(ge=1, le=1_000)
    """Words trained at once; each brings `invert.batch_size` pictures to a step. null: as many as a GPU's free memory holds, at most 16; else 8."""
    pictures_per_batch: int = Field(ge=1, le=10_000)
    """Pictures generated at once; guidance doubles the number inside the denoiser."""
    device: str
    """auto, cpu, cuda, cuda:1 ..., or mps, a Mac's GPU."""
    memory: Literal["auto", "full", "8bit", "4bit"] = "auto"
    """Bits of a transformer's frozen weights, and of T5's or Qwen3's; auto: as many as a GPU's free memory holds."""
    task_runner: Literal["threads", "workers", "ray"]
    """Where concepts are built: threads of this process, the workers of a Prefect work pool, or a Ray cluster."""
    concepts_per_task: int = Field(ge=1, le=1_000_000)
    """Concepts in a batch that goes to a worker or to Ray."""
    tracking_uri: str | None
    """The URI of MLflow; null is mlruns/mlflow.db. The variable MLFLOW_TRACKING_URI overrides it."""


# The field `register` shadows only a method of pydantic's metaclass, which no instance has; sections are named after their stages.
warnings.filterwarnings("ignore", message='Field name "register" in "Settings" shadows')


class Settings(Section):
    base: Base
    scorer: Scorer
    curate: Curate
    invert: Invert
    sample: Sample
    score: Score
    register: Register
    concepts: dict[Annotated[str, AfterValidator(check_concept_key)], Concept]
    runtime: Runtime

    @model_validator(mode="after")
    def words_differ_and_have_a_start(self) -> "Settings":
        owners = {FROM_PICTURES: "initializer_token"}
        for key, concept in self.concepts.items():
            if (owner := owners.setdefault(concept.placeholder_token, key)) != key:
                raise ValueError(f"placeholder_token {concept.placeholder_token!r} belongs to {owner} and to {key}; give one of them another")
        for key, concept in self.concepts.items():
            chain = [key]
            while (word := self.concepts[chain[-1]].initializer_token).startswith("<") and word != FROM_PICTURES:
                if (origin := owners.get(word)) is None:
                    raise ValueError(f"initializer_token {word!r} of {chain[-1]} is no word of this catalog; take one that is, or an ordinary one")
                if origin in chain:
                    raise ValueError(f"initializer_token {concept.initializer_token!r} of {key} leads back to itself; give it an ordinary word")
                chain.append(origin)
        return self

    @model_validator(mode="after")
    def inversions_are_valid(self) -> "Settings":
        for key, concept in self.concepts.items():
            try:
                own = self.inversion(key)
            except ValidationError as error:
                raise ValueError(faults(error, f"concepts.{key}.invert.")) from error
            check_start(key, concept.initializer_token, own.method, self.base.encoder)
        return self

    @property
    def base_model(self) -> tuple[str, str | None, str, int | None, Literal["auto", "full", "8bit", "4bit"]]:
        """What `load_base_model` takes: model, revision, device, resolution, memory."""
        return self.base.model, self.base.revision, self.runtime.device, self.base.resolution, self.runtime.memory

    def inversion(self, key: str) -> Invert:
        """Return the inversion settings of one concept."""
        changes = self.concept(key).invert
        return Invert.model_validate(self.invert.model_dump() | changes) if changes else self.invert

    def origin(self, key: str) -> str | None:
        """Return the key of the concept that a concept starts as, or None where it starts as ordinary words."""
        word = self.concept(key).initializer_token
        return next((other for other, concept in self.concepts.items() if concept.placeholder_token == word), None) if word.startswith("<") else None

    def concept(self, key: str) -> Concept:
        """Return one concept.

        Raises:
            ValueError: params.yaml has no such concept.
        """
        if key not in self.concepts:
            raise ValueError(f"concept {key!r} is not under concepts in params.yaml; `wordmint add --help` says how to add it")
        return self.concepts[key]

    def chosen(self, keys: Sequence[str] | None) -> list[str]:
        """Return the given keys, by default those of all concepts; raise as `concept` does."""
        for key in keys or []:
            self.concept(key)
        return list(self.concepts if keys is None else keys)

    def prompts(self, key: str) -> tuple[str, ...]:
        """Return the prompt suite of a concept's kind; {} stands for the word."""
        return getattr(self.sample.prompts, self.concept(key).kind)


def load_settings(path: Path = Path("params.yaml")) -> Settings:
    """Read params.yaml.

    Raises:
        ValueError: a key is unknown or missing, or a value breaks its rule; every fault is named.
    """
    return parse_settings(read_params(path), path)


def read_params(path: Path = Path("params.yaml")) -> Any:
    """Return the content of params.yaml as it is written; nobody may change it, for it is read once.

    Raises:
        ValueError: there is no such file, or it is not YAML.
    """
    if not path.exists():
        raise ValueError(f"{path} is not in {Path.cwd()}; run wordmint in the root of a catalog")
    return read_yaml_once(path)


def parse_settings(document: Any, path: Path) -> Settings:
    """Check the content of a params.yaml; `path` names it in errors."""
    try:
        return Settings.model_validate(document)
    except ValidationError as error:
        raise ValueError(f"{path}: {faults(error)}") from error
