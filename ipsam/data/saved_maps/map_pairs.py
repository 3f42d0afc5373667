"""Pair saved maps with the masks they are scored against, and check all of them before anything is computed."""

import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ipsam.data.decoding.limits import Size
from ipsam.data.files import (
    EXTENSIONS,
    MAP_EXTENSIONS,
    hxw,
    names_by_stem,
    pictures_not_read,
    read_list,
    repeated,
    some,
)
from ipsam.data.images import FOREGROUND_ABOVE, image_headers, read_mask
from ipsam.data.items import identity
from ipsam.data.saved_maps.coco_maps import CocoMap, coco_maps
from ipsam.data.saved_maps.map_sets import MapFolder, Truth
from ipsam.data.saved_maps.maps import read_map

Missing = Literal["error", "exclude"]
AT_ONCE = 4096  # files whose headers are read before the next are listed
NUM_NAMED = 50  # masks without a map that an error names
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedMap:
    """Map and mask, read when called: `(stem, map, mask)`, the map at the mask's size unless `any_size`."""

    stem: str
    map: Path | CocoMap
    mask: Path
    image: Path | None = None
    above: int = FOREGROUND_ABOVE
    resize: bool = False
    any_size: bool = False

    def __call__(
        self, mask: NDArray[np.uint8] | None = None
    ) -> tuple[str, NDArray[np.uint8] | NDArray[np.float32], NDArray[np.uint8]]:
        """Read both, or the map alone; ValueError or FileNotFoundError names a file that cannot be read."""
        prediction = read_map(self.map)
        mask = read_mask(self.mask, self.above) if mask is None else mask
        if prediction.shape != mask.shape and not self.any_size:
            if not self.resize:
                raise ValueError(
                    f"{self.map}: {hxw(prediction.shape)} pixels, but its mask has {hxw(mask.shape)} "
                    "(height x width); save it at that size, or have it resized with resize=true"
                )
            prediction = cv2.resize(prediction, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)
        return self.stem, prediction, mask


@dataclass(frozen=True)
class Files(Mapping[str, Path]):
    """Files of a folder by stem; each path is made when it is needed, as thousands of them take much memory.

    Attributes:
        names: of the files; or the ending alone where the stem is what precedes it.
    """

    folder: Path
    names: Mapping[str, str]

    @classmethod
    def of(cls, folder: Path, names: Mapping[str, str]) -> "Files":
        """Keep files by stem."""
        endings = {stem: os.path.splitext(name)[1] for stem, name in names.items()}
        return cls(
            folder,
            {stem: sys.intern(endings[stem]) if name == stem + endings[stem] else name for stem, name in names.items()},
        )

    def __getitem__(self, stem: str) -> Path:
        name = self.names[stem]
        return self.folder / (stem + name if name.startswith(".") else name)  # no hidden file is listed

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class SavedMaps(Sequence[SavedMap]):
    """Maps of ``stems`` with their masks and images, each made when it is needed; ``like`` has their other fields."""

    stems: Sequence[str]
    maps: Mapping[str, Path | CocoMap]
    masks: Mapping[str, Path]
    images: Mapping[str, Path]
    like: SavedMap

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: Any) -> Any:
        """Return one map."""
        stem, like = self.stems[index], self.like
        files = self.maps[stem], self.masks[stem], self.images.get(stem)
        return SavedMap(stem, *files, like.above, like.resize, like.any_size)


@dataclass(frozen=True)
class TruthFiles:
    """Files of a dataset to score on, by stem; ``left_out`` holds the stems that are not in the list, by the reason."""

    masks: Mapping[str, Path]
    sizes: Mapping[str, Size]
    images: Mapping[str, Path]
    left_out: Mapping[str, list[str]]


