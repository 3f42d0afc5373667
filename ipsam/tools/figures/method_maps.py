"""The maps that several methods saved of one dataset, METHOD/DATASET/*.png, whatever else lies beside them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from ipsam.data.files import by_stem, entries, image_files, some, with_readable_name
from ipsam.data.saved_maps.map_sets import same_dataset

logger = logging.getLogger(__name__)


def method_folders(maps: Path, dataset: str) -> dict[str, Path]:
    """Each method's folder of maps of a dataset, by the method's name; methods without one are passed over, by log.

    A folder is a dataset's if it is named like it, in any case of letters or by another of a benchmark's names.

    Raises:
        FileNotFoundError: the folder doesn't exist.
        ValueError: no method has maps of the dataset; two folders of a method stand for it; or one can't be read.
    """
    if not maps.is_dir():
        raise FileNotFoundError(f"maps={maps}: no such folder; check the path")
    found: dict[str, Path] = {}
    without: list[str] = []
    for method in filter(Path.is_dir, entries(maps)):
        fitting = [
            folder
            for folder in entries(with_readable_name(method))
            if folder.is_dir() and same_dataset(folder.name, dataset) and image_files(folder)
        ]
        if len(fitting) > 1:
            raise ValueError(
                f"both {fitting[0]} and {fitting[1]} stand for the dataset {dataset}; take one of them out"
            )
        if fitting:
            found[method.name] = fitting[0]
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
    """The map of each image in a folder, by stem; None for one that has none, which is told by log.

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
