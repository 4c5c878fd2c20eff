"""Draw the samples of a concept: pictures of its prompt suite with its word and, for comparison, without it."""

import shutil
from contextlib import closing
from functools import partial
from pathlib import Path

from tasks import artifacts
from tasks.concepts.stand_ins import stand_ins, without_word
from tasks.diffusion.base_model import load_base_model
from tasks.drawing import plots
from tasks.drawing.pictures import pictures_of, save_pictures, seeds_of
from tasks.drawing.references import reference_pictures
from tasks.pipeline.progress import tell
from tasks.settings import Settings
from tasks.words.learned import read_learned, taught


def draw(concept: str, embedding: Path, target: Path, settings: Settings) -> None:
    """Generate the pictures of a concept's embedding into the folder `target`."""
    base = load_base_model(*settings.base_model)
    rules, seeds, substitutes = settings.sample, seeds_of(settings), stand_ins(concept, settings)
    steps, guidance_scale = rules.look(base.look)
    prompts = {prompt: artifacts.prompt_slug(prompt) for prompt in settings.prompts(concept)}
    info = {"concept": concept, "model": base.identity["model"], "base_weights_sha256": base.identity["weights_sha256"]}
    texts = [prompt.format(settings.concept(concept).placeholder_token) for prompt in prompts]
    wordless = {f"prompt_only/{slug}": without_word(prompt) for prompt, slug in prompts.items()}
    substituted = {f"{name}/{slug}": prompt.format(text) for name, text in substitutes.items() for prompt, slug in prompts.items()}
    learned, drawn = read_learned(embedding), partial(tell, concept, len(prompts), len(prompts))  # a listener may end the stage after any prompt
    with artifacts.new_folder(target) as folder:
        (folder / "grids").mkdir()
        # An error closes the generator at once; otherwise its traceback would keep it, and all other pictures would still be drawn.
        with taught(base, [learned]) as words, closing(pictures_of(base, texts, seeds, words, settings)) as batches:
            for number, (slug, text, pictures) in enumerate(zip(prompts.values(), texts, batches, strict=True), start=1):
                save_pictures(folder / "word" / slug, pictures, seeds, {**info, "prompt": text})
                plots.grid(pictures).save(folder / "grids" / f"{slug}.png")
                tell(concept, number, len(prompts))
        if learned.adapter:  # the page shows what the word draws without it
            some = seeds[: rules.reference_pictures]
            with closing(pictures_of(base, texts, some, {learned.placeholder_token: learned.rows}, settings)) as batches:
                for slug, text, pictures in zip(prompts.values(), texts, batches, strict=True):
                    save_pictures(folder / "word_alone" / slug, pictures, some, {**info, "prompt": text})
                    drawn()
        for references, their_seeds in ((wordless, seeds), (substituted, seeds[: rules.reference_pictures])):
            folders = reference_pictures(base, list(references.values()), their_seeds, settings, drawn)
            for name, text in references.items():
                shutil.copytree(folders[text], folder / name)
        record = {
            "concept": concept,
            "embedding_digest": artifacts.sha256(embedding),
            "base": base.identity,
            "num_inference_steps": steps,
            "guidance_scale": guidance_scale,
            **({} if base.noise.sampler == "DDIM" else {"sampler": base.noise.sampler}),
            **({} if base.weights == "full" else {"weights": base.weights}),
            "seeds": seeds,
            "prompts": [{"prompt": prompt, "slug": slug} for prompt, slug in prompts.items()],
            "references": substitutes,
        }
        artifacts.write_json(folder / "samples.json", record)
