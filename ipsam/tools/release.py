"""Pack a run to publish it: weights, model card, scores and maps, checked by loading the package again."""

import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

import numpy as np
from huggingface_hub import ModelCard
from omegaconf import DictConfig, OmegaConf
from pydantic import BeforeValidator

from ipsam.data.synthetic.scenes import camouflaged_scene
from ipsam.engine.inference.base import BasePredictor
from ipsam.engine.inference.loading import load
from ipsam.engine.inference.model_card import data_terms
from ipsam.engine.inference.sharing import save_pretrained
from ipsam.engine.runs.checkpoint import WEIGHTS
from ipsam.engine.runs.hub import CARD
from ipsam.engine.runs.model_folder import METRICS_FILE, find_checkpoint, read_description, scores_folder
from ipsam.utils.options import Options, PathOption
from ipsam.utils.weights import sha256_of

MAPS = "maps"  # in the folder of scores
NUM_SCENES, DIFFICULTY = 4, 0.3  # generated images on which run and package are compared
TOLERANCE = 3e-3  # mean difference of probabilities that half precision may cause
FIRST_DATE = (1980, 1, 1, 0, 0, 0)  # of every file in maps.zip, so that the same maps give the same bytes


def _name(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.-]{1,96}", value):
        return value
    raise ValueError(f"must consist of letters, digits, '.', '_' and '-', not {value!r:.99}")


class ReleaseRequest(Options):
    """Options of configs/release.yaml, which explains them."""

    run: PathOption
    name: Annotated[str, BeforeValidator(_name)]
    out: PathOption
    half: bool
    maps: Literal["zip", "folder"] | None
    terms: str | None
    license: str | None
    base_model: str | None
    tags: Sequence[str]
    repo_id: str | None
    base: PathOption | None

    @classmethod
    def of(cls, config: DictConfig) -> "ReleaseRequest":
        """Check a configuration's values.

        Raises:
            ValueError: ``run``, ``name`` or ``out`` is missing, or a value is invalid.
        """
        if absent := [name for name in ("run", "name", "out") if OmegaConf.is_missing(config, name)]:
            raise ValueError(f"{', '.join(f'{name}=...' for name in absent)} not given; --help explains each")
        values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        return cls(**{name: values[name] for name in cls.model_fields})


@dataclass(frozen=True)
class Release:
    """Finished package.

    Attributes:
        folder: of the package.
        sha256: of its weights.
        differences: mean and largest difference of probabilities from the run's, on generated images.
        scored: names of the test sets whose scores it holds.
    """

    folder: Path
    sha256: str
    differences: tuple[float, float]
    scored: Sequence[str]


def release(request: ReleaseRequest) -> Release:
    """Write the package to a new folder, completely or not at all.

    Raises:
        FileNotFoundError: there is no such run, or its maps are missing.
        ValueError: ``out`` exists, the terms of the training data are not known, or the package predicts otherwise
            than the run.
        OSError: the package cannot be written.
    """
    if request.out.exists():
        raise ValueError(f"out={request.out} exists; name another folder, or remove it")
    checkpoint = find_checkpoint(request.run)
    description = read_description(checkpoint)
    unknown = [name for name, terms in data_terms(description).items() if terms is None]
    if unknown and not request.terms:
        raise ValueError(
            f"the terms of use of {', '.join(unknown)}, which the model was trained on, are not known: state them, "
            "such as terms='research use'"
        )
    scores = scores_folder(checkpoint)
    if request.maps and not (scores and (scores / MAPS).is_dir()):
        raise FileNotFoundError(
            f"maps={request.maps}: the run has no maps of this checkpoint; make them with ipsam eval "
            f"ckpt={request.run} maps=true, or leave maps out"
        )
    with TemporaryDirectory(prefix=".ipsam_", dir=request.out.parent) as staging:
        folder = Path(staging) / request.out.name
        save_pretrained(checkpoint, folder, **_card_options(request))
        if scores:
            shutil.copyfile(scores / METRICS_FILE, folder / METRICS_FILE)
            _add_maps(scores / MAPS, folder, request.maps)
        differences = _check(folder, load(checkpoint, device="cpu", base=request.base), request)
        folder.rename(request.out)
    return Release(request.out, sha256_of(request.out / WEIGHTS), differences, list(description.get("metrics") or ()))


def _card_options(request: ReleaseRequest) -> dict[str, Any]:
    about = {"name": request.name, "terms": request.terms, "base_model": request.base_model, "tags": request.tags}
    given = {name: value for name, value in about.items() if value}
    return {"half": request.half, "license": request.license, "repo_id": request.repo_id, "about": given}


def _add_maps(maps: Path, folder: Path, kind: str | None) -> None:
    if kind == "folder":
        shutil.copytree(maps, folder / MAPS)
    elif kind == "zip":
        with zipfile.ZipFile(folder / f"{MAPS}.zip", "w") as archive:  # PNGs are compressed already
            for path in sorted(path for path in maps.rglob("*") if path.is_file()):
                archive.writestr(zipfile.ZipInfo(str(path.relative_to(maps)), FIRST_DATE), path.read_bytes())


def _check(folder: Path, original: BasePredictor, request: ReleaseRequest) -> tuple[float, float]:
    """Load the package, compare its predictions with the original's, and return the mean and largest difference.

    Raises:
        ValueError: they differ by more than rounding to half precision does, or the Hub could not read the card.
    """
    ModelCard.load(folder / CARD)  # parses the front matter and its model-index
    packed = load(folder, device="cpu", base=request.base)
    rng = np.random.default_rng(0)
    size = original.image_size
    images = [camouflaged_scene(rng, size=size, difficulty=DIFFICULTY).image for _ in range(NUM_SCENES)]
    pairs = zip(original.predict(images), packed.predict(images), strict=True)
    differences = np.stack([np.abs(one.prob - other.prob) for one, other in pairs])
    if differences.mean() > (TOLERANCE if request.half else 0):
        raise ValueError(
            f"the package's probabilities differ from the run's, by {differences.mean():.1e} on average and by up to "
            f"{differences.max():.1e}; nothing was kept" + ("; leave out half=true" if request.half else "")
        )
    return float(differences.mean()), float(differences.max())
