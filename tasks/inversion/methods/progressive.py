"""Progressive extension (Gal et al. 2022, section 5.1): further vectors join an already trained one."""

from dataclasses import replace

from tasks.diffusion.base_model import BaseModel
from tasks.inversion.options import Progressive
from tasks.inversion.textual_inversion import Word, caption_ids


def add_vectors_later(base: BaseModel, word: Word, options: Progressive) -> Word:
    """Let a word start with its first vector and take one more into its captions after each of the given steps.

    Raises:
        ValueError: there are not just as many steps as further vectors, or the last comes after the training's end.
    """
    if len(options.add_at) != len(word.rows) - 1:
        raise ValueError(
            f"invert.options.add_at {list(options.add_at)} adds {len(options.add_at)} vectors to one; set invert.num_vectors to their sum"
        )
    if options.add_at[-1] >= word.max_train_steps:
        raise ValueError(f"invert.options.add_at {list(options.add_at)} must be before the last of {word.max_train_steps} optimizer steps")
    captions = [template.format(word.placeholder_token) for template in word.templates]
    stages = [caption_ids(base, captions, word.contexts, {word.placeholder_token: number + 1}) for number in range(len(word.rows))]
    return replace(word, captions=lambda step: stages[sum(step >= later for later in options.add_at)])
