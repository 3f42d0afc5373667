"""Finding a dataset on disk: a known benchmark in one of its layouts, or any pair of folders."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ipsam.data.benchmarks import Benchmark, Layout, benchmark
from ipsam.data.files import image_files, read_list
from ipsam.data.pairs import Pair, SizeMismatch, Stems, find_pairs, warn_if_inverted

logger = logging.getLogger(__name__)

Spec = str | Mapping[str, object]  # a known name, or any folder pair as {name, images, masks, list}
KEYS = ("name", "images", "masks", "list")  # of a mapping; the last one may be left out
SPLIT_FOLDERS = ("traindataset", "trainvaldataset", "valdataset", "testdataset", "train", "val", "test")


def resolve(
    spec: Spec, split: str, root: str | Path, *, exclude: Stems = (), size_mismatch: SizeMismatch | None = None
) -> list[Pair]:
    """The pairs of a known benchmark (by name), or of any two folders (by mapping).

    Args:
        spec: a name out of `KNOWN`, or a mapping {name, images, masks} with an optional `list`, a file of stems. Its
            paths are relative to `root` unless absolute.
        split: `train`, `val` or `test`.
        root: the folder that holds the datasets (`paths.data`).
        exclude: stems to leave out, see `find_pairs`; messages call the set `NAME/split`.
        size_mismatch: see `find_pairs`; None is the benchmark's own default, `error` but for NC4K.

    Raises:
        FileNotFoundError, ValueError: as `locate` and `find_pairs`; a mapping lacks a key or has one too many.
    """
    if isinstance(spec, str):
        return locate(spec, split, root, exclude=exclude, size_mismatch=size_mismatch)
    root, given = Path(root), _checked(spec)
    name = f"{given['name']}/{split}"
    only = read_list(root / given["list"]) if "list" in given else None
    images, masks = root / given["images"], root / given["masks"]
    pairs = find_pairs(images, masks, name=name, exclude=exclude, only=only, size_mismatch=size_mismatch or "error")
    logger.info("%s: %d pairs in %s", name, len(pairs), images)
    warn_if_inverted(pairs, name)
    return pairs


def locate(
    name: str, split: str, root: str | Path, *, exclude: Stems = (), size_mismatch: SizeMismatch | None = None
) -> list[Pair]:
    """The pairs of a known benchmark's split, from the first of its layouts in `root` or a folder right below.

    Arguments as for `resolve`. Logs the folder and the number of pairs, and warns if that is not the benchmark's.

    Raises:
        FileNotFoundError: no layout is there; or it is the undivided release and the split's list is missing.
        ValueError: the name or split is unknown; or the pairs are faulty, see `find_pairs`.
    """
    root, known = Path(root), benchmark(name)
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
    for _, other, _, _ in found[1:]:
        logger.warning("%s: also found in %s, which is not used; %s is", label, other, images)

    if known.leave_out is not None:
        if num_left_out := sum(bool(re.match(known.leave_out, file.stem)) for file in image_files(images)):
            logger.info("%s: %d %s* left out: %s", label, num_left_out, known.leave_out, known.note)
        stems = f"(?!{known.leave_out}){stems or ''}"
    only = read_list(images.parent / f"{split}.txt") if layout.lists else known.only or None
    mismatch, extra = size_mismatch or known.size_mismatch, layout.extra_masks
    pairs = find_pairs(
        images, masks, name=label, stems=stems, exclude=exclude, only=only, size_mismatch=mismatch, extra_masks=extra
    )
    of_stems = f" of stems {known.stems}*" if layout.shared and stems is not None else ""
    logger.info("%s: %d pairs%s in %s", label, len(pairs), of_stems, images)
    if len(pairs) not in known.num_pairs[split]:
        published = " or ".join(map(str, known.num_pairs[split])) + (f" ({known.note})" if known.note else "")
        logger.warning("%s: %d pairs, where the benchmark has %s", label, len(pairs), published)
    warn_if_inverted(pairs, label)
    return pairs


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
