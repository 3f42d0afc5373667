"""A checkpoint is a folder: ``model.safetensors`` (what trains), ``config.yaml`` and ``training.pt`` (to go on)."""

import random
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ipsam.model import Segmenter
from ipsam.model.sam2_weights import key_difference

WEIGHTS, CONFIG, TRAINING = "model.safetensors", "config.yaml", "training.pt"


def own_weights(model: Segmenter) -> dict[str, Tensor]:
    """What a checkpoint has to hold: all weights if they came from no file; else what training changes.

    That is the trainable parameters, and the buffers beside them, such as a normalisation's running statistics.
    """
    state = model.state_dict()
    if model.base_sha256 is None:
        return state
    changing = set()
    for prefix, module in model.named_modules():
        parameters = dict(module.named_parameters(recurse=False))
        own = [name for name, parameter in parameters.items() if parameter.requires_grad]
        own += [name for name, _ in module.named_buffers(recurse=False)] if own else []
        changing |= {f"{prefix}.{name}".lstrip(".") for name in own}
    return {name: tensor for name, tensor in state.items() if name in changing}


def save_checkpoint(folder: Path, model: Segmenter, *, config: str, training: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its place, then move it there, so that the place never holds half of one."""
    fresh, old = folder.with_name(f".{folder.name}.new"), _former(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in own_weights(model).items()}
    save_file(weights, fresh / WEIGHTS, metadata={"base_sha256": model.base_sha256 or ""})
    (fresh / CONFIG).write_text(config, encoding="utf-8")
    torch.save(dict(training), fresh / TRAINING)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _former(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def put_back(folder: Path) -> None:
    """Undo the first of ``save_checkpoint``'s two moves where a run was killed before the second."""
    if not folder.exists() and _former(folder).exists():
        with suppress(FileNotFoundError):  # another process was faster
            _former(folder).rename(folder)


def find_checkpoint(path: Path) -> Path:
    """The checkpoint folder that a user means: the folder itself, or a run's last.

    Raises:
        FileNotFoundError: if it is neither.
    """
    last = path / "checkpoints" / "last"
    for folder in (path, last, _former(last)):
        if (folder / WEIGHTS).is_file():
            return folder
    raise FileNotFoundError(
        f"no checkpoint at {path}: ckpt= takes a run's folder (which holds checkpoints/last/{WEIGHTS}) "
        "or a checkpoint's, such as outputs/cod_r32/seed0/checkpoints/best"
    )


def load_weights(model: Segmenter, folder: Path) -> None:
    """Load a checkpoint's weights, strictly.

    Raises:
        ValueError: if the file is damaged, its keys or shapes differ, or it was trained on another SAM2 checkpoint.
    """
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            base = (file.metadata() or {}).get("base_sha256") or None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error
    difference = key_difference(own_weights(model), weights)
    if difference:
        raise ValueError(f"{path} does not fit the model of {folder / CONFIG}\n{difference}")
    if base != model.base_sha256:
        raise ValueError(
            f"{path} was trained on the SAM2 checkpoint of sha256 {base}, but the one loaded has "
            f"{model.base_sha256}: name the right one with model.backbone.checkpoint=... (eval.py: base=...)"
        )
    model.load_state_dict(weights, strict=False)  # strict above; the frozen rest is SAM2's own


def load_training(folder: Path) -> dict[str, Any]:
    """The state for resuming.

    Raises:
        ValueError: if the file is damaged or absent.
    """
    path = folder / TRAINING
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint make the unpickler fail in any way
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"cannot resume from {path}: {first_line}") from error
    if not isinstance(content, dict) or not {"optimizer", "rng", "progress"} <= content.keys():
        raise ValueError(f"cannot resume from {path}: it must hold optimizer, rng and progress")
    return content


def rng_state() -> dict[str, Any]:
    """State of every random generator of this process, as plain values and tensors."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": [version, list(words), gauss],
        "numpy": [kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Undo whatever was drawn since ``rng_state``."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
