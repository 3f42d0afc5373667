"""What scripts/score.py is asked to score, found on disk and checked before anything is computed."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from ipsam.data.pairs import Pair, warn_if_inverted
from ipsam.data.saved_maps.map_pairs import Missing, SavedMap, pair_maps, truth_files
from ipsam.data.saved_maps.map_sets import Truth, find_maps, find_truths, method_name, truth_named
from ipsam.engine.metrics import Protocol
from ipsam.engine.runs.configuration import as_dict
from ipsam.engine.runs.options import path_or_none, true_or_false, whole_number

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to score and how, see configs/score.yaml."""

    maps: Path
    masks: Path
    out: Path | None
    images: Path | None
    stems: Path | Mapping[str, Path] | None
    missing: Missing
    resize: bool
    protocol: Protocol
    cases: int
    num_workers: int

    @classmethod
    def of(cls, config: DictConfig) -> "Request":
        """What the configuration says, checked.

        Raises:
            ValueError: ``maps`` or ``masks`` is not given, or a value is impossible.
        """
        if absent := [name for name in ("maps", "masks") if OmegaConf.is_missing(config, name) or config[name] is None]:
            raise ValueError(
                f"{' and '.join(absent)} not given; say what to score: maps=<folder of maps> masks=<folder of masks>"
            )
        values = as_dict(config)
        for name in ("cases", "num_workers"):
            whole_number(name, values[name])
        true_or_false("resize", values["resize"])
        if values["missing"] not in ("error", "exclude"):
            raise ValueError(f"missing must be error or exclude, not {values['missing']!r}")
        values["protocol"] = Protocol.of(values["protocol"])
        for name in ("maps", "masks", "out", "images"):
            values[name] = path_or_none(name, values[name])
        stems = values["stems"]
        several = isinstance(stems, dict)
        values["stems"] = (
            {str(k): path_or_none(f"stems.{k}", v) for k, v in stems.items()}
            if several
            else path_or_none("stems", stems)
        )
        return cls(**values)


@dataclass(frozen=True)
class MapSet:
    """The maps of one method on one dataset; ``named`` if the method has a folder that gives it its name."""

    method: str
    named: bool
    dataset: str
    maps: Sequence[SavedMap]


def find_sets(request: Request) -> list[MapSet]:
    """All that the request names, checked: each set of maps, one method's after the other's.

    Says by log what a method lacks, and what of its maps is passed over.

    Raises:
        FileNotFoundError, ValueError: ``out`` lies where the next run would find its pictures; a folder or list doesn't
            exist; or maps and masks don't fit, see ``map_sets`` and ``map_pairs``.
    """
    given = {"maps": request.maps, "masks": request.masks, "images": request.images}
    _refuse_inside(request.out, [(f"{name}={folder}", folder) for name, folder in given.items() if folder is not None])
    truths = find_truths(request.masks, request.images)
    beside = [(f"the images of {truth.name}, {truth.images}", truth.images) for truth in truths if truth.images]
    _refuse_inside(request.out, beside)
    found = find_maps(request.maps, truths)
    for method in dict.fromkeys(entry.method for entry in found):
        has = {entry.truth.name for entry in found if entry.method == method}
        if lacking := [truth.name for truth in truths if truth.name not in has]:
            logger.warning("%s: no maps of %s", request.maps if method is None else method, ", ".join(lacking))
    wanted = list({entry.truth.name: entry.truth for entry in found}.values())
    lists = _lists(request, wanted)
    above = request.protocol.gt_threshold
    # A protocol with a size brings map and mask to it in one step; resized to the mask before, a map would lose detail.
    any_size = request.protocol.size is not None
    files = {truth.name: truth_files(truth, lists.get(truth.name)) for truth in wanted}
    sets = []
    for entry in found:
        maps = pair_maps(
            entry,
            files[entry.truth.name],
            missing=request.missing,
            resize=request.resize,
            any_size=any_size,
            above=above,
        )
        method = method_name(request.maps, truths) if entry.method is None else entry.method
        sets.append(MapSet(method, entry.method is not None, entry.truth.name, maps))
    for truth in wanted:
        pairs = [Pair(stem, mask, mask) for stem, mask in files[truth.name].masks.items()]
        warn_if_inverted(pairs, truth.name, above)
    return sets


def _lists(request: Request, truths: Sequence[Truth]) -> dict[str, Path]:
    """The list of stems of each dataset that has one."""
    names = [truth.name for truth in truths]
    if request.stems is None:
        return {}
    if isinstance(request.stems, Path):
        if len(names) > 1:
            raise ValueError(
                f"stems={request.stems} is one list, but there are the datasets {', '.join(names)}; "
                "say which it is for: stems={NAME: FILE}"
            )
        return {names[0]: request.stems}
    lists: dict[str, Path] = {}
    for name, path in request.stems.items():
        truth = truth_named(name, truths)
        if truth is None:
            raise ValueError(
                f"stems has a list for {name}; the datasets are {', '.join(names)}: correct the name, or leave it out"
            )
        if truth.name in lists:
            raise ValueError(f"stems has two lists for {truth.name}, as two of the names stand for it; leave one out")
        lists[truth.name] = path
    return lists


def _refuse_inside(out: Path | None, inputs: Sequence[tuple[str, Path]]) -> None:
    for label, folder in inputs:
        if out is not None and out.resolve().is_relative_to(folder.resolve()):
            raise ValueError(
                f"out={out} lies in {label}, where the pictures written would be taken for more of them next time; "
                "set out=FOLDER to one outside it"
            )
