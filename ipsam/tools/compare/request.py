"""Options of ``ipsam score`` and the sets of maps that they name, checked before anything is computed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from ipsam.data.pairs import warn_if_inverted
from ipsam.data.saved_maps.map_pairs import Missing, PairedMaps, pair_maps, truth_files
from ipsam.data.saved_maps.map_sets import Truth, find_maps, find_truths, method_name, truth_named
from ipsam.engine.evaluate.scores import check_parquet
from ipsam.engine.metrics import Protocol
from ipsam.utils.options import Options, PathOption
from ipsam.utils.shards import WHOLE, Shard

logger = logging.getLogger(__name__)


class ScoreRequest(Options):
    """Options of configs/score.yaml, which explains them."""

    maps: PathOption
    masks: PathOption
    out: PathOption | None
    images: PathOption | None
    stems: PathOption | Mapping[str, PathOption] | None
    missing: Missing
    resize: bool
    protocol: Protocol
    metrics: Sequence[str]
    cases: int = Field(ge=0)
    against: str | None
    breakdown: bool
    parquet: bool
    shard: Shard
    num_workers: int = Field(ge=0)

    @classmethod
    def of(cls, config: DictConfig) -> "ScoreRequest":
        """Check a configuration's values.

        Raises:
            ValueError: ``maps`` or ``masks`` is missing, or a value is invalid.
        """
        if absent := [name for name in ("maps", "masks") if OmegaConf.is_missing(config, name) or config[name] is None]:
            raise ValueError(
                f"{' and '.join(absent)} not given; say what to score: maps=<folder of maps> masks=<folder of masks>"
            )
        values: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        protocol = Protocol.of(values["protocol"], values["metrics"])
        request = cls(**values | {"protocol": protocol, "shard": Shard.parse(values["shard"])})
        if request.parquet:
            check_parquet()
        for given, effect in (
            (request.breakdown, "breakdown=true writes files and a part of the report"),
            (request.parquet, "parquet=true writes a file"),
            (request.images, f"images={request.images} is for the report"),
            (request.shard != WHOLE, f"shard={request.shard} needs a folder in which the shards' scores meet"),
        ):
            if given and request.out is None:
                raise ValueError(f"{effect}; set out=FOLDER, too")
        return request


@dataclass(frozen=True)
class MapSet:
    """Maps of one method on one dataset."""

    method: str
    dataset: str
    paired: PairedMaps


def find_sets(request: ScoreRequest) -> list[MapSet]:
    """Find and check every set of maps, grouped by method.

    Datasets that a method lacks and maps that are skipped are logged.

    Raises:
        FileNotFoundError: a folder or list does not exist.
        ValueError: ``out`` lies inside an input folder, or maps and masks do not match.
    """
    for name in ("maps", "masks", "images"):
        _check_out(request.out, f"{name}={getattr(request, name)}", getattr(request, name))
    truths = find_truths(request.masks, request.images)
    for truth in truths:
        _check_out(request.out, f"the images of {truth.name}, {truth.images}", truth.images)
    found = find_maps(request.maps, truths)
    for method in dict.fromkeys(entry.method for entry in found):
        scored = {entry.truth.name for entry in found if entry.method == method}
        if lacking := [truth.name for truth in truths if truth.name not in scored]:
            logger.warning("%s: no maps of %s", request.maps if method is None else method, ", ".join(lacking))
    wanted = list({entry.truth.name: entry.truth for entry in found}.values())
    lists = _lists(request.stems, wanted)
    files = {truth.name: truth_files(truth, lists.get(truth.name)) for truth in wanted}
    above = request.protocol.gt_threshold
    sets = []
    for entry in found:
        paired = pair_maps(
            entry,
            files[entry.truth.name],
            missing=request.missing,
            resize=request.resize,
            # A protocol with a size resizes map and mask in one step. Resizing to the mask first would lose detail.
            any_size=request.protocol.size is not None,
            above=above,
        )
        method = method_name(request.maps, truths) if entry.method is None else entry.method
        sets.append(MapSet(method, entry.truth.name, paired))
    names = list(dict.fromkeys(one.method for one in sets))
    if request.against is not None and len(names) == 1:
        raise ValueError(f"against={request.against}: {names[0]} is the only method; leave against out")
    if request.against not in (None, *names):
        raise ValueError(f"against={request.against}: no such method; name one of {', '.join(names)}, or leave it out")
    for truth in wanted:
        warn_if_inverted(files[truth.name].masks, truth.name, above)
    return sets


def _lists(stems: Path | Mapping[str, Path] | None, truths: Sequence[Truth]) -> dict[str, Path]:
    """Match each list of stems to its dataset."""
    names = ", ".join(truth.name for truth in truths)
    if isinstance(stems, Path):
        if len(truths) > 1:
            raise ValueError(
                f"stems={stems} is one list, but there are the datasets {names}; "
                "say which it is for: stems={NAME: FILE}"
            )
        return {truths[0].name: stems}
    lists: dict[str, Path] = {}
    for name, path in (stems or {}).items():
        truth = truth_named(name, truths)
        if truth is None:
            raise ValueError(
                f"stems has a list for {name}; the datasets are {names}: correct the name, or leave it out"
            )
        if truth.name in lists:
            raise ValueError(f"stems has two lists for {truth.name}, under two of its names; leave one out")
        lists[truth.name] = path
    return lists


def _check_out(out: Path | None, label: str, folder: Path | None) -> None:
    """Refuse an output folder inside an input folder."""
    if out is not None and folder is not None and out.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"out={out} lies in {label}, where the next run would read the pictures written as its input; "
            "set out=FOLDER to one outside it"
        )
