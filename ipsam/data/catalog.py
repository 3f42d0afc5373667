"""The known benchmarks: how many pairs each has, the folder layouts it is met in, and its peculiarities."""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.pairs import Pair, SizeMismatch, Stems, find_pairs, image_files, read_list, warn_if_inverted

logger = logging.getLogger(__name__)

Spec = str | Mapping[str, object]  # a known name, or any folder pair as {name, images, masks, list}


@dataclass(frozen=True)
class Layout:
    """A folder of images and a folder of masks, both relative to `folder`; matched in any case of letters."""

    folder: str
    images: str
    masks: str
    shared: bool = False  # holds other sets too: only stems that match the benchmark's pattern are its own
    extra_masks: bool = False  # one folder holds the masks of several splits
    lists: bool = False  # undivided: the split is a list of stems, `<split>.txt`, beside the folder of images


@dataclass(frozen=True)
class Benchmark:
    """A published dataset."""

    name: str
    num_pairs: Mapping[str, tuple[int, ...]]  # split -> the numbers it is published with
    layouts: Mapping[str, tuple[Layout, ...]]  # split -> where to look, in this order
    aliases: tuple[str, ...] = ()
    stems: str = ""  # pattern of its stems, by which it is known in a shared folder
    whole_without_stems: bool = False  # a shared folder in which no stem matches is wholly this set's
    leave_out: str | None = None  # pattern of stems that are no part of the benchmark
    size_mismatch: SizeMismatch = "error"
    note: str = ""


# Kinds of folder pairs. COD and polyp sets have none in common, so that neither takes the other's shared TrainDataset.
COD = (("Imgs", "GT"), ("Image", "Mask"), ("im", "gt"), ("Image", "GT_Object"), ("Image", "GT"))
COD10K = (("Image", "GT_Object"),)  # the original release
POLYP = (("images", "masks"),)
CLINICDB = (("Original", "Ground Truth"),)  # the original release
SPLIT_FOLDERS = ("traindataset", "trainvaldataset", "valdataset", "testdataset", "train", "val", "test")


def _layouts(kinds: Sequence[tuple[str, str]], *folders: str, **flags: bool) -> tuple[Layout, ...]:
    return tuple(Layout(folder, images, masks, **flags) for folder in folders for images, masks in kinds)


def _original_camo(split: str) -> tuple[Layout, ...]:
    # The release's COCO part has the same folders, hence `shared`: only CAMO's own stems count.
    return tuple(
        Layout(folder, f"Images/{split}", masks, shared=True, extra_masks=masks == "GT")
        for folder in ("", "CAMO", "CAMO-COCO-V.1.0-CVPR2019/CAMO")
        for masks in (f"{split}_gt", f"Images/{split}_gt", "GT")
    )


_BENCHMARKS = (
    Benchmark(
        "COD10K",
        num_pairs={"train": (3040,), "test": (2026,)},
        layouts={
            "train": (
                *_layouts(COD, "TrainDataset", "TrainValDataset", shared=True),
                *_layouts(COD, "TrainDataset/COD10K", "Train/COD10K-TR", "COD10K-TR", "COD/TR-COD10K", "TR-COD10K"),
                *_layouts(COD10K, "COD10K-v2/Train", "COD10K-v3/Train", "COD10K/Train", "Train", shared=True),
            ),
            "test": (
                *_layouts(COD, "TestDataset/COD10K", "Test/COD10K", "Test/COD10K-TE", "COD/TE-COD10K", "TE-COD10K"),
                *_layouts(COD10K, "COD10K-v2/Test", "COD10K-v3/Test", "COD10K/Test", "Test", shared=True),
            ),
        },
        stems="COD10K",
        leave_out="COD10K-NonCAM",
        note="camouflaged part only",
    ),
    Benchmark(
        "CAMO",
        num_pairs={"train": (1000,), "test": (250,)},
        layouts={
            "train": (
                *_layouts(COD, "TrainDataset", "TrainValDataset", shared=True),
                *_layouts(COD, "TrainDataset/CAMO", "Train/CAMO-TR", "CAMO-TR", "COD/TR-CAMO", "TR-CAMO"),
                *_original_camo("Train"),
            ),
            "test": (
                *_layouts(COD, "TestDataset/CAMO", "Test/CAMO", "Test/CAMO-TE", "COD/TE-CAMO", "TE-CAMO"),
                *_original_camo("Test"),
            ),
        },
        stems="camou(r)?flage",  # the release itself spells it with the r
    ),
    Benchmark(
        "CHAMELEON",
        num_pairs={"test": (76,)},
        layouts={"test": _layouts(COD, *(f"{folder}CHAMELEON" for folder in ("TestDataset/", "Test/", "COD/", "")))},
        note="two .jpg are PNG inside; some copies have inverted masks",
    ),
    Benchmark(
        "NC4K",
        num_pairs={"test": (4121,)},
        layouts={"test": _layouts(COD, *(f"{folder}NC4K" for folder in ("TestDataset/", "Test/", "COD/", "")))},
        size_mismatch="resize",
        note="77 masks differ from their image in size",
    ),
    Benchmark(
        "Kvasir-SEG",
        aliases=("Kvasir",),
        num_pairs={"train": (900, 880, 800), "val": (100, 120), "test": (100, 120)},
        layouts={
            split: (
                *_layouts(POLYP, f"{folder}/Kvasir", f"{folder}/Kvasir-SEG"),
                # A test folder is never one pool: PraNet's holds a folder for each set.
                *(_layouts(POLYP, folder, shared=True) if split != "test" else ()),
                *_layouts(POLYP, "Kvasir-SEG", "Kvasir", lists=True),
            )
            for split, folder in (("train", "TrainDataset"), ("val", "ValDataset"), ("test", "TestDataset"))
        },
        stems="cju",  # PraNet's TrainDataset: 900 of Kvasir named so, and 550 numbered ones of ClinicDB
        whole_without_stems=True,
        note="the 1000 pairs are divided 900/100, 880/120 or 800/100/100",
    ),
    Benchmark(
        "CVC-ClinicDB",
        aliases=("ClinicDB",),
        num_pairs={"test": (62, 612)},
        layouts={
            "test": (
                *_layouts(POLYP, "TestDataset/CVC-ClinicDB", "CVC-ClinicDB"),
                *_layouts(CLINICDB, "CVC-ClinicDB", "CVC-ClinicDB/TIF", "CVC-ClinicDB/PNG"),
            )
        },
        note="62 in PraNet's test list, 612 in all; the other 550 are in PraNet's training set",
    ),
    Benchmark(
        "ETIS",
        aliases=("ETIS-LaribPolypDB",),
        num_pairs={"test": (196,)},
        layouts={
            "test": _layouts(POLYP, "TestDataset/ETIS-LaribPolypDB", "TestDataset/ETIS", "ETIS-LaribPolypDB", "ETIS")
        },
    ),
)
KEYS = ("name", "images", "masks", "list")  # of a mapping; the last one may be left out
KNOWN: dict[str, Benchmark] = {benchmark.name: benchmark for benchmark in _BENCHMARKS}


def benchmark(name: str) -> Benchmark:
    """The known benchmark of this name or alias, in any case of letters; ValueError where there is none."""
    for known in KNOWN.values():
        if name.casefold() in (alias.casefold() for alias in (known.name, *known.aliases)):
            return known
    raise ValueError(
        f"unknown dataset {name!r}; known are {', '.join(KNOWN)}; "
        "any other is given as a mapping {name: ..., images: FOLDER, masks: FOLDER}"
    )


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
    only = read_list(images.parent / f"{split}.txt") if layout.lists else None
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
