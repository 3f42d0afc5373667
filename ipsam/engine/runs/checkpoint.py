"""A checkpoint: a folder that is written completely or not at all.

It holds ``model.safetensors`` (the trained weights), ``config.yaml``, ``training.pt`` (the state for resuming) and
``checkpoint.json``: epoch and step of training, and checksums that reveal a damaged file. LoRA is there a second time,
as ``peft.PeftModel.from_pretrained`` loads it onto the trunk.
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

from ipsam.engine.runs.exported_file import is_exported, weights_of
from ipsam.engine.runs.provenance import package_versions
from ipsam.model import Segmenter
from ipsam.model.lora import adapter_of
from ipsam.utils.files import check_regular, is_absent, is_file, mode_of, remove
from ipsam.utils.untrusted import bounded_text, check_archive
from ipsam.utils.weights import key_difference, sha256_of

WEIGHTS, CONFIG, TRAINING, INFO = "model.safetensors", "config.yaml", "training.pt", "checkpoint.json"
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # peft's names; ipsam does not read them
# Bytes, far above the largest model's. A stranger makes a sparse file of any size at no cost.
LIMITS = {WEIGHTS: 1 << 33, CONFIG: 1 << 20, TRAINING: 1 << 34, INFO: 1 << 20}
NEW, OLD = ".new-", ".old-"  # prefixes of a folder that is being written, and of the one it replaces
STATE = ("optimizer", "rng", "progress")  # required in training.pt


def own_weights(model: Segmenter) -> dict[str, Tensor]:
    """Return the weights that a checkpoint holds: those that training changes, or all without a pretrained file.

    Training changes the trainable parameters and the buffers of their modules, such as running statistics.
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
    """Write a checkpoint; ``write_folder`` names the errors."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in own_weights(model).items()}
    state = io.BytesIO()
    torch.save(dict(training), state)
    files = {
        WEIGHTS: safetensors.torch.save(weights, metadata={"base_sha256": model.base_sha256 or ""}),
        CONFIG: config.encode(),
        TRAINING: state.getvalue(),
    }
    if adapter := adapter_of(model):
        files |= adapter_files(*adapter)
    progress = training.get("progress", {})
    info = {name: progress[name] for name in ("epoch", "batch", "step", "skipped") if name in progress}
    info["packages"] = versions()
    info["sha256"] = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files[INFO] = (json.dumps(info, indent=2) + "\n").encode()
    write_folder(folder, files)


def adapter_files(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> dict[str, bytes]:
    """Return the files that hold LoRA for peft, see ``adapter_of``."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    return {
        ADAPTER: (json.dumps(config, indent=2) + "\n").encode(),
        ADAPTER_WEIGHTS: safetensors.torch.save(tensors, metadata={"format": "pt"}),
    }


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a hidden folder, flush it to the disk and rename it to ``folder``.

    If ``folder`` exists, it is renamed to ``OLD`` first; ``Store.clean_up`` restores it if the process dies in between.

    Raises:
        OSError: it cannot be written; nothing is left of it, and the previous content of ``folder`` is unchanged.
    """
    new, old = (folder.with_name(f"{kind}{folder.name}") for kind in (NEW, OLD))
    remove(new)
    try:
        new.mkdir(parents=True)
        for name, content in files.items():
            with (new / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        _sync(new)
        if mode_of(folder):  # from an earlier run, or damaged
            shutil.rmtree(old, ignore_errors=True)
            folder.rename(old)
        new.rename(folder)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    with suppress(OSError, AttributeError):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def damage(folder: Path, names: Sequence[str] = (WEIGHTS, CONFIG, TRAINING)) -> str | None:
    """Compare a checkpoint's files with their checksums and describe the first damaged one; None if all are intact.

    Raises:
        OSError: a file exists but cannot be read, so that its state is unknown; with its path.
    """
    name = INFO
    try:
        sums = checkpoint_info(folder)["sha256"]
        for name in names:
            if not is_file(folder / name):
                return f"{name} is missing, or not a file"
            if (folder / name).stat().st_size > LIMITS[name]:
                return f"{name} exceeds the limit of {LIMITS[name]:,} bytes"
            if sha256_of(folder / name) != sums[name]:
                return f"{name} is damaged: its checksum differs"
    except OSError as error:
        if not is_absent(error):
            raise OSError(error.errno, error.strerror, str(folder / name)) from error
        return f"{name} is missing, or not a file"
    except (ValueError, TypeError, KeyError):
        return f"{INFO} is damaged"
    return None


def finished_epochs(folder: Path) -> int | None:
    """Return the number of finished epochs of a checkpoint's training; None if it is not recorded.

    Raises:
        OSError: ``checkpoint.json`` exists but cannot be read.
    """
    return _count(folder, "epoch")


def skipped_steps(folder: Path) -> int | None:
    """Return the number of optimiser steps that were skipped; otherwise as ``finished_epochs``."""
    return _count(folder, "skipped")


def begun_epochs(folder: Path) -> int:
    """Return the number of finished epochs, and one more for an unfinished one; otherwise as ``finished_epochs``."""
    return (_count(folder, "epoch") or 0) + bool(_count(folder, "batch"))


def _count(folder: Path, name: str) -> int | None:
    try:
        count = checkpoint_info(folder).get(name)
    except (ValueError, FileNotFoundError):
        return None
    return count if isinstance(count, int) else None


def versions() -> dict[str, str]:
    """Return the versions of the packages that compute a training step."""
    return {"torch": torch.__version__, **package_versions(("sam2", "peft", "ipsam"))}


def other_versions(folder: Path) -> list[str]:
    """Say which of the packages that compute had another version when a checkpoint was saved.

    Raises:
        OSError, ValueError: ``checkpoint.json`` cannot be read, or is damaged.
    """
    saved, now = checkpoint_info(folder).get("packages"), versions()
    if not isinstance(saved, dict):  # of a version that did not record them
        return []
    return [f"{name} {saved.get(name)!s:.30} (now {now[name]})" for name in now if saved.get(name) != now[name]]


def checkpoint_info(folder: Path) -> dict[str, Any]:
    """Read ``checkpoint.json``.

    Raises:
        OSError, ValueError: it cannot be read, or is damaged.
    """
    if not is_file(folder / INFO):  # reading a pipe may never end
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder / INFO))
    try:
        content = json.loads(bounded_text(folder / INFO, LIMITS[INFO]))
    except RecursionError:
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{folder / INFO} is damaged")
    return content


def read_weights(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Read a file of weights, and the sha256 of the pretrained weights that they belong to; None for none.

    Raises:
        ValueError: the file is damaged, too large, or a pipe or device that might never end.
    """
    try:
        check_regular(path)
        if path.stat().st_size > LIMITS[WEIGHTS]:
            raise ValueError(f"{path} exceeds the limit of {LIMITS[WEIGHTS]:,} bytes; fetch the model again")
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            return weights, (file.metadata() or {}).get("base_sha256") or None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is damaged or not a safetensors file: {error}") from error


