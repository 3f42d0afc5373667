"""A model as a small folder to share: weights as safetensors, its configuration as plain data, a card."""

import json
import sys
import sysconfig
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from omegaconf import DictConfig, OmegaConf
from safetensors import safe_open

from ipsam import __version__
from ipsam.data.data import MAX_IMAGE_SIZE
from ipsam.engine.base_weights import find_base
from ipsam.engine.card import card
from ipsam.engine.checkpoint import CONFIG, WEIGHTS, finished_epochs, load_weights
from ipsam.engine.config import build_model, read_config
from ipsam.engine.model_section import check_model_section
from ipsam.engine.plain_data import bounded_text, read_plain_json
from ipsam.engine.predictor import Predictor
from ipsam.engine.store import find_checkpoint, run_of

ABOUT, CARD = "config.json", "README.md"
BUILTIN = ("micro",)


def load(
    source: str | Path,
    *,
    device: torch.device | str | None = None,
    precision: str = "auto",
    base: str | Path | None = None,
    revision: str | None = None,
    fast: bool = True,
    compile: bool = False,
) -> Predictor:
    """A model that predicts, in one line.

    Args:
        source: ``micro``, the small model that comes with ipsam; a run's folder or one of its checkpoints; a folder
            written by ``save_pretrained``; or the id of such a one on the Hugging Face Hub, such as ``name/model``.
        device: where to compute; None for a GPU if there is one.
        precision: ``auto`` (bf16 on a CUDA device that has it), ``bf16`` or ``fp32``.
        base: the file of pretrained SAM2 weights, if it lies elsewhere; None looks for it where the model's
            configuration says, in ``checkpoints/`` and in the cache, and else fetches it once.
        revision: of a model on the Hub.
        fast, compile: as ``Predictor`` has them.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: it is damaged, or no such model, or its pretrained weights are others.
    """
    folder = find_model(source, revision=revision)
    about = read_about(folder)
    model = build_model(model_config(about, base=base))
    if model.backbone.image_size != about["image_size"]:
        raise ValueError(
            f"{folder}: the images are to have {about['image_size']} px, but the model takes "
            f"{model.backbone.image_size} px (model.backbone.image_size): they must agree"
        )
    load_weights(model, folder)
    how: dict[str, Any] = {"device": device, "precision": precision, "fast": fast, "compile": compile}
    return Predictor(model, image_size=about["image_size"], source=folder, **how)


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
    about = read_about(source)
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
    (folder / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / CARD).write_text(card(about, metadata.get("base_sha256") or None), encoding="utf-8")
    return folder


def find_model(source: str | Path, *, revision: str | None = None) -> Path:
    """The folder of a model, fetched from the Hub if that is where it is.

    Raises:
        FileNotFoundError: it is nowhere.
    """
    path = _builtin(str(source)) if str(source) in BUILTIN and not Path(source).exists() else Path(source)
    if (path / ABOUT).is_file():
        return path
    if path.exists():
        return find_checkpoint(path)
    if str(source).count("/") == 1 and not str(source).startswith((".", "/", "~")):
        from ipsam.engine.hub import fetch  # here, as only models on the Hub need it

        return fetch(str(source), revision=revision)
    raise FileNotFoundError(
        f"no model at {source}: give the folder of a run, of a checkpoint or of a saved model, a model's id on the "
        f"Hugging Face Hub (name/model), or one that comes with ipsam: {', '.join(BUILTIN)}"
    )


def read_about(folder: Path) -> dict[str, Any]:
    """What a model's folder says of it: ``model`` (its configuration), ``image_size``, and perhaps ``metrics``.

    Raises:
        FileNotFoundError, ValueError: it says nothing, or not in this form.
    """
    if not (folder / ABOUT).is_file():
        return _about_run(folder)
    about = read_plain_json(folder / ABOUT)
    if not isinstance(about, dict) or not isinstance(about.get("model"), dict):
        raise ValueError(f"{folder / ABOUT} is no model's: it must hold model, its configuration")
    return _with_size(about, folder / ABOUT)


def model_config(about: dict[str, Any], *, base: str | Path | None = None, fetch: bool = True) -> DictConfig:
    """The configuration of a model, with the place of its pretrained weights on this machine.

    Args:
        about: as ``read_about`` gives it.
        base: where they lie; None looks for them, and with ``fetch`` downloads them if they are nowhere.

    Raises:
        ValueError: it is no configuration of a model's here.
        ValueError, OSError: see ``find_base``.
    """
    check_model_section(about["model"])
    config: DictConfig = OmegaConf.create(about["model"])
    backbone = config.get("backbone")
    if isinstance(backbone, DictConfig) and backbone.get("checkpoint") is not None:
        backbone.checkpoint = str(find_base(backbone.checkpoint, fetch=fetch) if base is None else base)
    return config


def _about_run(checkpoint: Path) -> dict[str, Any]:
    """Of a checkpoint of a run: what was trained, on what, and how it scored, if it was evaluated."""
    plain: Any = OmegaConf.to_container(read_config(checkpoint / CONFIG))
    about = {
        "ipsam": __version__,
        "name": plain.get("name"),
        "image_size": plain["data"].get("image_size"),
        "trained_on": plain["data"].get("train"),
        "metrics": _metrics(checkpoint),
        "model": plain["model"],
    }
    return _with_size(about, checkpoint / CONFIG)


def _with_size(about: dict[str, Any], path: Path) -> dict[str, Any]:
    size = about.get("image_size")
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= MAX_IMAGE_SIZE:
        raise ValueError(
            f"{path}: image_size must be a whole number of pixels up to {MAX_IMAGE_SIZE}, not {size!r:.99}"
        )
    return about


def _metrics(checkpoint: Path) -> dict[str, Any]:
    """The scores of exactly this checkpoint, where its run has them."""
    path = run_of(checkpoint) / "eval" / "metrics.json"
    if not path.is_file():
        return {}
    try:
        content = json.loads(bounded_text(path))
        epochs, datasets = content.get("epochs"), content.get("datasets", {})
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return datasets if epochs is not None and epochs == finished_epochs(checkpoint) else {}


def _builtin(name: str) -> Path:
    """Where a model that comes with ipsam lies: in the repository, or where ``pip install`` put it."""
    places = (
        Path(__file__).parents[2] / "checkpoints",
        Path(sysconfig.get_path("data")) / "share" / "ipsam",
        Path(sys.prefix) / "share" / "ipsam",
    )
    return next((place / name for place in places if (place / name / ABOUT).is_file()), places[0] / name)
