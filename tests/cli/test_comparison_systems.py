"""Comparison systems: evaluated only, trained, or scored from their authors' maps."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from support.saved_maps import write_maps, write_masks

from ipsam.model.baselines import SAM, SAM2

TINY = [
    "data=synthetic",
    "data.image_size=64",
    "data.synthetic.num_train=4",
    "data.synthetic.num_test=3",
    "model.backbone.variant=micro",
    "engine.epochs=1",
    "engine.batch_size=2",
    "engine.num_workers=0",
    "engine.cpu=true",
]


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


def test_oracle_counts_points_outside_the_object(script: Callable[..., Any], pairs: Callable[[str], str]) -> None:
    test = pairs("own")
    ring = np.full((64, 64), 255, np.uint8)
    ring[10:-10, 10:-10] = 0
    cv2.imwrite("own/masks/b.png", ring)
    done = script("train", "experiment=baseline/sam2_oracle", *TINY, "data.train=[]", f"data.test=[{test}]")
    assert done.status == 0, done.err
    assert "own: centroid outside the object in 1 of 3 images (33.3%)" in done.out
    folder = Path("outputs/baseline/sam2_oracle/seed0")
    assert json.loads((folder / "eval/metrics.json").read_text())["remarks"] == {
        "own": {"centroid outside the object": 1}
    }
    again = script("eval", f"ckpt={folder}", "out=again")
    assert again.status == 0, again.err
    assert Path("again/metrics.json").read_bytes() == (folder / "eval/metrics.json").read_bytes()


def test_undetected_objects_are_counted(script: Callable[..., Any]) -> None:
    """Random weights detect nothing; evaluation finds the run's own detector again."""
    pytest.importorskip("ultralytics")
    narrow = ["model.detector.size=n", "model.detector.image_size=64", "model.detector.checkpoint=null"]
    done = script("train", "experiment=baseline/yolov8_sam2", *TINY, *narrow, "data.train=[]")
    assert done.status == 0, done.err
    assert "synthetic: nothing detected, the box is the whole image in 3 of 3 images (100.0%)" in done.out
    folder = Path("outputs/baseline/yolov8_sam2/seed0")
    Path("checkpoints/sam2.1_hiera_micro.pt").rename("elsewhere.pt")
    again = script("eval", f"ckpt={folder}", "out=again", "base={backbone: elsewhere.pt}")
    assert again.status == 0, again.err
    assert Path("again/metrics.json").read_bytes() == (folder / "eval/metrics.json").read_bytes()
    wrong = script("eval", f"ckpt={folder}", "base={head: elsewhere.pt}")
    assert "base={head: ...}: the run's model has no head" in wrong.err


@pytest.mark.parametrize("name", ["oracle", "amg"])
def test_frozen_systems_cannot_be_trained(script: Callable[..., Any], name: str) -> None:
    done = script("train", f"experiment=baseline/sam2_{name}", *TINY, "model.backbone.train_decoder=true")
    assert done.status == 1
    assert "can only be evaluated: leave everything in model.backbone frozen" in done.err
    assert not list(Path("outputs").rglob("environment.jsonl"))


@pytest.mark.parametrize("name", ["mdsam", "sam2_adapter"])
def test_checkpoint_gives_the_same_scores(script: Callable[..., Any], name: str) -> None:
    """MDSAM also has running statistics; pretrained weights are in neither checkpoint."""
    narrow = ["model.backbone.adapter.scale_factor=8"] if name == "sam2_adapter" else []
    done = script("train", f"experiment=baseline/{name}", *TINY, *narrow)
    assert done.status == 0, done.err
    folder = Path(f"outputs/baseline/{name}/seed0")
    again = script("eval", f"ckpt={folder}", "out=again")
    assert again.status == 0, again.err
    assert Path("again/metrics.json").read_bytes() == (folder / "eval/metrics.json").read_bytes()


def test_missing_weights_come_with_a_download_command(script: Callable[..., Any]) -> None:
    for name, told in (
        ("sam", "hf download facebook/sam-vit-huge model.safetensors --local-dir checkpoints/sam-vit-huge"),
        ("sam2", "curl -L --create-dirs -o checkpoints/sam2.1_hiera_large.pt https://"),
    ):
        done = script("train", f"experiment=baseline/{name}", "data.test=[synthetic]", "data.image_size=64")
        assert done.status == 1
        assert told in done.err
        assert done.err.startswith("error: model.backbone: no SAM")


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
