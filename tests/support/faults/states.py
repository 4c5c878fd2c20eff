"""The states that a catalog is in before something breaks. Each is made once, by the product's own commands."""

import shutil
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path

import yaml

from tasks.registry.database import create_database
from tests.support.catalogs import draw_picture, edit_params, make_catalog
from tests.support.faults.house import House
from tests.support.tiny import save_tiny_pipeline, save_tiny_scorer

REASON = "one picture more"


def new(house: House) -> None:
    """Two concepts with pictures, an empty registry, and a DVC remote; nothing is built."""
    base, scorer = save_tiny_pipeline(house.home / "tiny"), save_tiny_scorer(house.home / "tiny-clip")
    house.catalog.mkdir(parents=True)
    with chdir(house.catalog):
        make_catalog(base, scorer)
        prompts = {kind: suite[:2] for kind, suite in yaml.safe_load(Path("params.yaml").read_text())["sample"]["prompts"].items()}
        edit_params(
            invert={"max_train_steps": 12},
            sample={"prompts": prompts, "reference_pictures": 2},
            score={"fidelity": None, "bootstrap_samples": 100},
            runtime={"checkpoint_every": 4},
        )
        Path(".dvc/config").write_text("[core]\n    remote = team\n    autostage = false\n['remote \"team\"']\n    url = ../../remote\n")
        Path("mlruns").mkdir()
        create_database(Path("mlruns/mlflow.db").absolute())
        for number in range(3):
            draw_picture(house.place / f"owl/{number}.png", 50 + number)


def built(house: House) -> None:
    house.take("new")
    house.succeed("wordmint", "build")


def changed(house: House) -> None:
    """Built, and then one concept got another picture."""
    house.take("built")
    draw_picture(house.catalog / "data/images/fox/3.png", 77)


def challenged(house: House) -> None:
    """One concept has a challenger."""
    house.take("changed")
    house.succeed("wordmint", "build")


def crowned(house: House) -> None:
    """One concept has a champion and a previous one."""
    house.take("challenged")
    house.succeed("wordmint", "promote", "fox", "--accept", REASON)


def revoked(house: House) -> None:
    house.take("crowned")
    house.succeed("wordmint", "revoke", "fox", "--why", REASON)


def resampled(house: House) -> None:
    """Built, and then the samples are to be drawn in another way, so that the scores of a version are old."""
    house.take("built")
    with chdir(house.catalog):
        edit_params(sample={"guidance_scale": 2.0})


def littered(house: House) -> None:
    """Built after a registration that was killed."""
    house.take("new")
    house.run("wordmint", "build", WORDMINT_FAULT="model logged, not registered=kill")
    house.succeed("wordmint", "build")


def cloned(house: House) -> None:
    """A clone of the built and pushed catalog on another machine that shares the registry."""
    house.take("built")
    house.succeed("wordmint", "push")
    for folder in ("curated", "embeddings", "samples", "scores", "registered", "report", "images/fox", "images/ink"):
        shutil.rmtree(house.catalog / "data" / folder)
    shutil.rmtree(house.catalog / ".dvc/cache")
    shutil.rmtree(house.catalog / ".cache")


STATES: dict[str, Callable[[House], None]] = {
    make.__name__: make for make in (new, built, changed, challenged, crowned, revoked, resampled, littered, cloned)
}
"""In an order in which each can be made from those before."""


def make_states(house: House, names: set[str]) -> None:
    """Make and keep the states of these names, and those that they are made from."""
    needs = {"changed": "built", "challenged": "changed", "crowned": "challenged", "revoked": "crowned", "resampled": "built", "cloned": "built"}
    wanted = {"new"} | names
    for name in reversed(STATES):
        if name in wanted and name in needs:
            wanted.add(needs[name])
    for name, make in STATES.items():
        if name in wanted:
            shutil.rmtree(house.place, ignore_errors=True)
            make(house)
            house.keep(name)
