"""The flow trains an encoder for the base of params.yaml and continues its training."""

from pathlib import Path

import pytest
import torch
import typer
import yaml
from safetensors.torch import load_file

from flows.train_encoder import main
from tasks.diffusion.base_model import load_base_model
from tasks.inversion.encoder import ENCODER, load_encoder
from tasks.settings import Settings
from tests.support.catalogs import draw_picture


def test_an_encoder_is_trained_and_trained_on_for_its_own_domain(settings: Settings) -> None:
    Path("params.yaml").write_text(yaml.safe_dump(settings.model_dump(mode="json")))
    for number in range(4):
        draw_picture(Path("things") / str(number // 2) / f"{number}.png", number)
    weights = []
    for steps in (2, 2, 3):
        main(Path("things"), out=Path("out"), description="blocks", work=Path("work"), steps=steps, batch=2)
        weights.append(load_file(Path("out") / ENCODER))
    same = [all(torch.equal(value, others[name]) for name, value in weights[0].items()) for others in weights[1:]]
    assert same == [True, False]
    draw_picture(Path("others") / "0" / "0.png", 9)
    for folder, work in (("others", "work"), ("others", "empty"), ("things", "work")):
        main(Path(folder), out=Path(folder + work), description="blocks", work=Path(work), steps=3, batch=2)
    of_others, alone, again = (load_file(Path(out) / ENCODER) for out in ("otherswork", "othersempty", "thingswork"))
    assert all(torch.equal(value, alone[name]) for name, value in of_others.items())  # another domain's checkpoint is not continued
    assert all(torch.equal(value, weights[2][name]) for name, value in again.items())
    base = load_base_model(settings.base.model, None, "cpu")
    assert load_encoder("out", base).word(torch.zeros(1, *base.latent_shape)).isfinite().all()
    with pytest.raises(typer.BadParameter, match="either --pictures FOLDER or --embedded"):
        main(Path("things"), embedded=True)
    with pytest.raises(typer.BadParameter, match="give --out FOLDER for the encoder of --pictures"):
        main(Path("things"))
