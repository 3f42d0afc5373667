"""A model saved as a folder predicts the same bits anywhere, and runs no code."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from support.builders import micro_backbone, save_official_format
from support.quick import every
from support.run_folders import finish
from support.saved import limited_files, names

import ipsam
from ipsam.engine.inference.model_card import model_card
from ipsam.engine.inference.predictor import Predictor
from ipsam.engine.inference.record import maker_of
from ipsam.engine.inference.sharing import save_pretrained
from ipsam.engine.runs.checkpoint import read_weights, save_checkpoint
from ipsam.engine.runs.configuration import build_model, compose_experiment
from ipsam.engine.runs.model_folder import find_checkpoint, read_description
from ipsam.engine.runs.model_names import model_names
from ipsam.engine.runs.reopen import reopen
from ipsam.utils.files import write_json
from ipsam.utils.resources import CHECKPOINTS

CONFIGS = Path(__file__).parents[3] / "configs"
LOAD_ELSEWHERE = """
import sys, numpy as np, ipsam
result = ipsam.load(sys.argv[1], device="cpu").predict(np.load(sys.argv[2]))
np.save(sys.argv[3], result.prob)
from hydra.core.global_hydra import GlobalHydra
assert not GlobalHydra.instance().is_initialized()
"""


@pytest.mark.slow
def test_another_process_predicts_the_same_bits(predictor: Predictor, picture: np.ndarray, tmp_path: Path) -> None:
    """Without the run's folder and without Hydra's state."""
    saved = predictor.save_pretrained(tmp_path / "saved")
    assert sorted(path.name for path in saved.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    np.save(tmp_path / "picture.npy", picture)
    arguments = [str(saved), str(tmp_path / "picture.npy"), str(tmp_path / "prob.npy")]
    subprocess.run([sys.executable, "-c", LOAD_ELSEWHERE, *arguments], cwd=tmp_path, check=True)
    assert np.array_equal(np.load(tmp_path / "prob.npy"), predictor.predict(picture).prob)
    again = ipsam.load(saved, device="cpu").save_pretrained(tmp_path / "again")
    for path in saved.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_letterboxing_travels_with_the_model(
    run_config: Any, eval_config: Any, picture: np.ndarray, tmp_path: Path
) -> None:
    """A model from before the option has none, and predicts as before; its predictions' record keeps its value."""
    found = []
    for value in ("true", None):
        folder = finish(run_config(f"data.letterbox={value or False}", f"run_dir={tmp_path / str(value)}"))
        checkpoint = find_checkpoint(folder)
        if value is None:
            config = OmegaConf.load(checkpoint / "config.yaml")
            del config.data.letterbox
            OmegaConf.save(config, checkpoint / "config.yaml")
        saved = ipsam.load(checkpoint, device="cpu").save_pretrained(tmp_path / "saved" / str(value))
        assert ("(letterboxed)" in (saved / "README.md").read_text()) == (value == "true")
        if value is None:
            about = json.loads((saved / "config.json").read_text())
            del about["letterbox"]
            (saved / "config.json").write_text(json.dumps(about))
        loaded = [ipsam.load(place, device="cpu") for place in (folder, saved)]
        assert [one.letterbox for one in loaded] == [value == "true"] * 2
        assert all(np.array_equal(one.predict(picture).prob, loaded[0].predict(picture).prob) for one in loaded)
        assert reopen(eval_config(), str(saved))[1].data.letterbox == (value == "true")
        found.append(maker_of(loaded[1], "saved")["configuration"])
    without = hashlib.sha256(json.dumps(read_description(saved)["model"], sort_keys=True).encode()).hexdigest()
    assert found[0] != found[1] == without
    (saved / "config.json").write_text(json.dumps(about | {"letterbox": "no"}))
    with pytest.raises(ValueError, match=r"config\.json: letterbox must be true or false, not 'no'"):
        ipsam.load(saved)


def test_half_precision_halves_the_file(predictor: Predictor, picture: np.ndarray, tmp_path: Path) -> None:
    sizes = [predictor.save_pretrained(tmp_path / str(half), half=half) / "model.safetensors" for half in (False, True)]
    whole, half = (path.stat().st_size for path in sizes)
    assert half < 0.52 * whole
    loaded = ipsam.load(tmp_path / "True", device="cpu")
    assert all(tensor.dtype != torch.float16 for tensor in loaded.model.state_dict().values())
    np.testing.assert_allclose(loaded.predict(picture).prob, predictor.predict(picture).prob, atol=1e-3)
    again = save_pretrained(tmp_path / "True", tmp_path / "again")  # without the option
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "True" / "model.safetensors").read_bytes()


