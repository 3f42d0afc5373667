"""Reopening a finished run for evaluation: as it was, with every result in its own folder."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from support.builders import micro_backbone, randomise, save_official_format
from support.experiments import OPTIONS, tiny
from support.quick import every
from support.run_folders import CONFIGS, finish

import ipsam
from ipsam.engine.runs.checkpoint import load_weights, save_checkpoint
from ipsam.engine.runs.configuration import build_model
from ipsam.engine.runs.provenance import environment
from ipsam.engine.runs.reopen import reopen_run
from ipsam.engine.runs.run_folder import check_run
from ipsam.model import MaskDecoder
from ipsam.utils.weights import sha256_of


def test_run_is_reopened_as_it_was_with_a_folder_for_each_evaluation(run_config: Any, eval_config: Any) -> None:
    folder = finish(run_config())
    assert reopen_run(eval_config()) == (
        *(folder / "checkpoints" / "step_00000002", OmegaConf.to_container(run_config(), resolve=True)),
        folder / "eval",
    )
    for name, out in {"last": ".", "best": "best", "step_00000001": "step_00000001", "step_00000002": "."}.items():
        found = reopen_run(eval_config(ckpt=str(folder / "checkpoints" / name)))
        assert (found[0], found[2]) == (folder / "checkpoints" / name, folder / "eval" / out)
    own, best = {"name": "own", "images": "i", "masks": "m"}, str(folder / "checkpoints" / "best")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"data": {"test": ["CAMO", own]}}, "CAMO+own"),
        ({"data": {"test": ["NC4K"]}, "ckpt": best}, "best/NC4K"),
        ({"protocol": "sam2_adapter"}, "sam2_adapter"),
        ({"protocol": {"size": 64}}, "size=64"),
        ({"protocol": {"size": None}}, "."),
        ({"data": {"exclude": ["x"]}}, "other_images"),
        ({"data": {"image_size": 96, "letterbox": True}}, "96px/letterbox"),
        ({"data": {"letterbox": False, "test": ["NC4K"]}}, "squashed/NC4K"),
    ]
    for change, out in changes:
        assert reopen_run(eval_config(**change))[2] == folder / "eval" / out


def test_given_values_replace_the_runs_own(run_config: Any, eval_config: Any, tmp_path: Path) -> None:
    finish(run_config())
    changes = {
        "data": {"test": ["CAMO", {"name": "own", "images": "i", "masks": "m"}], "exclude": ["x"]},
        "engine": {"eval_batch_size": 3, "cpu": True},
        "paths": {"data": "/data"},
        "base": "/base.pt",
        "out": str(tmp_path / "out"),
    }
    _, config, out = reopen_run(eval_config(**changes))
    assert config.data.test == changes["data"]["test"]
    assert config.data.exclude == ["x"]
    assert config.data.root == "/data"
    assert config.data.image_size == run_config().data.image_size  # not given
    assert config.engine.eval_batch_size == 3
    assert config.model.backbone.checkpoint == "/base.pt"
    assert out == tmp_path / "out"


def test_missing_run_is_named(run_config: Any, eval_config: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ckpt=\.\.\. is missing: name the folder of a run"):
        reopen_run(OmegaConf.load(CONFIGS / "eval.yaml"))
    with pytest.raises(FileNotFoundError, match=rf"no model at {tmp_path}/none: give the folder of a run"):
        reopen_run(eval_config(ckpt=f"{tmp_path}/none"))
    finish(run_config("data.test=[]"))
    with pytest.raises(ValueError, match=r"names no test set: data\.test="):
        reopen_run(eval_config())
    with pytest.raises(ValueError, match=r"base=\{adapter: \.\.\.\}: the run's model has no adapter"):
        reopen_run(eval_config(base={"adapter": "x.pt"}))


@pytest.mark.parametrize(
    "link", every(2, ["eval", "eval/metrics.json", "checkpoints/step_00000009", "tensorboard/deep/log"])
)
@pytest.mark.parametrize("exists", [True, False])
def test_links_out_of_a_runs_folder_are_refused(
    run_config: Any, eval_config: Any, tmp_path: Path, link: str, exists: bool
) -> None:
    """Otherwise a stranger's run would decide where results are written."""
    folder = finish(run_config())
    (tmp_path / "mine").mkdir()
    target = tmp_path / "mine" if exists else tmp_path / "mine" / "file"
    (folder / link).parent.mkdir(parents=True, exist_ok=True)
    (folder / link).symlink_to(target)
    refused = rf"{folder}/{link} is a link that leads out of {folder}, to {target}; .*remove the link"
    for out in (None, str(folder / "eval" / "other")):
        with pytest.raises(ValueError, match=refused):
            reopen_run(eval_config(out=out))
    for option in ("resume=true", "overwrite=true"):
        with pytest.raises(ValueError, match=refused):
            check_run(run_config(option))
    assert reopen_run(eval_config(out=str(tmp_path / "out")))[2] == tmp_path / "out"