@dataclass(frozen=True)
class PairedMaps:
    """Maps of a dataset to score, and the stems that are left out, by the reason."""

    maps: Sequence[SavedMap]
    left_out: dict[str, list[str]]

    def listing(self) -> Iterator[str]:
        """Yield stem, names and sizes in bytes of each map and its mask, when the map was written, and its resizing."""
        for one in self.maps:
            # All maps of a size have as many bytes in formats such as BMP.
            written = str(one.map.stat().st_mtime_ns) if isinstance(one.map, Path) else ""
            yield "\t".join((one.stem, identity(one.map), written, identity(one.mask), str(one.resize)))


def truth_files(truth: Truth, stems: Path | None = None) -> TruthFiles:
    """List a dataset's masks, or those in a list of stems, with their sizes and images, if any.

    Raises:
        FileNotFoundError: the list does not exist.
        ValueError: two masks share a stem; a header or the list cannot be read; the list is empty or names stems that
            have no mask.
    """
    masks = _by_stem(truth.masks, truth.name)
    left_out: dict[str, list[str]] = {}
    if stems is not None:
        if not stems.is_file():
            raise FileNotFoundError(f"stems={stems}: no such file; it is a list of the images to score, a stem a line")
        listed = set(read_list(stems))
        if not listed:
            raise ValueError(f"stems={stems}: the list is empty; it names the images to score, a stem a line")
        if unknown := sorted(listed - masks.keys()):
            raise ValueError(
                f"{truth.name}: {len(unknown)} of the {len(listed)} stems in {stems} have no mask in {truth.masks}: "
                f"{some(unknown)}; correct the list, or set masks=FOLDER to the folder that has them"
            )
        logger.info("%s: %d of %d masks are in %s and scored", truth.name, len(listed), len(masks), stems)
        left_out = {f"not in the list (stems={stems})": sorted(masks.keys() - listed)}
        masks = {stem: names for stem, names in masks.items() if stem in listed}
    chosen = Files.of(truth.masks, _single(masks, f"{truth.name}: masks", truth.masks))
    sizes = _sizes(chosen, truth.name, "masks")
    images: Mapping[str, Path] = {}
    if truth.images is not None:
        images = Files.of(truth.images, {stem: names[0] for stem, names in names_by_stem(truth.images).items()})
    return TruthFiles(chosen, sizes, images, left_out)