def test_half_precision_keeps_what_it_cannot_hold(checkpoint: Path, tmp_path: Path) -> None:
    """Such as the running variance of a backbone's wide channels; and small tensors, whose rounding shows most."""
    saved = save_pretrained(checkpoint, tmp_path / "saved")
    weights, _ = read_weights(saved / "model.safetensors")
    large, other, *_ = (name for name, tensor in weights.items() if tensor.numel() > 512)
    weights[large] = weights[large] * 0 + 1e5
    save_file(weights, saved / "model.safetensors")
    halved, _ = read_weights(save_pretrained(saved, tmp_path / "half", half=True) / "model.safetensors")
    assert torch.equal(halved[large], weights[large])
    assert halved[other].dtype == torch.float16
    assert all(halved[name].dtype == weights[name].dtype for name in weights if weights[name].numel() <= 512)


def test_card_describes_the_model_and_its_scores(checkpoint: Path, tmp_path: Path) -> None:
    scores = {"num_images": 7, "mae": 0.05, "fw": 0.7, "sm": 0.8, "em": 0.9, "mdice": 0.75, "miou": 0.65}
    evaluated = checkpoint.parents[1] / "eval" / "metrics.json"
    # Scores of this checkpoint, of a different one, and damaged ones.
    for epochs, sets, shown in (
        (9, {"synthetic": scores}, True),
        (3, {"synthetic": scores}, False),
        (9, {"a": 1}, False),
    ):
        write_json(evaluated, {"epochs": epochs, "datasets": sets})
        text = card_of(checkpoint, tmp_path / "card")
        assert text.startswith("---\nlibrary_name: ipsam\n")
        assert "# small" in text
        assert "`ipsam.model.IPSAM` on the micro backbone, at 64 px, trained on synthetic" in text
        assert "@misc{ipsam" in text
        assert "Made by" not in text  # nothing recorded a command
        assert ("| synthetic |      7 | 0.0500 | 0.7000 | 0.8000 | 0.9000 | 0.7500 | 0.6500 |" in text) == shown
    evaluated.unlink()


def card_of(source: Path, folder: Path, **options: Any) -> str:
    return (save_pretrained(source, folder, **options) / "README.md").read_text()


