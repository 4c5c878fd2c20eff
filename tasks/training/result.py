"""What the invert stage leaves: a word's embedding and the record of how it came about, whether trained or imported."""

from torch import Tensor

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.inversion.textual_inversion import Word
from tasks.pipeline.graph import stage_version
from tasks.settings import Settings
from tasks.words.embedding_file import LORA, embedding_file
from tasks.words.formats import joined, read_word


def write_learned(concept: str, rows: Tensor, done: dict, record: dict, base: BaseModel, lora: bytes | None = None) -> None:
    """Write a word's rows (vectors, dim) and train.json: `done` is how they came about, `record` what decided them.

    lora: the file of the denoiser that was tuned around the word. The embedding names it, so that one digest stands for both.
    """
    tuned = artifacts.embeddings(concept) / LORA
    if lora is None:
        tuned.unlink(missing_ok=True)
    else:
        artifacts.write_bytes(tuned, lora)
        record = record | {"lora_sha256": artifacts.sha256(tuned)}
    artifacts.write_bytes(artifacts.learned_embeds(concept), embedding_file(concept, rows, record, base.widths, base.architecture))
    norms = {"norm": round(float(rows.norm(dim=-1).mean()), 5), "vocabulary_norm_median": round(float(base.vocabulary.norm(dim=-1).median()), 5)}
    artifacts.write_json(artifacts.train_record(concept), {"concept": concept, **done, **norms, **record})


def how_it_ended(word: Word) -> dict:
    """Return where a word's training stopped and why, and which of its steps is published."""
    stop = word.early_stop
    if word.settled and stop:
        looks = f"the last {stop.window} of {len(word.fixed_losses)} losses on the fixed batch"
        why = f"{looks} vary {word.unrest:.3f} times as much as all of them, which is below {stop.ratio}"
    else:
        why = f"invert.max_train_steps is {word.max_train_steps}"
    found = {"optimizer_steps": word.step, "stopped": "early" if word.settled else "cap", "why": why, "seconds": round(word.seconds, 2)}
    if not word.probes:
        return found
    best = max(word.probes, key=lambda probe: probe["score"])  # the first of equals, as it was kept
    return found | {"picked": best | {"why": f"the best score of {len(word.probes)} probes"}, "probes": word.probes}


def adopt(concept: str, settings: Settings, base: BaseModel) -> None:
    """Take an imported word's embedding from its file.

    Raises:
        ValueError: the file is not the one that was imported, or holds no word of this base model.
    """
    chosen = settings.concept(concept)
    if chosen.source is None:
        raise ValueError(f"concept {concept!r} has no source in params.yaml; it is trained, not imported")
    path, digest = artifacts.imported(concept) / chosen.source.file, chosen.source.sha256
    if not path.exists() or artifacts.sha256(path) != digest:
        raise ValueError(f"{path} is not the file that {concept!r} was imported from, with SHA-256 {digest}; run `dvc pull` or import it again")
    rows = joined(read_word(path), base.widths, str(base.identity["model"]))
    # The base is the one that it is used with: which one it was learned on, few files of other tools say.
    record = {"seed": None, "base": base.identity, "data_sha256": digest, "settings": chosen.model_dump()}
    done = {"method": "import", "optimizer_steps": 0, "stopped": "imported", "seconds": 0.0}
    write_learned(concept, rows, done, record | {"versions": {"stage": str(stage_version("invert"))}}, base)
