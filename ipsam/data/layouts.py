"""Where the files of a set lie: a known benchmark in one of its layouts, or any two folders."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.benchmarks import Benchmark, Layout, benchmark
from ipsam.data.files import image_files, read_list
from ipsam.data.findings import Finding, log_or_raise
from ipsam.data.matching import Stems
from ipsam.data.pairs import Pair, SizeMismatch, find_pairs, warn_if_inverted

logger = logging.getLogger(__name__)

Spec = str | Mapping[str, object]  # a known name, or any folder pair as {name, images, masks, list}
KEYS = ("name", "images", "masks", "list")  # of a mapping; the last one may be left out
SPLIT_FOLDERS = ("traindataset", "trainvaldataset", "valdataset", "testdataset", "train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class SetLocation:
    """Where a split of a set lies, and which of the files there are its own.

    Attributes:
        label: `NAME/split`, as messages call it.
        images, masks: folders.
        stems, only, extra_masks: see `find_pairs`.
        size_mismatch: what is right for the set, unless the user says otherwise.
        family: what its own stems begin with, where others lie in the same folders.
        num_pairs: the numbers it is published with; none is known of the user's own folders.
        note: what is known about it.
        findings: what was found on the way.
    """

    label: str
    images: Path
    masks: Path
    stems: str | None = None
    only: Sequence[str] | None = None
    extra_masks: bool = False
    size_mismatch: SizeMismatch = "error"
    family: str | None = None
    num_pairs: tuple[int, ...] = ()
    note: str = ""
    findings: tuple[Finding, ...] = ()

    def other_number(self, num_pairs: int) -> list[Finding]:
        """A warning, unless the set is published with that many pairs."""
        if not self.num_pairs or num_pairs in self.num_pairs:
            return []
        published = " or ".join(map(str, self.num_pairs)) + (f" ({self.note})" if self.note else "")
        message = f"{self.label}: {num_pairs} pairs, where the benchmark has {published}"
        return [Finding("number of pairs", "warning", message)]


def set_name(spec: Spec) -> str:
    """What a set is called."""
    return spec if isinstance(spec, str) else str(spec.get("name"))


def locate_set(spec: Spec, split: str, root: str | Path) -> SetLocation:
    """Where a set's split lies; arguments as for `dataset_pairs`.

    Raises:
        FileNotFoundError: a known set's folders or the split's list are not there.
        ValueError: the name or split is unknown; a mapping lacks a key or has one too many; a folder can't be read.
    """
    if isinstance(spec, str):
        return _benchmark_location(spec, split, Path(root))
    root, given = Path(root), _checked(spec)
    return SetLocation(
        label=f"{given['name']}/{split}",
        images=root / given["images"],
        masks=root / given["masks"],
        only=read_list(root / given["list"]) if "list" in given else None,
    )


def _benchmark_location(name: str, split: str, root: Path) -> SetLocation:
    """A known benchmark's split in the first of its layouts in `root` or a folder right below."""
    known = benchmark(name)
    label = f"{name}/{split}"
    if split not in known.layouts:
        raise ValueError(f"{name} has no split {split!r}, only {', '.join(known.layouts)}; name one of them")
    passed_over: list[Path] = []
    # Where the set is divided already, an undivided copy beside it is of no use.
    found = sorted(_find(known, split, root, passed_over), key=lambda place: place[0].lists)
    if not found:
        raise FileNotFoundError(
            f"{label}: not found in {root} or a folder right below it"
            f"{'' if root.is_dir() else ' (no such folder)'}. Looked for {_compact(known.layouts[split])}"
            + "".join(f"; {folder} holds no stem of the set ({known.stems}...)" for folder in passed_over)
            + f". Set paths.data=FOLDER, leave the set out of data.{split}=[...], or name its folders there: "
            f"{{name: {name}, images: FOLDER, masks: FOLDER}}"
        )
    layout, images, masks, stems = found[0]
    findings = [
        Finding("second copy", "warning", f"{label}: also found in {other}, which is not used; {images} is")
        for _, other, _, _ in found[1:]
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
        only=read_list(images.parent / f"{split}.txt") if layout.lists else known.only or None,
        extra_masks=layout.extra_masks,
        size_mismatch=known.size_mismatch,
        family=family,
        num_pairs=known.num_pairs[split],
        note=known.note,
        findings=tuple(findings),
    )


def _find(
    known: Benchmark, split: str, root: Path, passed_over: list[Path]
) -> Iterator[tuple[Layout, Path, Path, str | None]]:
    """All places that hold the split: its layout, images, masks, and the pattern its stems are known by there."""
    subfolders: dict[Path, dict[str, Path]] = {}

    def descend(folder: Path, relative: str) -> Path | None:
        for part in filter(None, relative.split("/")):
            if folder not in subfolders:
                readable = folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)  # lost+found is not
                entries = sorted(folder.iterdir()) if readable else []
                subfolders[folder] = {entry.name: entry for entry in entries if entry.is_dir() and entry.name[0] != "."}
            there = subfolders[folder]
            matches = [path for name, path in there.items() if name.casefold() == part.casefold()]
            if not matches:
                return None
            folder = there.get(part, matches[0])
        return folder

    descend(root, "*")  # lists root
    # A split's folder is no place to look in: TestDataset/Kvasir is not the undivided release of Kvasir-SEG.
    below = [path for name, path in subfolders[root].items() if name.casefold() not in SPLIT_FOLDERS]
    seen: set[Path] = set()
    for base in (root, *below):
        for layout in known.layouts[split]:
            images, masks = (descend(base, f"{layout.folder}/{kind}") for kind in (layout.images, layout.masks))
            if images is None or masks is None or images.resolve() in seen:
                continue
            seen.add(images.resolve())
            stems = known.stems if layout.shared else None
            if stems is not None and not any(re.match(stems, file.stem) for file in image_files(images)):
                if not known.whole_without_stems:
                    passed_over.append(images)
                    continue
                stems = None
            yield layout, images, masks, stems


def _compact(layouts: Sequence[Layout]) -> str:
    """Layouts in one line, those of one folder together: `Train/{Imgs,GT | im,gt}`."""
    kinds: dict[str, list[str]] = {}
    for layout in layouts:
        kinds.setdefault(layout.folder, []).append(f"{layout.images},{layout.masks}")
    by_kinds: dict[str, list[str]] = {}
    for folder, pairs in kinds.items():
        by_kinds.setdefault(" | ".join(pairs), []).append(folder or ".")
    return "; ".join(f"{' or '.join(folders)} with {{{pairs}}}" for pairs, folders in by_kinds.items())


def _checked(spec: Mapping[str, object]) -> dict[str, str]:
    """A mapping's values as text, without an empty `list`."""
    if missing := [key for key in KEYS[:3] if not spec.get(key)]:
        raise ValueError(f"the dataset {dict(spec)} lacks {', '.join(missing)}; it needs name, images and masks")
    if unknown := [str(key) for key in spec if key not in KEYS]:
        raise ValueError(
            f"the dataset {spec['name']} has the unknown key {', '.join(unknown)}; it takes {', '.join(KEYS)}"
        )
    if not re.fullmatch(r"\w[\w .+-]*", str(spec["name"])):
        raise ValueError(f"the dataset name {spec['name']!r} also names files: use letters, digits, '_', '-', '.', '+'")
    return {key: str(value) for key, value in spec.items() if value}


def dataset_pairs(
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
    place = locate_set(spec, split, root)
    log_or_raise(place.findings, logger)
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
    log_or_raise(place.other_number(len(pairs)), logger)
    warn_if_inverted(pairs, place.label)
    return pairs
