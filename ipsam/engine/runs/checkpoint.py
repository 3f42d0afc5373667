"""A checkpoint is a folder, written whole or not at all.

It holds ``model.safetensors`` (what trains), ``config.yaml``, ``training.pt`` (what it takes to go on) and
``checkpoint.json``: how far training had come, and checksums by which a damaged file is known.
"""

import errno
import hashlib
import io
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ipsam.model import Segmenter
from ipsam.utils.files import is_absent, is_file, mode_of, remove
from ipsam.utils.untrusted import bounded_text, check_archive
from ipsam.utils.weights import key_difference, sha256_of

WEIGHTS, CONFIG, TRAINING, ABOUT = "model.safetensors", "config.yaml", "training.pt", "checkpoint.json"
# Bytes; many times what the largest model here takes. A file of nothing, of any size, is made in no time.
LIMITS = {WEIGHTS: 1 << 33, CONFIG: 1 << 20, TRAINING: 1 << 34, ABOUT: 1 << 20}
NEW, OLD = ".new-", ".old-"  # what the name of a folder begins with that is being written, or replaced
STATE = ("optimizer", "rng", "progress")  # what training.pt holds at least


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
    """Write a checkpoint, so that ``folder`` holds either all of it or what it held before.

    The files are written to a hidden folder beside it and brought to the disk, then that folder is renamed.

    Raises:
        OSError: it can't be written, for want of space or of the right to; what was there before is still whole.
    """
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in own_weights(model).items()}
    state = io.BytesIO()
    torch.save(dict(training), state)
    files = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"base_sha256": model.base_sha256 or ""}),
        CONFIG: config.encode(),
        TRAINING: state.getvalue(),
    }
    progress = training.get("progress", {})
    about = {name: progress[name] for name in ("epoch", "step") if name in progress}
    about["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[ABOUT] = (json.dumps(about, indent=2) + "\n").encode()
    write_folder(folder, files)


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put a folder of these files in a place, in one step.

    Where there is one already it takes two, between which the former is at ``OLD``: ``Store.clean_up`` puts it back.

    Raises:
        OSError: it can't be written; nothing is left of it, and what was in the place before is still whole.
    """
    fresh, old = (folder.with_name(f"{kind}{folder.name}") for kind in (NEW, OLD))
    remove(fresh)
    try:
        fresh.mkdir(parents=True)
        for name, content in files.items():
            with (fresh / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync(fresh)
        if mode_of(folder):  # a damaged one, or of a former run
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        fresh.rename(folder)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Bring a folder's list of names to the disk, where the system can."""
    with suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def damage(folder: Path, names: Sequence[str] = (WEIGHTS, CONFIG, TRAINING)) -> str | None:
    """Say what is wrong with a checkpoint that ``save_checkpoint`` wrote; None if its files are as they were.

    Raises:
        OSError: a file is there but can't be read, which says nothing of what it holds; with its path.
    """
    name = ABOUT
    try:
        sums = checkpoint_info(folder)["sha256"]
        for name in names:
            if not is_file(folder / name):
                return f"{name} is missing, or no file"
            if (folder / name).stat().st_size > LIMITS[name]:
                return f"{name} is larger than any"
            if sha256_of(folder / name) != sums[name]:
                return f"{name} is damaged: it is not what was written"
    except OSError as error:
        if not is_absent(error):
            raise OSError(error.errno, error.strerror, str(folder / name)) from error
        return f"{name} is missing, or no file"
    except (ValueError, TypeError, KeyError):
        return f"{ABOUT} is damaged"
    return None


def finished_epochs(folder: Path) -> int | None:
    """Return how many epochs a checkpoint's training had finished; None where it does not say.

    Raises:
        OSError: ``checkpoint.json`` is there but can't be read.
    """
    try:
        epochs = checkpoint_info(folder).get("epoch")
    except ValueError:
        return None
    except OSError as error:
        if not is_absent(error):
            raise
        return None
    return epochs if isinstance(epochs, int) else None


def checkpoint_info(folder: Path) -> dict[str, Any]:
    """Return what ``checkpoint.json`` holds.

    Raises:
        OSError, ValueError: it can't be read, or is damaged.
    """
    if not is_file(folder / ABOUT):  # to read a pipe might take forever
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / ABOUT))
    try:
        content = json.loads(bounded_text(folder / ABOUT, LIMITS[ABOUT]))
    except RecursionError as error:
        raise ValueError(f"{folder / ABOUT} is damaged") from error
    if not isinstance(content, dict):
        raise ValueError(f"{folder / ABOUT} is damaged")
    return content


def load_weights(model: Segmenter, folder: Path) -> None:
    """Load a checkpoint's weights, strictly.

    Raises:
        ValueError: if the file is damaged, its keys, shapes or types differ, it was trained on other pretrained
            weights, or some of its weights are not finite.
    """
    path = folder / WEIGHTS
    if is_file(folder / ABOUT) and (wrong := damage(folder, [WEIGHTS])):
        raise ValueError(f"{folder}: {wrong}; name another checkpoint, or fetch this one again")
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
            f"{path} was trained on pretrained weights of sha256 {ascii(str(base)[:140])[1:-1]}, but those loaded have "
            f"{model.base_sha256}: name the right ones with model.backbone.checkpoint=... (eval.py: base=...)"
        )
    if spoilt := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise ValueError(
            f"{path} holds NaN or infinite weights ({len(spoilt)} tensors, such as {spoilt[0]}): its training has "
            "diverged; take an earlier checkpoint"
        )
    model.load_state_dict(weights, strict=False)  # strict above; the frozen rest is SAM2's own


def load_training(folder: Path) -> dict[str, Any]:
    """The state for resuming.

    Raises:
        ValueError: if the file is damaged or absent.
    """
    path = folder / TRAINING
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint make the unpickler fail in any way
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"cannot resume from {path}: {first_line}") from error
    if not isinstance(content, dict) or not set(STATE) <= content.keys():
        raise ValueError(f"cannot resume from {path}: it must hold {', '.join(STATE)}")
    return content
