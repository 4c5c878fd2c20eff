"""Loading models in a process with several threads, as the app has them."""

import threading
from collections.abc import Callable
from functools import _lru_cache_wrapper, lru_cache, wraps
from typing import Any, TypeVar, cast

Model = TypeVar("Model")
LOADING = threading.RLock()


def loaded_once(load: Callable[..., Model]) -> "_lru_cache_wrapper[Model]":
    """Keep the last model that a function loaded, and load one model at a time.

    While transformers or diffusers load a model, they change how torch makes modules in every thread of the process. A model that another thread
    loads at that time may end up without its weights.
    """
    kept = lru_cache(maxsize=1)(load)

    @wraps(load)
    def once(*args: Any, **options: Any) -> Model:
        with LOADING:
            return kept(*args, **options)

    vars(once).update(cache_info=kept.cache_info, cache_clear=kept.cache_clear)
    return cast("_lru_cache_wrapper[Model]", once)
