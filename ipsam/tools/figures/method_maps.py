"""Saved maps of other methods, METHOD/DATASET/*.png."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ipsam.data.benchmarks import KNOWN
from ipsam.data.files import by_stem, entries, image_files, some, with_readable_name
from ipsam.data.saved_maps.map_sets import same_dataset

logger = logging.getLogger(__name__)


def method_folders(maps: Path, dataset: str) -> dict[str, Path]:
    """Find each method's folder of a dataset's maps, by the method's name; log the methods without one.

    A folder matches the dataset's name or one of its aliases in any case. For a selection, such as CVC-ClinicDB-62, a
    folder of the whole set's name will do, as methods publish their maps under it.

    Raises:
        FileNotFoundError: the folder doesn't exist.
        ValueError: no method has maps of the dataset, two folders of a method match it, or a folder can't be read.
    """
    if not maps.is_dir():
        raise FileNotFoundError(f"maps={maps}: no such folder; check the path")
    wholes = [known.selection_of for known in KNOWN.values() if same_dataset(known.name, dataset)]
    found: dict[str, Path] = {}
    without: list[str] = []
    for method in filter(Path.is_dir, entries(maps)):
        folders = list(filter(Path.is_dir, entries(with_readable_name(method))))
        matching: list[Path] = []
        for name in (dataset, *filter(None, wholes)):
            matching = matching or [one for one in folders if same_dataset(one.name, name) and image_files(one)]
        if len(matching) > 1:
            raise ValueError(
                f"both {matching[0]} and {matching[1]} stand for the dataset {dataset}; take one of them out"
            )
        if matching:
            found[method.name] = matching[0]
        else:
            without.append(method.name)
    if not found:
        raise ValueError(
            f"maps={maps}: no method has maps of {dataset}; they lie in METHOD/{dataset}/*.png below it"
            + (f", and there are the folders {some(without)}" if without else "")
        )
    if without:
        logger.info("%s: no maps of %s, passed over: %s", maps, dataset, some(without))
    return found


def maps_of(folder: Path, stems: Sequence[str]) -> list[Path | None]:
    """Find each image's map in a folder by stem; log the images without a map, which get None.

    Raises:
        ValueError: two maps share one of the stems, or the folder can't be read.
    """
    files = by_stem(folder)
    for stem in stems:
        if len(files.get(stem, [])) > 1:
            names = " and ".join(path.name for path in files[stem])
            raise ValueError(f"maps with the same stem in {folder}: {names}; remove one of them")
    if absent := [stem for stem in stems if stem not in files]:
        logger.warning("%s: no map of %s", folder, some(absent))
    return [files[stem][0] if stem in files else None for stem in stems]
