"""A model as a small folder to share: weights as safetensors, its description as JSON, a model card."""

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
CITATION = """\
```bibtex
@misc{ipsam,
  title  = {IP-SAM: Prompt-Space Conditioning for Prompt-Absent Camouflaged Object Detection},
  note   = {Technology and Engineering Center for Space Utilization, Chinese Academy of Sciences}
}
```"""


def save_pretrained(source: Path, folder: str | Path, *, half: bool = False) -> Path:
    """Write a model to a folder to share, and return the folder.

    It holds ``model.safetensors``, ``config.json`` and a model card, ``README.md``.

    Args:
        source: folder of a checkpoint, or one written by this function.
        folder: made if necessary; existing files of these names are replaced.
        half: store the weights in half precision, at half the size and with rounding.
    """
    folder = Path(folder)
    description = read_description(source)
    backbone = description["model"].get("backbone")
    if isinstance(backbone, dict) and backbone.get("checkpoint"):
        backbone["checkpoint"] = Path(backbone["checkpoint"]).name  # the path on this machine is private
    with safe_open(source / WEIGHTS, framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        metadata = file.metadata() or {}
    if half:
        weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / WEIGHTS).write_bytes(safetensors.torch.save(weights, metadata=metadata))
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(model_card(description, metadata.get("base_sha256") or None), encoding="utf-8")
    return folder


def model_card(description: Mapping[str, Any], base_sha256: str | None) -> str:
    """Write the text of the model's ``README.md``, with the front matter that the Hub reads.

    Args:
        description: as ``config.json`` holds it.
        base_sha256: of the pretrained weights that the model needs besides; None if it needs none.
    """
    model, name = description["model"], description.get("name")
    backbone = model.get("backbone") or {}
    needs = "It needs no other weights."
    if base_sha256:
        needs = (
            f"It needs `{backbone.get('checkpoint')}` (sha256 `{base_sha256}`) besides, which is downloaded once when "
            "the model is loaded."
        )
    trained_on = ", ".join(map(_name, description.get("trained_on") or [])) or "unrecorded data"
    made_by = f" Made by `ipsam train experiment={name}`." if name else ""
    summary = (
        f"Draws the mask of an image's objects without prompts. `{model.get('_target_')}` on the "
        f"{backbone.get('variant')} backbone, at {description['image_size']} px, trained on {trained_on}. "
        f"{needs}{made_by}"
    )
    parts = [FRONT_MATTER, f"# {name or 'An ipsam model'}", summary, USE, _scores(description), CITATION]
    return "\n\n".join(filter(None, parts)) + "\n"


def _scores(description: Mapping[str, Any]) -> str:
    metrics = description.get("metrics") or {}
    if not metrics:
        return ""
    rows = [
        [str(name), f"{scores['num_images']:.0f}", *(f"{scores[metric]:.4f}" for metric in HEADLINE)]
        for name, scores in metrics.items()
    ]
    table = markdown(["test set", "images", *(METRICS[metric].label for metric in HEADLINE)], rows)
    protocol = "Scores by PySODMetrics' definitions; E-measure is the mean, Dice and IoU are means over 256 thresholds"
    return f"{protocol}:\n\n{table}"


def _name(spec: object) -> str:
    return str(spec.get("name")) if isinstance(spec, dict) else str(spec)
