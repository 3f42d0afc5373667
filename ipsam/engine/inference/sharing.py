"""A model as a small folder to share: weights as safetensors, its description as JSON, a model card."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ipsam.data.data import SYNTHETIC
from ipsam.engine.inference.model_card import OTHER, model_card
from ipsam.engine.runs.checkpoint import ADAPTER, ADAPTER_WEIGHTS, WEIGHTS, adapter_files, read_weights
from ipsam.engine.runs.hub import CARD, DESCRIPTION
from ipsam.engine.runs.model_folder import own_sets, read_description, trained_sets
from ipsam.model.sam2_checkpoints import OFFICIAL_FILES
from ipsam.utils.files import is_file, write_files
from ipsam.utils.untrusted import read_plain_json

MAX_WHOLE = 512  # numbers of a tensor that half precision leaves alone: rounding biases and tokens shows most
OWN_LICENSE = "apache-2.0"  # of this code, SAM2's weights and generated data


def save_pretrained(
    source: Path,
    folder: str | Path,
    *,
    half: bool = False,
    license: str | None = None,
    repo_id: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write a model to a folder to share, and return the folder.

    It holds ``model.safetensors``, ``config.json``, a model card, ``README.md``, and a checkpoint's LoRA for peft.

    Args:
        source: folder of a checkpoint, or one written by this function.
        folder: made if necessary; existing files of these names are replaced.
        half: store the weights in half precision, at half the size and with rounding. Loading makes them float32.
        license: the Hub's name of a licence, such as ``mit`` or ``cc-by-nc-4.0``. By default it is ``other``, as the
            terms of the training data apply, or ``apache-2.0`` for a model of generated data alone.
        repo_id: of the model on the Hub, for the example on the card.
        about: entries of ``config.json`` for the card: ``name``; ``terms`` of the training data, such as
            ``research use``; ``base_model``, an id on the Hub; ``tags``.

    Raises:
        ValueError: ``license`` is not such a name.
        OSError: the folder cannot be written; it is as it was.
    """
    folder = Path(folder).expanduser()
    description = read_description(source) | dict(about or {})
    backbone = description["model"].get("backbone")
    for key in ("checkpoint", "pretrained"):
        if isinstance(backbone, dict) and backbone.get(key):
            backbone[key] = Path(backbone[key]).name  # the path on this machine is private
    description["trained_on"] = own_sets(description.get("trained_on") or [])  # without the paths of their folders
    description["license"] = _license(description, license)
    weights, base = read_weights(source / WEIGHTS)
    if half:
        weights = {name: _halved(tensor) for name, tensor in weights.items()}
    files = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"base_sha256": base or ""}),
        DESCRIPTION: (json.dumps(description, indent=2, ensure_ascii=False) + "\n").encode(),
        CARD: model_card(description, base, repo_id=repo_id).encode(),
    }
    if is_file(source / ADAPTER):
        adapter, _ = read_weights(source / ADAPTER_WEIGHTS)
        adapter = {name: _halved(tensor) for name, tensor in adapter.items()} if half else adapter
        files |= adapter_files(read_plain_json(source / ADAPTER), adapter)
    write_files(folder, files)
    return folder


def _halved(tensor: Tensor) -> Tensor:
    """Convert floats to half precision, unless one of them exceeds its range, or they are too few to save space."""
    half = tensor.half() if tensor.is_floating_point() and tensor.numel() > MAX_WHOLE else tensor
    return half if half.isfinite().all() else tensor


def _license(description: dict[str, Any], wanted: str | None) -> str:
    backbone = description["model"].get("backbone") or {}
    known = backbone.get("pretrained") is None and backbone.get("checkpoint") in (None, *OFFICIAL_FILES)
    generated = known and trained_sets(description) == [SYNTHETIC]
    chosen = wanted or description.get("license") or (OWN_LICENSE if generated else OTHER)
    if not re.fullmatch(r"[\w.+-]{1,40}", str(chosen)):
        raise ValueError(f"license must be the Hub's name of one, such as mit or other, not {chosen!r:.99}")
    return str(chosen)
