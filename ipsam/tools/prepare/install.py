"""Putting an unpacked release into the layout that the community keeps its datasets in."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.benchmarks import SPLITS, Benchmark, Layout, benchmark
from ipsam.data.files import EXTENSIONS, entries, some
from ipsam.data.layouts import SetLocation, locate_set
from ipsam.data.matching import match_files


@dataclass(frozen=True)
class Split:
    """A set's split in a release; of one that is not divided yet, all of it, under the empty name.

    Attributes:
        name, split: of what set it is which part.
        folder: where it is kept, relative to ``paths.data``.
        files: by their paths in it.
    """

    name: str
    split: str
    folder: str
    files: Mapping[str, Path]


def community_layout(known: Benchmark, split: str) -> Layout:
    """Where a split is kept: a folder of its own, such as ``TestDataset/CAMO`` with ``Imgs`` and ``GT``."""
    return next(layout for layout in known.layouts[split] if not layout.shared and not layout.lists)


def find_splits(names: Sequence[str], unpacked: Path) -> list[Split]:
    """The splits of some sets in a folder, in any of their known layouts.

    Raises:
        ValueError: a name is unknown, or nothing of a set is there.
    """
    found: list[Split] = []
    for known in map(benchmark, names):
        splits = list(_divided(known, unpacked)) or list(_undivided(known, unpacked))[:1]
        if not splits:
            pictures = (path for path in unpacked.rglob("*") if path.suffix.lower() in EXTENSIONS)
            folders = sorted({str(path.parent.relative_to(unpacked)) for path in pictures})
            raise ValueError(
                f"no {known.name} in it: it holds pictures in {some(folders)}. Is it another set's archive? Otherwise "
                "put them where they are kept by hand (a ZIP of Imgs and GT alone lacks the folder around them):\n"
                f"{in_words(known)}"
            )
        found += splits
    return found


def check_free(splits: Sequence[Split], root: Path) -> None:
    """ValueError where a split is in ``root`` already, so that nothing is replaced."""
    if there := [str(root / split.folder) for split in splits if (root / split.folder).exists()]:
        raise ValueError(f"there already: {some(there)}; remove it to have it replaced, or set another paths.data=...")


def install(split: Split, root: Path) -> Path:
    """Copy a split to where it is kept in ``root``, whole or not at all; returns its folder there."""
    target = root / split.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ipsam_", dir=root) as staging:
        copy = Path(staging) / "set"
        for name, file in split.files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy / name)
        copy.rename(target)
    return target


def in_words(known: Benchmark) -> str:
    """Where a set is published and what it must look like here, as lines."""
    lines = [f"{known.name}{f', {known.note}' if known.note else ''}", f"  published at {known.page}"]
    for split, numbers in known.num_pairs.items():
        layout = community_layout(known, split)
        pairs = " or ".join(map(str, numbers))
        lines.append(f"  {split}: {pairs} pairs of the same name in {layout.folder}/{layout.images} and {layout.masks}")
    return "\n".join(lines)


def _divided(known: Benchmark, unpacked: Path) -> Iterator[Split]:
    for split in SPLITS:
        if split in known.layouts:
            try:
                location = locate_set(known.name, split, unpacked)
            except FileNotFoundError:
                continue
            layout = community_layout(known, split)
            yield Split(known.name, split, layout.folder, dict(_files(location, layout)))


def _undivided(known: Benchmark, unpacked: Path) -> Iterator[Split]:
    layouts = {layout for of_split in known.layouts.values() for layout in of_split if layout.lists}
    for base in (unpacked, *(path for path in entries(unpacked) if path.is_dir())):
        for layout in sorted(layouts, key=str):
            folder = base / layout.folder
            if (folder / layout.images).is_dir() and (folder / layout.masks).is_dir():
                files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
                yield Split(known.name, "", known.name, files)


def _files(location: SetLocation, layout: Layout) -> Iterator[tuple[str, Path]]:
    """A split's own images and masks, those included that nothing matches: the data doctor tells of them."""
    matched = match_files(
        location.images,
        location.masks,
        name=location.label,
        stems=location.stems,
        only=location.only,
        extra_masks=location.extra_masks,
    )
    others = matched.masks.keys() - matched.images.keys() if location.extra_masks else set()
    for kind, files in ((layout.images, matched.images), (layout.masks, matched.masks)):
        for stem, paths in files.items():
            for path in paths if kind == layout.images or stem not in others else ():
                yield f"{kind}/{path.name}", path