def test_pipe_in_a_runs_folder_is_refused(run_config: Any, eval_config: Any) -> None:
    folder = finish(run_config())
    (folder / "eval").mkdir()
    os.mkfifo(folder / "eval" / "metrics.json")
    with pytest.raises(ValueError, match=r"eval/metrics\.json is neither a file nor a folder; remove it"):
        reopen_run(eval_config())


def test_runs_folder_may_be_a_link(run_config: Any, eval_config: Any, tmp_path: Path) -> None:
    folder = finish(run_config())
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    check_run(run_config("resume=true"))
    assert reopen_run(eval_config())[2] == folder / "eval"


def test_model_initialised_from_sam2s_decoder_is_shared(tmp_path: Path) -> None:
    """With every other option, too. The trained decoder replaces the one in SAM2's file."""
    config = tiny("cod_r32", *OPTIONS)
    decoder = MaskDecoder(64, num_heads=4, mlp_dim=64, high_res_features=True)
    base = save_official_format(tmp_path / "base.pt", micro_backbone(), decoder)
    config.model.backbone.checkpoint, config.model.decoder_weights = str(base), "sam2"
    model = build_model(config.model).eval()
    assert all(map(torch.equal, model.decoder.parameters(), decoder.parameters()))
    for part in (model.decoder, model.gating, model.refine):
        randomise(part)
    folder = tmp_path / "run" / "checkpoints" / "step_00000001"
    save_checkpoint(folder, model, config=OmegaConf.to_yaml(config, resolve=True), training={})
    loaded = ipsam.load(folder, device="cpu")
    saved = loaded.save_pretrained(tmp_path / "saved")
    image = torch.randn(1, 3, 64, 64)
    for again in (loaded, ipsam.load(saved, base=base, device="cpu")):
        with torch.inference_mode():
            torch.testing.assert_close(again.model(image).logits, model(image).logits, rtol=1e-4, atol=1e-4)


def test_trained_model_does_without_the_weights_it_started_from(tmp_path: Path, eval_config: Any) -> None:
    """Their file may be gone: checkpoints of a trunk that is trained as a whole hold every weight."""
    config = tiny("lite")
    start = tmp_path / "start.safetensors"
    save_file(timm.create_model(config.model.backbone.name).state_dict(), start)
    config.model.backbone.pretrained = str(start)
    config.data.test = ["synthetic"]
    model = build_model(config.model).eval()
    assert environment(0, model)["pretrained_sha256"] == sha256_of(start)
    folder = tmp_path / "run" / "checkpoints" / "step_00000001"
    save_checkpoint(folder, model, config=OmegaConf.to_yaml(config, resolve=True), training={"progress": {"step": 1}})
    start.unlink()
    image = torch.randn(1, 3, 64, 64)
    saved = ipsam.load(folder, device="cpu").save_pretrained(tmp_path / "saved")
    assert json.loads((saved / "config.json").read_text())["model"]["backbone"]["pretrained"] == start.name
    for again in (folder, saved):
        with torch.inference_mode():
            found = ipsam.load(again, device="cpu").model(image).logits
            torch.testing.assert_close(found, model(image).logits, rtol=1e-4, atol=1e-4)
    for ckpt, out in ((folder, None), (saved, str(tmp_path / "out"))):
        checkpoint, run, _ = reopen_run(eval_config(ckpt=str(ckpt), out=out, data={"test": ["synthetic"]}))
        assert run.model.backbone.pretrained is None
        load_weights(build_model(run.model), checkpoint)
