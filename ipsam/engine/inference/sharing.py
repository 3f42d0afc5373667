"""A model as a small folder to share: weights as safetensors, its configuration as plain data, a card."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open

from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.checkpoint import WEIGHTS
from ipsam.engine.runs.hub import CARD, DESCRIPTION
from ipsam.engine.runs.model_folder import read_description

FRONT_MATTER = """\
---
library_name: ipsam
pipeline_tag: image-segmentation
license: apache-2.0
tags: [camouflaged-object-detection, image-segmentation]
---"""
USE = """\
```python
import ipsam

model = ipsam.load("this folder, or its id on the Hub")
result = model.predict("image.jpg")
result.overlay().save("overlay.png")
```"""


def save_pretrained(source: Path, folder: str | Path, *, half: bool = False) -> Path:
    """Write a model to a folder to share: ``model.safetensors``, ``config.json`` and a card, ``README.md``.

    Args:
        source: a checkpoint's folder, or one written by this function.
        folder: made if it is not there; files of these names in it are replaced.
        half: store the weights in half precision, at half the size; they are not the same bits then.

    Returns:
        The folder.
    """
    folder = Path(folder)
    about = read_description(source)
    backbone = about["model"].get("backbone")
    if isinstance(backbone, dict) and backbone.get("checkpoint"):
        backbone["checkpoint"] = Path(backbone["checkpoint"]).name  # where it lies here is nobody else's affair
    with safe_open(source / WEIGHTS, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = file.metadata() or {}
    if half:
        weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights, metadata=metadata))
    (folder / DESCRIPTION).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(about, metadata.get("base_sha256") or None), encoding="utf-8")
    return folder


CITATION = """\
```bibtex
@misc{ipsam,
  title  = {IP-SAM: Prompt-Space Conditioning for Prompt-Absent Camouflaged Object Detection},
  note   = {Technology and Engineering Center for Space Utilization, Chinese Academy of Sciences}
}
```"""


def card(about: Mapping[str, Any], base_sha256: str | None) -> str:
    """The text of the model's ``README.md``, with the front matter that the Hub reads.

    Args:
        about: as ``config.json`` holds it.
        base_sha256: of the pretrained weights that the model needs besides; None for none.
    """
    backbone = about["model"].get("backbone") or {}
    needs = "It needs no other weights."
    if base_sha256:
        needs = (
            f"It needs `{backbone.get('checkpoint')}` (sha256 `{base_sha256}`) besides, which is fetched once when the "
            "model is loaded."
        )
    trained_on = ", ".join(map(_name, about.get("trained_on") or [])) or "nothing that is noted"
    if about.get("name"):
        needs += f" Made by `python scripts/train.py experiment={about['name']}`."
    what = (
        f"Draws the mask of an image's objects without prompts. `{about['model'].get('_target_')}` on the "
        f"{backbone.get('variant')} backbone, at {about['image_size']} px, trained on {trained_on}. {needs}"
    )
    parts = [FRONT_MATTER, f"# {about.get('name') or 'A model of ipsam'}", what, USE, _scores(about), CITATION]
    return "\n\n".join(filter(None, parts)) + "\n"


def _scores(about: Mapping[str, Any]) -> str:
    metrics = about.get("metrics") or {}
    if not metrics:
        return ""
    rows = [
        [str(name), f"{scores['num_images']:.0f}", *(f"{scores[metric]:.4f}" for metric in HEADLINE)]
        for name, scores in metrics.items()
    ]
    table = markdown(["test set", "images", *(METRICS[metric].label for metric in HEADLINE)], rows)
    by = "Scores by PySODMetrics' definitions; E-measure is the mean, Dice and IoU are means over 256 thresholds"
    return f"{by}:\n\n{table}"


def _name(spec: object) -> str:
    return str(spec.get("name")) if isinstance(spec, dict) else str(spec)
