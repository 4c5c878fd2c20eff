"""Inverting concepts together: each is prepared, trained in one batch with the others, and written as soon as its training has ended."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.inversion.curves import curves_csv
from tasks.inversion.loop import train
from tasks.inversion.training import Training
from tasks.pipeline.progress import tell
from tasks.settings import Settings
from tasks.training.preview import forget, previews
from tasks.training.result import adopt, how_it_ended, write_learned
from tasks.training.start import coarse_word, prepare, recipe_of, training_record


class Inverted(NamedTuple):
    """A concept whose embedding is written, or could not be found."""

    concept: str
    error: Exception | None = None


def invert_together(concepts: Sequence[str], settings: Settings, base: BaseModel, failed: Collection[str]) -> Iterator[Inverted]:
    """Adopt or train concepts, none of which starts as another of them, and yield each when it has ended.

    failed: concepts that failed before.
    """
    trainings, recipes = [], {}
    for concept in concepts:
        try:
            if settings.concept(concept).source is None:
                recipes[concept] = recipe_of(concept, settings)
                trainings.append(prepare(recipes[concept], base, failed))
                continue
            adopt(concept, settings, base)
        except Exception as error:
            yield Inverted(concept, error)
        else:
            yield Inverted(concept)
    records = {}
    for training in trainings:
        recipe = recipes[training.concept]
        records[training.concept] = training_record(recipe, base) | coarse_word(recipe, training, base)
    digests = {concept: hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest() for concept, record in records.items()}
    checkpoints = {concept: artifacts.checkpoints() / f"{concept}-{digest[:16]}.pt" for concept, digest in digests.items()}
    runtime, draw_preview = settings.runtime, previews(base, settings.sample.look(base.look)[1])

    def on_step(training: Training) -> None:
        tell(training.concept, training.schedule.step, training.schedule.max_train_steps)
        draw_preview(training)

    for concept in records:
        forget(concept)
    for training in train(base, trainings, checkpoints, runtime.checkpoint_every, runtime.concepts_per_batch, on_step):
        concept, learned = training.concept, training.result
        if learned is None:
            yield Inverted(concept, FloatingPointError(training.error))
        else:
            outcome = {"method": recipes[concept].rules.method, **how_it_ended(training)}
            write_learned(concept, learned.on_the_cpu(), outcome, records[concept], base, curves_csv(training.schedules))
            yield Inverted(concept)
            for path in checkpoints[concept].parent.glob(f"{checkpoints[concept].stem}.*"):
                path.unlink()
        training.trainable = training.before = training.result = learned = None  # DreamBooth's are several denoisers, and others still train
