"""scripts/visualize.py: one clear error for whatever is wrong, with the way out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.saved_maps import failed, mask_of, save


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "none of stems, worst and best given; say which images to draw"),
        (["stems=[a]", "worst=1"], "stems and worst given; say which"),
        (["stems=a"], "stems is a list of images: write stems=[a,b], not 'a'"),
        (["stems=[a,x]"], "stems: no image is called x (own has 4: a, b, c and 1 more)"),
        (["stems=[a.png]"], "no image is called a.png (own has 4: a, b, c and 1 more). Give file names without their"),
        (["worst=0"], "worst must be a whole number of images, 1 or above, not 0"),
        (["best=some"], "best must be a whole number of images, 1 or above, not 'some'"),
        (["best=1", "metric=dice"], "metric must be one of mae, fw, sm"),
        (["best=1", "figure=5"], "figure must be mechanism or comparison, not 5"),
        (["best=1", "maps=maps"], "maps=maps: other methods' maps are shown by figure=comparison"),
        (["best=1", "figure=comparison", "maps=none"], "maps=none: no such folder; check the path"),
        (
            ["best=1", "figure=comparison", "maps=own"],
            "maps=own: no method has maps of own; they lie in METHOD/own/*.png",
        ),
        (["best=1", "baseline=none"], "baseline=none: no model at none: give the folder of a run"),
        (["best=1", "baseline=own"], "baseline=own: no checkpoint at own"),
        (["best=1", "data.test=[]"], "nothing to draw, as the run names no test set: data.test=[...]"),
        (["best=1", "data.test=[CAMO]", "paths.data=none"], "CAMO/test: not found in none"),
        (["best=1", "base=none.pt"], "no SAM2 checkpoint at none.pt"),
        (["best=1", "base={detector: x.pt}"], "base={detector: ...}: the run's model has no detector"),
        (["best=1", "protocol=mine"], "unknown protocol 'mine'"),
        (["best=1", "out=own/images/a.png"], "out=own/images/a.png: can't be made or written to as a folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_can_not_be_drawn(visualize: Callable[..., Any], arguments: list[str], message: str) -> None:
    before = sorted(Path.cwd().rglob("*"))
    assert message in failed(visualize(*arguments))
    assert sorted(Path.cwd().rglob("*")) == before


def test_no_run(script: Callable[..., Any]) -> None:
    assert "ckpt=... is missing; --help tells what it takes" in failed(script("visualize", "best=1"))
    assert "no model at none: give the folder of a run" in failed(script("visualize", "ckpt=none", "best=1"))


def test_a_map_that_can_not_be_read(visualize: Callable[..., Any]) -> None:
    save(Path("maps/One/own/a.png"), np.dstack([mask_of(0), mask_of(1), mask_of(2)]))
    message = failed(visualize("figure=comparison", "maps=maps", "stems=[a]"))
    assert "maps/One/own/a.png: a colour picture, not a map of probabilities" in message


def test_a_damaged_checkpoint(visualize: Callable[..., Any], run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"damaged")
    assert "model.safetensors is damaged" in failed(visualize("stems=[a]"))
    (run / "config.yaml").write_text("[]")
    assert "is not a run's configuration" in failed(visualize("stems=[a]"))


def test_other_data_than_the_run_saw_are_noticed(visualize: Callable[..., Any]) -> None:
    Path("run/data.json").write_text('{"test/own": {"num_images": 9, "sha256": "x"}}')
    assert "test/own has changed since the run began: 9 images then, 4 now" in visualize("stems=[a]").out
