"""Comparison systems: evaluated only, trained, or scored from their authors' maps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.builders import skip_without
from support.saved_maps import write_maps, write_masks
from support.small_run import TINY

from ipsam.model.baselines import SAM, SAM2

SMALL = [
    *(option for option in TINY if not option.startswith(("experiment=", "run_dir="))),
    *("data=synthetic", "run_dir=run", "model.backbone.variant=micro", "data.synthetic.num_test=3"),
]
NARROW = ["model.detector.size=n", "model.detector.image_size=64", "model.detector.checkpoint=null"]


@pytest.fixture(autouse=True)
def pretrained() -> None:
    """Save random weights in place of the pretrained ones."""
    names = ("image_encoder.", "sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
    state = SAM2("micro", image_size=64).model.state_dict()
    Path("checkpoints").mkdir()
    torch.save(
        {"model": {key: tensor for key, tensor in state.items() if key.startswith(names)}},
        "checkpoints/sam2.1_hiera_micro.pt",
    )
    SAM("micro", image_size=64).model.save_pretrained("checkpoints/sam-vit-micro")


@pytest.mark.parametrize(
    ("name", "options", "remark"),
    [
        pytest.param("mdsam", [], "", marks=pytest.mark.slow),  # it has running statistics too
        pytest.param("sam2_adapter", ["model.backbone.adapter.scale_factor=8"], "", marks=pytest.mark.slow),
        ("sam2_oracle", ["data.train=[]"], "own: centroid outside the object in 1 of 3 images (33.3%)"),
        pytest.param(
            "yolov8_sam2",
            [*NARROW, "data.train=[]"],
            "own: nothing detected, the box is the whole image in 3 of 3",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_checkpoint_gives_the_same_scores(
    script: Callable[..., Any], pairs: Callable[[str], str], name: str, options: list[str], remark: str
) -> None:
    """Pretrained weights are in no checkpoint; evaluation finds the run's own."""
    test = pairs("own")
    ring = np.full((64, 64), 255, np.uint8)
    ring[10:-10, 10:-10] = 0
    cv2.imwrite("own/masks/b.png", ring)
    if name == "yolov8_sam2":
        skip_without("ultralytics")
    done = script("train", f"experiment=baseline/{name}", *SMALL, *options, f"data.test=[{test}]")
    assert done.status == 0, done.err
    assert remark in done.out
    assert ("remarks" in json.loads(Path("run/eval/metrics.json").read_text())) == bool(remark)
    Path("checkpoints/sam2.1_hiera_micro.pt").rename("elsewhere.pt")
    base = {"yolov8_sam2": "base={backbone: elsewhere.pt}", "mdsam": "base=null"}.get(name, "base=elsewhere.pt")
    again = script("eval", "ckpt=run", "out=again", base)
    assert again.status == 0, again.err
    assert Path("again/metrics.json").read_bytes() == Path("run/eval/metrics.json").read_bytes()
    wrong = script("eval", "ckpt=run", "base={head: elsewhere.pt}")
    assert "base={head: ...}: the run's model has no head" in wrong.error


@pytest.mark.parametrize("name", ["oracle", "amg"])
def test_frozen_systems_cannot_be_trained(script: Callable[..., Any], name: str) -> None:
    done = script("train", f"experiment=baseline/sam2_{name}", *SMALL, "model.backbone.train_decoder=true")
    assert "can only be evaluated: leave everything in model.backbone frozen" in done.error
    assert not Path("run/environment.jsonl").exists()


def test_missing_weights_come_with_a_download_command(script: Callable[..., Any]) -> None:
    for name, told in (
        ("sam", "hf download facebook/sam-vit-huge model.safetensors --local-dir checkpoints/sam-vit-huge"),
        ("sam2", "curl -L --create-dirs -o checkpoints/sam2.1_hiera_large.pt https://"),
    ):
        done = script("train", f"experiment=baseline/{name}", "data.test=[synthetic]", "data.image_size=64")
        assert told in done.error
        assert done.error.startswith("error: model.backbone: no SAM")


def test_specialists_maps_fill_their_rows(script: Callable[..., Any]) -> None:
    write_masks("data/TestDataset/CAMO/GT")
    write_maps("maps/ZoomNeXt/CAMO")
    done = script("score", "--config-name", "specialists", "num_workers=0")
    assert done.status == 0, done.err
    tables = script("tables")
    assert tables.status == 0, tables.err
    lines = tables.out.splitlines()
    (row,) = [number for number, line in enumerate(lines) if "ours (maps)" in line]
    assert lines[row - 1].startswith("| ZoomNeXt [27] ")
