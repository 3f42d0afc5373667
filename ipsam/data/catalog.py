"""The pairs of a dataset on disk: a known benchmark in one of its layouts, or any pair of folders."""

import logging
from pathlib import Path

from ipsam.data.findings import act_on
from ipsam.data.matching import Stems
from ipsam.data.pairs import Pair, SizeMismatch, find_pairs, warn_if_inverted
from ipsam.data.places import Spec, find_place

logger = logging.getLogger(__name__)


def resolve(
    spec: Spec, split: str, root: str | Path, *, exclude: Stems = (), size_mismatch: SizeMismatch | None = None
) -> list[Pair]:
    """The pairs of a known benchmark (by name), or of any two folders (by mapping).

    Logs the folder and the number of pairs, and warns if that is not the benchmark's or the masks look inverted.

    Args:
        spec: a name out of `KNOWN`, or a mapping {name, images, masks} with an optional `list`, a file of stems. Its
            paths are relative to `root` unless absolute.
        split: `train`, `val` or `test`.
        root: the folder that holds the datasets (`paths.data`). Of a known benchmark the first of its layouts is taken
            that is there or in a folder right below.
        exclude: stems to leave out, see `find_pairs`; messages call the set `NAME/split`.
        size_mismatch: see `find_pairs`; None is the benchmark's own default, `error` but for NC4K.

    Raises:
        FileNotFoundError: no layout is there; a folder isn't; or it is the undivided release and the split's list is
            missing.
        ValueError: the name or split is unknown; a mapping lacks a key or has one too many; or the pairs are faulty,
            see `find_pairs`.
    """
    place = find_place(spec, split, root)
    act_on(place.findings, logger)
    pairs = find_pairs(
        place.images,
        place.masks,
        name=place.label,
        stems=place.stems,
        exclude=exclude,
        only=place.only,
        size_mismatch=size_mismatch or place.size_mismatch,
        extra_masks=place.extra_masks,
    )
    of_stems = "" if place.family is None else f" of stems {place.family}*"
    logger.info("%s: %d pairs%s in %s", place.label, len(pairs), of_stems, place.images)
    act_on(place.other_number(len(pairs)), logger)
    warn_if_inverted(pairs, place.label)
    return pairs


def locate(
    name: str, split: str, root: str | Path, *, exclude: Stems = (), size_mismatch: SizeMismatch | None = None
) -> list[Pair]:
    """The pairs of a known benchmark's split: `resolve` of its name."""
    return resolve(name, split, root, exclude=exclude, size_mismatch=size_mismatch)
