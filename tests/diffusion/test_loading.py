"""Threads that load models at once."""

import threading
from concurrent.futures import ThreadPoolExecutor

from tasks.diffusion.loading import loaded_once


def test_models_are_loaded_one_at_a_time_and_each_once() -> None:
    at_work, loaded = list[str](), list[str]()

    def loader(name: str) -> object:
        at_work.append(name)
        threading.Event().wait(0.05)  # for the other threads to come
        assert at_work == [name]
        at_work.clear()
        loaded.append(name)
        return object()

    base, judge = loaded_once(lambda name: loader(name)), loaded_once(lambda name: loader(name))
    with ThreadPoolExecutor(6) as threads:
        models = [threads.submit(load, name) for _ in range(3) for load, name in ((base, "base"), (judge, "judge"))]
    assert len({id(model.result()) for model in models}) == 2 and sorted(loaded) == ["base", "judge"]
    base.cache_clear()
    base("base")
    assert loaded.count("base") == 2 and base.cache_info().currsize == 1
