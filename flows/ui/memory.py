"""The models that the app keeps in memory: on a GPU it lets go of them, for a build is another process and needs that memory."""

import gc

from flows.ui.imports import import_models


def let_go(device: str) -> None:
    """Free a GPU of the app's models. On a CPU they stay: a build needs no memory of theirs there, and the next drawing finds them loaded."""
    import_models()
    import torch

    from tasks.diffusion.base_model import load_base_model
    from tasks.diffusion.devices import pick_device
    from tasks.similarity.eye import load_eye
    from tasks.similarity.scorer import load_scorer

    picked, loaders = pick_device(device), (load_base_model, load_scorer, load_eye)
    if picked != "cpu" and any(load.cache_info().currsize for load in loaders):
        for load in loaders:
            load.cache_clear()
        gc.collect()  # the parts of a model refer to each other
        (torch.mps if picked == "mps" else torch.cuda).empty_cache()
