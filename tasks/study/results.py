"""The results of a study's cells, read from their catalog."""

from collections.abc import Iterable
from pathlib import Path

import torch.nn.functional as F

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel, load_base_model
from tasks.diffusion.per_layer import mean_rows
from tasks.judging.judge import read_features
from tasks.settings import Settings
from tasks.similarity.scorer import load_scorer
from tasks.similarity.scores import reconstruction
from tasks.study.cells import Cell
from tasks.study.comparisons import Result
from tasks.words.embedding_file import files_of
from tasks.words.learned import read_learned


def results(cells: Iterable[Cell], settings: Settings) -> list[Result]:
    """Return the results of the cells; the working directory is the study's catalog."""
    cells = list(cells)
    base = load_base_model(*settings.base_model)
    measured = [
        Result(
            *cell[:4],
            scores=artifacts.read_json(artifacts.scores(cell.key)),
            train=artifacts.read_json(artifacts.train_record(cell.key)),
            word_likeness=word_likeness(artifacts.learned_embeds(cell.key), base),
            size=sum(path.stat().st_size for path in files_of(artifacts.learned_embeds(cell.key))),
        )
        for cell in cells
    ]
    for cell, result in zip(cells, measured, strict=True):
        if cell.kind == "size":
            largest = max((other for other in cells if (other.kind, other.concept) == ("size", cell.concept)), key=lambda other: int(other.setup))
            result.scores["reconstruction"] = reconstruction_of(cell, largest, settings)
    return measured


def reconstruction_of(cell: Cell, largest: Cell, settings: Settings) -> dict[str, float]:
    """Return a cell's reconstruction of the largest set; measured on its own pictures, the smallest set would be the easiest."""
    scorer = load_scorer(settings.scorer.model, settings.scorer.pretrained, settings.runtime.device)
    first = artifacts.read_json(artifacts.samples_record(cell.key))["prompts"][0]["slug"]
    generated = read_features(scorer, artifacts.samples(cell.key) / "word" / first)
    return {"value": reconstruction(generated, read_features(scorer, artifacts.curated(largest.key)))}


def word_likeness(embedding: Path, base: BaseModel) -> float:
    """Return the cosine of a word, the mean of its vectors, with the nearest word of the vocabulary."""
    rows = read_learned(embedding).rows
    return float(
        F.cosine_similarity(mean_rows(rows, sum(base.widths)).mean(dim=0, keepdim=True)[:, : base.vocabulary.shape[1]], base.vocabulary.cpu()).max()
    )