def weights_file(model: Path) -> Path:
    """Return the file with the weights of a model's folder or exported file."""
    return weights_of(model) if is_exported(model) else model / WEIGHTS


def load_weights(model: Segmenter, folder: Path) -> None:
    """Load a checkpoint's weights, strictly; an exported file's model has them.

    Raises:
        ValueError: the file is damaged; its keys, shapes or types differ from the model's; it was trained on other
            pretrained weights; or some of its weights are not finite.
    """
    if is_exported(folder):
        return
    path = folder / WEIGHTS
    weights, base = intact_weights(folder)
    if difference := key_difference(own_weights(model), weights):
        raise ValueError(f"{path} does not fit the model of {folder / CONFIG}\n{difference}")
    if base != model.base_sha256:
        raise ValueError(
            f"{path} was trained on pretrained weights of sha256 {ascii(str(base)[:140])[1:-1]}, but those loaded have "
            f"{model.base_sha256}: name the right ones with model.backbone.checkpoint=... (eval.py: base=...)"
        )
    check_finite(weights, path)
    model.load_state_dict(weights, strict=False)  # checked above; the frozen rest is SAM2's own


def intact_weights(folder: Path) -> tuple[dict[str, Tensor], str | None]:
    """Read the weights of a model's folder, see ``read_weights``, after comparing a checkpoint's with their checksum.

    Raises:
        ValueError: the file is damaged.
    """
    if is_file(folder / INFO) and (wrong := damage(folder, [WEIGHTS])):
        raise ValueError(f"{folder}: {wrong}; name another checkpoint, or fetch this one again")
    return read_weights(folder / WEIGHTS)


def check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Raise ValueError if weights, which ``path`` holds, are not all finite."""
    if broken := [name for name, tensor in weights.items() if not tensor.isfinite().all()]:
        raise ValueError(
            f"{path} holds NaN or infinite weights ({len(broken)} tensors, such as {broken[0]}): its training has "
            "diverged; use an earlier checkpoint"
        )


def load_training(folder: Path) -> dict[str, Any]:
    """Load the state for resuming.

    Raises:
        ValueError: the file is damaged or absent.
    """
    path = folder / TRAINING
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises any error on bytes that are not a checkpoint
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ValueError(f"cannot resume from {path}: {first_line}") from error
    if not isinstance(content, dict) or not set(STATE) <= content.keys():
        raise ValueError(f"cannot resume from {path}: it must hold {', '.join(STATE)}")
    return content
