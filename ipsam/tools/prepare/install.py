"""Install an unpacked release in the community's layout of datasets."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.benchmarks import SPLITS, Benchmark, Layout, benchmark
from ipsam.data.files import entries, image_files, some
from ipsam.data.items import name_of
from ipsam.data.layouts import SetLocation, locate_set
from ipsam.data.matching import match_files
from ipsam.utils.folders import folders_below


@dataclass(frozen=True)
class Split:
    """Files of a set's split in a release.

    Attributes:
        name: the set's.
        split: empty for a set without a division into splits.
        folder: to install into, relative to ``paths.data``.
        files: by their paths in the folder.
    """

    name: str
    split: str
    folder: str
    files: Mapping[str, Path]


def community_layout(known: Benchmark, split: str) -> Layout:
    """Return the layout to install a split in: a folder of its own such as ``TestDataset/CAMO/{Imgs,GT}``, if any."""
    return min(known.layouts[split], key=lambda layout: (layout.lists, layout.shared))


def find_splits(names: Sequence[str], unpacked: Path) -> list[Split]:
    """Find the splits of sets in a folder, in any of their known layouts.

    Raises:
        ValueError: a name is unknown, or a set isn't there.
    """
    found: list[Split] = []
    for known in map(benchmark, names):
        splits = list(_divided(known, unpacked)) or list(_undivided(known, unpacked))[:1]
        if not splits:
            folders = [
                str(folder.relative_to(unpacked)) for folder in folders_below(unpacked)[0] if image_files(folder)
            ]
            raise ValueError(
                f"no {known.name} in it: it holds images in {some(folders)}. Is it another set's archive? Otherwise "
                "move the images by hand (a ZIP of Imgs and GT alone lacks the folder around them):\n"
                f"{expected_layout(known)}"
            )
        found += splits
    return found


def check_free(splits: Sequence[Split], root: Path) -> None:
    """Raise ValueError if a split is in ``root`` already, as nothing is overwritten."""
    if there := [str(root / split.folder) for split in splits if (root / split.folder).exists()]:
        raise ValueError(f"there already: {some(there)}; remove it first, or set another paths.data=...")


def install(split: Split, root: Path) -> Path:
    """Copy a split into ``root``, completely or not at all; return its folder.

    Raises:
        OSError: a file cannot be read; or written, with the folder's path.
    """
    target = root / split.folder
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".ipsam_", dir=root) as staging:
        copy = Path(staging) / "set"
        for name, file in split.files.items():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            try:
                shutil.copyfile(file, copy / name)
            except OSError as error:
                if error.filename2 is None:
                    raise
                raise OSError(error.errno, error.strerror, str(target)) from error
        copy.rename(target)
    return target


def expected_layout(known: Benchmark) -> str:
    """Describe where a set is published and the layout to install it in."""
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
            if not layout.lists:
                yield Split(known.name, split, layout.folder, dict(_files(location, layout)))


def _undivided(known: Benchmark, unpacked: Path) -> Iterator[Split]:
    layouts = {layout for of_split in known.layouts.values() for layout in of_split if layout.lists}
    for base in (unpacked, *(path for path in entries(unpacked) if path.is_dir())):
        for layout in sorted(layouts, key=str):
            folder = base / layout.folder
            if (folder / layout.images).is_dir() and (folder / layout.masks).is_dir():
                below = (path for inside in folders_below(folder)[0] for path in inside.iterdir() if path.is_file())
                files = {str(path.relative_to(folder)): path for path in below}
                yield Split(known.name, "", known.name, files)


def _files(location: SetLocation, layout: Layout) -> Iterator[tuple[str, Path]]:
    """Yield a split's images and masks, including unmatched ones, which the data doctor reports."""
    matched = match_files(location)
    others = matched.masks.keys() - matched.images.keys() if location.extra_masks else set()
    for kind, files in ((layout.images, matched.images), (layout.masks, matched.masks)):
        for stem, paths in files.items():
            for path in paths if kind == layout.images or stem not in others else ():
                yield f"{kind}/{path.name}", name_of(path)
