"""The code of the models, which takes seconds to import: the app starts without it and imports it in a thread."""


def import_models() -> None:
    """Import the code of the models. Another thread that is importing it is waited for.

    Threads that import diffusers by different ways at once meet it half imported, so every thread of the app comes this way first.
    """
    import tasks.diffusion.base_model  # noqa: F401