def pair_maps(
    found: MapFolder,
    truth: TruthFiles,
    *,
    missing: Missing = "error",
    resize: bool = False,
    any_size: bool = False,
    above: int = FOREGROUND_ABOVE,
) -> PairedMaps:
    """Pair the maps of a folder with a dataset's masks; sorted by stem. Logs what is skipped or resized.

    Args:
        missing: what to do if a mask has no map: `error`, or `exclude` the mask.
        resize: resize a map to its mask's size; otherwise another size is an error.
        any_size: return every map at its own size, for a protocol that resizes map and mask itself.
        above: mask values above it are foreground.

    Raises:
        ValueError: maps are missing or differ in size; no map fits; two maps share a stem; a header cannot be read.
    """
    files: Mapping[str, Sequence[str | CocoMap]]
    if found.folder.is_file():
        files = coco_maps(found.folder, truth.sizes)
    else:
        files = _by_stem(found.folder, found.label, MAP_EXTENSIONS)
    extra = sorted(files.keys() - truth.masks.keys())
    absent = sorted(truth.masks.keys() - files.keys())
    if len(absent) == len(truth.masks):
        raise ValueError(
            f"{found.label}: no map in {found.folder} has the stem of a mask: the maps are {some(sorted(files), 3)}, "
            f"the masks {some(sorted(truth.masks), 3)}; name each map like its mask"
        )
    if absent and missing == "error":
        raise ValueError(
            f"{found.label}: {len(absent)} of {len(truth.masks)} masks have no map of the same stem in {found.folder}: "
            f"{some(absent, NUM_NAMED)}; add the missing maps, list the stems to score with stems=FILE, "
            "or score what is there with missing=exclude"
        )
    if extra:
        others = " (or their masks are not in the list)" if any(truth.left_out.values()) else ""
        logger.info("%s: %d maps have no mask%s and are not scored: %s", found.label, len(extra), others, some(extra))
    if absent:
        logger.warning(
            "%s: ONLY %d OF %d IMAGES ARE SCORED, as the others have no map (missing=exclude): %s",
            *(found.label, len(truth.masks) - len(absent), len(truth.masks), some(absent)),
        )
    single = _single(
        {stem: files[stem] for stem in sorted(truth.masks) if stem in files}, f"{found.label}: maps", found.folder
    )
    chosen: Mapping[str, Any] = single if found.folder.is_file() else Files.of(found.folder, single)
    sizes = _sizes(chosen, found.label, "maps")
    differing = {stem: size for stem, size in sizes.items() if size != truth.sizes[stem] and not any_size}
    shown = some(f"{chosen[stem].name} {hxw(size)}, mask {hxw(truth.sizes[stem])}" for stem, size in differing.items())
    if differing and not resize:
        turned = sum(size == truth.sizes[stem][::-1] for stem, size in differing.items())
        hint = f"; {turned} look turned by 90 degrees, perhaps by their image's EXIF orientation: turn them back"
        raise ValueError(
            f"{found.label}: {len(differing)} of {len(chosen)} maps differ from their mask in size (height x width): "
            f"{shown}{hint if turned else ''}; save them at the mask's size, or have them resized with resize=true"
        )
    if differing:
        logger.info(
            "%s: %d of %d maps are resized to their mask's size (resize=true): %s",
            *(found.label, len(differing), len(chosen), shown),
        )
    like = SavedMap("", Path(), Path(), None, above, resize, any_size)
    maps = SavedMaps([*chosen], chosen, truth.masks, truth.images, like)
    reasons = {"without a map (missing=exclude)": absent, **truth.left_out}
    return PairedMaps(maps, {reason: names for reason, names in reasons.items() if names})


def _by_stem(folder: Path, label: str, endings: Collection[str] = EXTENSIONS) -> dict[str, tuple[str, ...]]:
    if message := pictures_not_read(folder):
        logger.warning("%s: %s", label, message)
    return names_by_stem(folder, endings)


def _single(files: Mapping[str, Sequence[Any]], label: str, folder: Path) -> dict[str, Any]:
    """Return the only file of each stem, of which ``files`` holds the name, or a map of a COCO file."""
    if twice := repeated(files):
        raise ValueError(
            f"{label} with the same stem in {folder}: "
            f"{some(' and '.join(getattr(one, 'name', one) for one in files[stem]) for stem in twice)}; "
            "remove one of each"
        )
    return {stem: found[0] for stem, found in files.items()}


def _sizes(files: Mapping[str, Path | CocoMap], label: str, kind: str) -> dict[str, Size]:
    sizes: dict[str, Size] = {}
    same: dict[Size, Size] = {}  # one object for each size, as most sets have few
    broken: list[str] = []
    stems = list(files)
    for start in range(0, len(stems), AT_ONCE):
        found = {stem: files[stem] for stem in stems[start : start + AT_ONCE]}
        sizes |= {stem: one.size for stem, one in found.items() if isinstance(one, CocoMap)}
        paths = {stem: path for stem, path in found.items() if isinstance(path, Path)}
        for (stem, path), header in zip(paths.items(), image_headers(list(paths.values())), strict=True):
            if not isinstance(header, Exception):
                sizes[stem] = same.setdefault(header.size, header.size)
                continue
            try:  # OpenCV reads some headers that Pillow cannot, and otherwise reading gives the better message
                height, width = (read_map if kind == "maps" else read_mask)(path).shape
                sizes[stem] = height, width
            except (ValueError, FileNotFoundError) as error:
                broken.append(str(error))
    if broken:
        raise ValueError(f"{label}: {len(broken)} of {len(files)} {kind} can't be used: {some(broken)}")
    return sizes
