"""Find a set's files: a known benchmark in one of its layouts, or a user's own set."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ipsam.data.annotations.specs import locate_own
from ipsam.data.benchmarks import Benchmark, Layout, benchmark
from ipsam.data.files import image_files, read_list
from ipsam.data.findings import Finding, log_or_raise
from ipsam.data.matching import SetLocation, SizeMismatch, Stems
from ipsam.data.pairs import Pairs, find_pairs, warn_if_inverted

logger = logging.getLogger(__name__)

Spec = str | Mapping[str, object]  # a known set's name, or a mapping with the keys of annotations/specs.py
SPLIT_FOLDERS = ("traindataset", "trainvaldataset", "valdataset", "testdataset", "train", "val", "test")


def set_name(spec: Spec) -> str:
    """Return a set's name."""
    return spec if isinstance(spec, str) else str(spec.get("name"))


def dataset_pairs(
    spec: Spec, split: str, root: str | Path, *, exclude: Stems = (), size_mismatch: SizeMismatch | None = None
) -> Pairs:
    """Find the pairs of a known benchmark (by name) or of a user's own set (by mapping).

    Logs the folder and the number of pairs, with a warning if it is not a published one or the masks look inverted.

    Args:
        spec: a name in `KNOWN`, or a mapping such as {name, images, masks} with an optional `list`, a file of stems;
            see `annotations.specs`. Its paths are relative to the current folder or to ``root``, wherever there is
            such a folder or file.
        split: `train`, `val` or `test`.
        root: folder of datasets. A benchmark's first layout found in it or in a folder right below is used.
        exclude, size_mismatch: see `find_pairs`. A benchmark's default is `error`, except for NC4K.

    Raises:
        FileNotFoundError: no layout is found, a folder is missing, or an undivided release has no list of the split.
        ValueError: as `locate_set`; or the pairs are faulty, see `find_pairs`.
    """
    location = locate_set(spec, split, root)
    log_or_raise(location.findings, logger)
    pairs = find_pairs(location, exclude=exclude, size_mismatch=size_mismatch)
    of_stems = "" if location.family is None else f" of stems {location.family}*"
    logger.info("%s: %d pairs%s in %s", location.label, len(pairs), of_stems, location.images)
    log_or_raise(location.other_number(len(pairs)), logger)
    warn_if_inverted({pair.stem: pair.mask for pair in pairs}, location.label)
    return pairs


def locate_set(spec: Spec, split: str, root: str | Path) -> SetLocation:
    """Find a split's folders; arguments as for `dataset_pairs`.

    Raises:
        FileNotFoundError: a set's folders or the split's list are missing.
        ValueError: the name or split is unknown; a mapping lacks a key, has an unknown one or names two folders; a
            folder cannot be read.
    """
    root = Path(root)
    if isinstance(spec, str):
        return _locate_benchmark(spec, split, root)
    return locate_own(spec, split, root)


def _locate_benchmark(name: str, split: str, root: Path) -> SetLocation:
    known = benchmark(name)
    label = f"{name}/{split}"
    if split not in known.layouts:
        raise ValueError(f"{name} has no split {split!r}, only {', '.join(known.layouts)}; name one of them")
    only = known.only.get(split)
    foreign: list[Path] = []
    # Divided copies come first: they need no lists. Then those with most of a selection's images.
    found = sorted(
        _find_layouts(known, split, root, foreign), key=lambda one: (one.layout.lists, _num_missing(only, one.images))
    )
    if not found:
        raise FileNotFoundError(
            f"{label}: not found in {root} or a folder right below it"
            f"{'' if root.is_dir() else ' (no such folder)'}. Looked for {_compact(known.layouts[split])}"
            + "".join(f"; {folder} holds no stem of the set ({known.stems}...)" for folder in foreign)
            + f". Set root=FOLDER, leave the set out of {split}=[...], or name its folders there: "
            f"{{name: {name}, images: FOLDER, masks: FOLDER}}"
        )
    layout, images, masks, stems = found[0]
    findings = [
        Finding("second copy", "warning", f"{label}: also found in {other.images}, which is not used; {images} is")
        for other in found[1:]
    ]
    family = known.stems if layout.shared and stems is not None else None
    if known.leave_out is not None:
        if left_out := [file for file in image_files(images) if re.match(known.leave_out, file.stem)]:
            message = f"{label}: {len(left_out)} {known.leave_out}* left out: {known.note}"
            findings.append(Finding("no part of the benchmark", "remark", message, tuple(left_out)))
        stems = f"(?!{known.leave_out}){stems or ''}"
    return SetLocation(
        label=label,
        images=images,
        masks=masks,
        stems=stems,
        only=read_list(images.parent / f"{split}.txt") if layout.lists and not only else only,
        extra_masks=layout.extra_masks,
        size_mismatch=known.size_mismatch,
        family=family,
        num_pairs=known.num_pairs[split],
        note=known.note,
        findings=tuple(findings),
    )


def _num_missing(only: Sequence[str] | None, images: Path) -> int:
    return len(set(only) - {file.stem for file in image_files(images)}) if only else 0


class _Found(NamedTuple):
    layout: Layout
    images: Path
    masks: Path
    stems: str | None  # pattern of the set's stems, if the folders hold others too


def _find_layouts(known: Benchmark, split: str, root: Path, foreign: list[Path]) -> Iterator[_Found]:
    """Yield every copy of a split below ``root``; shared folders without a stem of the set go to ``foreign``."""
    subfolders: dict[Path, dict[str, Path]] = {}

    def list_folder(folder: Path) -> dict[str, Path]:
        if folder not in subfolders:
            readable = folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)  # lost+found is not
            found = sorted(folder.iterdir()) if readable else []
            subfolders[folder] = {path.name: path for path in found if path.is_dir() and path.name[0] != "."}
        return subfolders[folder]

    def descend(folder: Path, relative: str) -> Path | None:
        for part in filter(None, relative.split("/")):
            names = list_folder(folder)
            matches = [path for name, path in names.items() if name.casefold() == part.casefold()]
            if not matches:
                return None
            folder = names.get(part, matches[0])
        return folder

    # Split folders are not searched: TestDataset/Kvasir is not the undivided release of Kvasir-SEG.
    below = [path for name, path in list_folder(root).items() if name.casefold() not in SPLIT_FOLDERS]
    visited: set[Path] = set()
    for base in (root, *below):
        for layout in known.layouts[split]:
            images, masks = (descend(base, f"{layout.folder}/{kind}") for kind in (layout.images, layout.masks))
            if images is None or masks is None or images.resolve() in visited:
                continue
            visited.add(images.resolve())
            stems = known.stems if layout.shared else None
            if stems is not None and not any(re.match(stems, file.stem) for file in image_files(images)):
                if not known.whole_without_stems:
                    foreign.append(images)
                    continue
                stems = None
            yield _Found(layout, images, masks, stems)


def _compact(layouts: Sequence[Layout]) -> str:
    """Format layouts in one line, grouped by folder: `Train/{Imgs,GT | im,gt}`."""
    kinds: dict[str, list[str]] = {}
    for layout in layouts:
        kinds.setdefault(layout.folder, []).append(f"{layout.images},{layout.masks}")
    by_kinds: dict[str, list[str]] = {}
    for folder, pairs in kinds.items():
        by_kinds.setdefault(" | ".join(pairs), []).append(folder or ".")
    return "; ".join(f"{' or '.join(folders)} with {{{pairs}}}" for pairs, folders in by_kinds.items())
