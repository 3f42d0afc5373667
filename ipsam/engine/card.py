"""The card of a saved model: what it is, how it is used, how it scored, whose work it is."""

from collections.abc import Mapping
from typing import Any

from ipsam.engine.tables import LABELS, markdown

METRICS = ("mae", "fw", "sm", "em", "mdice", "miou")

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
        [str(name), f"{scores['num_images']:.0f}", *(f"{scores[metric]:.4f}" for metric in METRICS)]
        for name, scores in metrics.items()
    ]
    table = markdown(["test set", "images", *(LABELS[metric] for metric in METRICS)], rows)
    by = "Scores by PySODMetrics' definitions; E-measure is the mean, Dice and IoU are means over 256 thresholds"
    return f"{by}:\n\n{table}"


def _name(spec: object) -> str:
    return str(spec.get("name")) if isinstance(spec, dict) else str(spec)
