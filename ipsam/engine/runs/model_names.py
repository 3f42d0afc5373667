"""Names of models: those that come with ipsam, and those it finds on the Hugging Face Hub."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ipsam.engine.runs.hub import DESCRIPTION, download_model
from ipsam.utils.resources import CHECKPOINTS


@dataclass(frozen=True)
class HubModel:
    """Model on the Hugging Face Hub, at one commit.

    Attributes:
        repo_id: such as ``name/model``.
        revision: the commit's full hash, as a branch or tag may move.
        sha256: of ``model.safetensors``.
    """

    repo_id: str
    revision: str
    sha256: str


# By name. ``ipsam release`` prints a model's sha256; the upload to the Hub returns the commit.
ON_THE_HUB: Mapping[str, HubModel] = {}


def model_names() -> list[str]:
    """List the names that ``find_named`` knows: each folder of ``checkpoints/`` with ``config.json``, and the Hub's."""
    shipped = [path.parent.name for path in CHECKPOINTS.glob(f"*/{DESCRIPTION}")]
    return sorted({*shipped, *ON_THE_HUB})


def find_named(name: str, *, revision: str | None = None) -> Path:
    """Return the folder of a model in ``model_names``, downloaded once if it is on the Hub.

    Raises:
        ValueError: a revision is asked for, or the downloaded weights are not the expected ones.
        FileNotFoundError: as ``download_model`` raises it.
    """
    pinned = None if (CHECKPOINTS / name / DESCRIPTION).is_file() else ON_THE_HUB[name]
    if revision is not None:
        other = f"give the id {pinned.repo_id}" if pinned else "give the id of a model on the Hugging Face Hub"
        raise ValueError(f"revision={revision}: the name {name} stands for one version; {other} for another")
    if pinned is None:
        return CHECKPOINTS / name
    return download_model(pinned.repo_id, revision=pinned.revision, sha256=pinned.sha256)
