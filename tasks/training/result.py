"""The end of the invert stage: it writes a word's embedding and the record of how the word came about, by training or by import."""

from math import hypot
from typing import Any

from tasks import artifacts
from tasks.diffusion.base_model import BaseModel
from tasks.diffusion.per_layer import mean_norm
from tasks.inversion.curves import TRAINING, curves_csv
from tasks.inversion.training import Training
from tasks.pipeline.graph import edition
from tasks.settings import Settings
from tasks.words.adapter_file import read_adapter
from tasks.words.embedding_file import ADAPTERS
from tasks.words.formats import joined, read_word
from tasks.words.learned import Learned


def write_learned(concept: str, learned: Learned, outcome: dict, record: dict, base: BaseModel, curves: bytes) -> None:
    """Write what was learned, training.csv and train.json.

    outcome: how the training or import ended. record: everything that decided the result. curves: what `curves_csv` returned.
    """
    folder, files = artifacts.embeddings(concept), learned.files(concept, record, base)
    for name in set(ADAPTERS.values()) - files.keys():
        (folder / name).unlink(missing_ok=True)
    artifacts.write_bytes(folder / TRAINING, curves)
    for name, data in files.items():  # the embedding comes last: it names the others
        artifacts.write_bytes(folder / name, data)
    norms = {
        "norm": round(float(mean_norm(learned.rows, sum(base.widths))), 5),
        "vocabulary_norm_median": round(vocabulary_norm(base), 5),
    }
    adapter = dict[str, Any]()
    for kind, name in ADAPTERS.items():
        if name in files:
            adapter |= {f"{kind}_sha256": artifacts.sha256(folder / name), f"{kind}_bytes": len(files[name])}
    artifacts.write_json(artifacts.train_record(concept), {"concept": concept, **outcome, **norms, **record, **adapter})


def vocabulary_norm(base: BaseModel) -> float:
    """Return the median norm of the base model's own rows, with the medians of text encoders that have other tokens beside it."""
    others = [encoder.table.weight for encoder in base.text_encoders if len(encoder.tokenizer) != len(base.tokenizer)]
    return hypot(float(base.vocabulary.norm(dim=-1).median()), *(float(table.float().norm(dim=-1).median()) for table in others))


def how_it_ended(training: Training) -> dict:
    """Return where a word's training stopped and why, and which of its steps is published."""
    schedule = (training.before or training).schedule
    stop = schedule.early_stop
    if schedule.settled and stop:
        looks = f"the last {stop.window} of {len(schedule.fixed_losses)} losses on the fixed batch"
        why = f"{looks} vary {schedule.variance_ratio:.3f} times as much as all of them, which is below {stop.ratio}"
    else:
        why = f"invert.max_train_steps is {schedule.max_train_steps}"
    stopped, seconds = "early" if schedule.settled else "cap", round(training.schedule.seconds, 2)
    outcome = {"optimizer_steps": schedule.step, "stopped": stopped, "why": why, "seconds": seconds}
    if not schedule.probes:
        return outcome
    best = max(schedule.probes, key=lambda probe: probe["score"])  # the first of equal scores, whose rows were kept
    return outcome | {"picked": best | {"why": f"the best score of {len(schedule.probes)} probes"}, "probes": schedule.probes}


def adopt(concept: str, settings: Settings, base: BaseModel) -> None:
    """Take an imported word's embedding from its file.

    Raises:
        ValueError: the file is not the one that was imported, or holds no word of this base model.
    """
    word = settings.concept(concept)
    if word.source is None:
        raise ValueError(f"concept {concept!r} has no source in params.yaml; it is trained, not imported")
    path, digest = artifacts.imported(concept) / word.source.file, word.source.sha256
    if not path.exists() or artifacts.sha256(path) != digest:
        raise ValueError(f"{path} is not the file with SHA-256 {digest} that {concept!r} was imported from; run `dvc pull` or import it again")
    rows = joined(read_word(path), base.widths, str(base.identity["model"]))
    adapter = {}
    if word.lora:
        lora = artifacts.imported(concept) / word.lora.file
        if not lora.exists() or artifacts.sha256(lora) != word.lora.sha256:
            raise ValueError(f"{lora} is not the LoRA that {concept!r} was imported with; run `dvc pull` or import it again")
        adapter = read_adapter(lora, base.denoiser, word.placeholder_token)
    # The record names the base model that the word is used with; few files of other tools say which one it was learned on.
    record = {"seed": None, "base": base.identity, "data_sha256": digest, "settings": word.model_dump(exclude=None if word.lora else {"lora"})}
    outcome = {"method": "import", "optimizer_steps": 0, "stopped": "imported", "seconds": 0.0}
    record |= {"versions": {"stage": str(edition("invert"))}}
    write_learned(concept, Learned(word.placeholder_token, rows, adapter), outcome, record, base, curves_csv([]))
