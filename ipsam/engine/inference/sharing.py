"""A model as a small folder to share: weights as safetensors, its description as JSON, a model card."""

import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ipsam.engine.metrics import HEADLINE, METRICS
from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.checkpoint import WEIGHTS, read_weights
from ipsam.engine.runs.hub import CARD, DESCRIPTION
from ipsam.engine.runs.model_folder import read_description
from ipsam.model.sam2_checkpoints import OFFICIAL_FILES
from ipsam.utils.files import write_files

OWN_LICENSE, OTHER = "apache-2.0", "other"  # of this code, SAM2's weights and generated data; of any other data
FRONT_MATTER = """\
---
library_name: ipsam
pipeline_tag: image-segmentation
license: {license}
tags: [camouflaged-object-detection, image-segmentation]
---"""
USE = """\
```python
import ipsam

model = ipsam.load("{id}"){comment}
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


def save_pretrained(
    source: Path, folder: str | Path, *, half: bool = False, license: str | None = None, repo_id: str | None = None
) -> Path:
    """Write a model to a folder to share, and return the folder.

    It holds ``model.safetensors``, ``config.json`` and a model card, ``README.md``.

    Args:
        source: folder of a checkpoint, or one written by this function.
        folder: made if necessary; existing files of these names are replaced.
        half: store the weights in half precision, at half the size and with rounding. Loading makes them float32.
        license: the Hub's name of a licence, such as ``mit`` or ``cc-by-nc-4.0``. By default it is ``other``, as the
            terms of the training data apply, or ``apache-2.0`` for a model of generated data alone.
        repo_id: of the model on the Hub, for the example on the card.

    Raises:
        ValueError: ``license`` is not such a name.
        OSError: the folder cannot be written; it is as it was.
    """
    folder = Path(folder).expanduser()
    description = read_description(source)
    backbone = description["model"].get("backbone")
    if isinstance(backbone, dict) and backbone.get("checkpoint"):
        backbone["checkpoint"] = Path(backbone["checkpoint"]).name  # the path on this machine is private
    description["license"] = _license(description, license)
    weights, base = read_weights(source / WEIGHTS)
    if half:
        weights = {name: _halved(tensor) for name, tensor in weights.items()}
    files = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"base_sha256": base or ""}),
        DESCRIPTION: (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode(),
        CARD: model_card(description, base, repo_id=repo_id).encode(),
    }
    write_files(folder, files)
    return folder


def model_card(description: Mapping[str, Any], base_sha256: str | None, *, repo_id: str | None = None) -> str:
    """Write the text of the model's ``README.md``, with the front matter that the Hub reads.

    Args:
        description: as ``config.json`` holds it.
        base_sha256: of the pretrained weights that the model needs besides; None if it needs none.
        repo_id: of the model on the Hub; without it the example loads the folder in which it runs.
    """
    model, license = description["model"], description["license"]
    backbone = model.get("backbone") or {}
    needs = "It needs no other weights."
    if base_sha256:
        needs = (
            f"It needs `{backbone.get('checkpoint')}` (sha256 `{base_sha256}`) besides, which is downloaded once when "
            "the model is loaded."
        )
    trained_on = ", ".join(_trained_on(description)) or "unrecorded data"
    letterboxed = " (letterboxed)" if description.get("letterbox") else ""
    terms = " The terms of its training data apply to it." if license == OTHER else ""
    summary = (
        f"Draws the mask of an image's objects without prompts. `{model.get('_target_')}` on the "
        f"{backbone.get('variant')} backbone, at {description['image_size']} px{letterboxed}, trained on {trained_on}. "
        f"{needs}{terms}"
    )
    comment = "" if repo_id else "  # this folder; or its id on the Hub"
    parts = [
        FRONT_MATTER.format(license=license),
        f"# {description.get('name') or 'An ipsam model'}",
        summary,
        USE.format(id=repo_id or ".", comment=comment),
        _made_by(description),
        _scores(description),
        CITATION,
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _halved(tensor: Tensor) -> Tensor:
    """Convert floats to half precision, unless one of them exceeds its range."""
    half = tensor.half() if tensor.is_floating_point() else tensor
    return half if half.isfinite().all() else tensor


def _license(description: Mapping[str, Any], wanted: str | None) -> str:
    backbone = description["model"].get("backbone") or {}
    generated = _trained_on(description) == ["synthetic"] and backbone.get("checkpoint") in (None, *OFFICIAL_FILES)
    chosen = wanted or description.get("license") or (OWN_LICENSE if generated else OTHER)
    if not re.fullmatch(r"[\w.+-]{1,40}", str(chosen)):
        raise ValueError(f"license must be the Hub's name of one, such as mit or other, not {chosen!r:.99}")
    return str(chosen)


def _made_by(description: Mapping[str, Any]) -> str:
    command = description.get("command")
    if not isinstance(command, list) or not all(isinstance(one, str) and one.isprintable() for one in command):
        return ""
    return f"Made by:\n\n```bash\n{shlex.join(['ipsam', 'train', *command])}\n```"


def _scores(description: Mapping[str, Any]) -> str:
    columns, metrics = ("num_images", *HEADLINE), description.get("metrics")
    sets = metrics.items() if isinstance(metrics, dict) else ()
    rows = [
        [str(name), f"{scores['num_images']:.0f}", *(f"{scores[metric]:.4f}" for metric in HEADLINE)]
        for name, scores in sets
        if isinstance(scores, dict) and all(isinstance(scores.get(column), int | float) for column in columns)
    ]
    if not rows:
        return ""
    table = markdown(["test set", "images", *(METRICS[metric].label for metric in HEADLINE)], rows)
    protocol = "Scores by PySODMetrics' definitions; E-measure is the mean, Dice and IoU are means over 256 thresholds"
    return f"{protocol}:\n\n{table}"


def _trained_on(description: Mapping[str, Any]) -> list[str]:
    sets = description.get("trained_on") or []
    return [str(one.get("name")) if isinstance(one, dict) else str(one) for one in sets]