@pytest.mark.parametrize(
    ("typed", "shown"),
    every(
        2,
        [
            (["experiment=quickstart", "engine.epochs=3", "overwrite=true", "paths.data=/home/me"], "engine.epochs=3"),
            (
                ["experiment=quickstart", "data.train=[{name: a, images: /home/me/img}]"],
                "'data.train=[{name: a, images: .../img}]'",
            ),
            (["experiment=quickstart", "+model.extra=~/mine/x.py", "run_dir=/a/b"], "+model.extra=.../x.py"),
            (["-m", "experiment=quickstart", "seed=1,2"], None),
            (["experiment=quickstart", "name=a\n```\n<script>"], None),
        ],
    ),
    ids=str,
)
def test_card_names_the_command_that_made_the_model(
    run_config: Any, tmp_path: Path, typed: list[str], shown: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without what has no influence, and without the private part of paths."""
    script = "/home/me/scripts/train.py"
    for command in ([script, "experiment=cod_r32"], [script, *typed], [script, *typed, "resume=true", "run_dir=/home"]):
        monkeypatch.setattr(sys, "argv", command)
        run = finish(run_config())
    card = card_of(find_checkpoint(run), tmp_path / "saved")
    made_by = [f"ipsam train experiment=quickstart {shown}"] if shown else []
    assert [line for line in card.splitlines() if line.startswith("ipsam train")] == made_by
    assert "/home" not in card + (tmp_path / "saved" / "config.json").read_text()
    for last in ("[]", '{"command": ["ipsam train", "resume=true", "allow_change=[engine.lr]", "engine.lr=1"]}'):
        with (run / "environment.jsonl").open("a") as file:
            file.write(f"{last}\n")
        assert "ipsam train" not in card_of(find_checkpoint(run), tmp_path / "saved")  # made by no single command


def test_card_names_the_licence(run_config: Any, tmp_path: Path) -> None:
    """The data decide it, unless all are generated; saving again keeps it."""
    generated = find_checkpoint(finish(run_config()))
    assert "\nlicense: apache-2.0\n" in card_of(generated, tmp_path / "generated")
    description = read_description(generated)
    description["model"]["backbone"]["pretrained"] = "resnet.safetensors"  # of terms unknown
    started = shutil.copytree(tmp_path / "generated", tmp_path / "started")
    write_json(started / "config.json", description)
    assert "\nlicense: other\n" in card_of(started, tmp_path / "pretrained")
    own = find_checkpoint(finish(run_config("data.train=[synthetic, CAMO]", "overwrite=true")))
    card = card_of(own, tmp_path / "own")
    assert "\nlicense: other\n" in card
    assert "The terms of its training data apply to it: CAMO: research use (https://" in card
    assert "\nlicense: cc-by-nc-4.0\n" in card_of(tmp_path / "own", tmp_path / "mine", license="cc-by-nc-4.0")
    assert "\nlicense: cc-by-nc-4.0\n" in card_of(tmp_path / "mine", tmp_path / "again")
    with pytest.raises(ValueError, match="license must be the Hub's name of one, such as mit or other, not 'MIT,"):
        card_of(own, tmp_path / "own", license="MIT, but\nnot really")


def test_folders_of_the_training_data_stay_private(run_config: Any, tmp_path: Path) -> None:
    mine = "{name: mine, images: /home/me/images, masks: /home/me/masks}"
    checkpoint = find_checkpoint(finish(run_config(f"data.train=[{mine}]")))
    card = card_of(checkpoint, tmp_path / "saved")
    assert "trained on mine." in card
    assert "/home" not in card + (tmp_path / "saved" / "config.json").read_text()


def test_cards_example_runs(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", card_of(checkpoint, tmp_path / "saved"), re.S)
    monkeypatch.chdir(tmp_path / "saved")
    Image.new("RGB", (30, 20)).save("image.jpg")
    exec(example, {})
    with Image.open("overlay.png") as overlay:
        assert overlay.size == (30, 20)


@pytest.mark.parametrize("name", [name for name in model_names() if (CHECKPOINTS / name).is_dir()])
def test_shipped_model_is_complete(name: str, picture: np.ndarray) -> None:
    folder = CHECKPOINTS / name
    card = (folder / "README.md").read_text()
    assert card == model_card(read_description(folder), None)
    assert "ipsam train experiment=" in card
    assert ipsam.load(name, device="cpu").predict(picture).prob.shape == picture.shape[:2]


def test_full_disk_leaves_the_former_folder(checkpoint: Path, tmp_path: Path) -> None:
    saved = save_pretrained(checkpoint, tmp_path / "saved", half=True)
    before = {path: path.read_bytes() for path in saved.iterdir()}
    for folder in (saved, tmp_path / "new"):
        with limited_files(100_000), pytest.raises(OSError, match="File too large") as error:
            save_pretrained(checkpoint, folder)
        assert error.value.filename == str(folder / "model.safetensors")
    assert {path: path.read_bytes() for path in saved.iterdir()} == before
    assert names(tmp_path) == ["saved"]


@pytest.fixture
def on_a_base(tmp_path: Path) -> tuple[Path, Path]:
    """Checkpoint of LoRA on a backbone from a file, and that file."""
    base = save_official_format(tmp_path / "base.pt", micro_backbone())
    overrides = ["data.image_size=64", "model.backbone.variant=micro", f"model.backbone.checkpoint={base}"]
    narrow = ["model.decoder.dim=64", "model.decoder.num_heads=4", "model.decoder.mlp_dim=128"]
    config = compose_experiment(CONFIGS, "cod_r16", [*overrides, *narrow, "model.backbone.lora.rank=2"])
    folder = tmp_path / "run" / "checkpoints" / "step_00000001"
    text = OmegaConf.to_yaml(config, resolve=True)
    save_checkpoint(folder, build_model(config.model), config=text, training={})
    return folder, base


def test_folder_holds_trained_weights_and_the_name_of_the_base(on_a_base: tuple[Path, Path], tmp_path: Path) -> None:
    checkpoint, base = on_a_base
    saved = ipsam.load(checkpoint, device="cpu").save_pretrained(tmp_path / "saved")
    about = read_description(saved)
    assert about["model"]["backbone"]["checkpoint"] == "base.pt"  # not where it lay
    assert str(tmp_path) not in (saved / "config.json").read_text() + (saved / "README.md").read_text()
    with safe_open(saved / "model.safetensors", framework="pt") as file:
        names = set(file.keys())
    assert any("lora_" in name for name in names)
    assert not any("base_layer" in name for name in names)
    assert "It needs `base.pt` (sha256 `" in (saved / "README.md").read_text()
    loaded = ipsam.load(saved, base=base, device="cpu")
    assert not any("lora_" in name for name in loaded.model.state_dict())  # merged
    image = np.zeros((8, 8, 3), np.uint8)
    assert np.array_equal(loaded.predict(image).prob, ipsam.load(checkpoint, device="cpu").predict(image).prob)
    with pytest.raises(FileNotFoundError, match=r"no SAM2 checkpoint at base\.pt"):
        ipsam.load(saved, device="cpu")
    torch.manual_seed(9)
    other = save_official_format(tmp_path / "other.pt", micro_backbone())
    with pytest.raises(ValueError, match=r"was trained on pretrained weights of sha256"):
        ipsam.load(saved, base=other, device="cpu")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is not a plain JSON configuration"),
        ("[1]", "describes no model: it must hold model"),
        ('{"model": {}}', "image_size must be a whole number of pixels up to 4096, not None"),
        ('{"model": {"a": "${oc.env:HOME}"}, "image_size": 64}', "holds interpolations"),
        ('{"model": {"_target_": "os.system", "command": "touch canary"}, "image_size": 64}', "is 'os.system'"),
    ],
)
def test_hostile_or_broken_configuration_is_refused(
    predictor: Predictor, tmp_path: Path, content: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    saved = predictor.save_pretrained("saved")
    (saved / "config.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        ipsam.load(saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["saved"]
