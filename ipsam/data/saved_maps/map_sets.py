"""Find what to score: folders of saved maps, of one or several methods, and the datasets they belong to."""

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.benchmarks import benchmark
from ipsam.data.files import (
    MAP_EXTENSIONS,
    MAP_TYPES,
    TYPES,
    entries,
    holds_files,
    image_files,
    normal_stem,
    repeated,
    some,
    subfolders,
    with_readable_name,
)

logger = logging.getLogger(__name__)
# In a dataset's folder, in upper or lower case.
MASK_FOLDERS = ("gt", "masks", "mask", "gt_object", "ground truth", "ground_truth_mask")
IMAGE_FOLDERS = ("imgs", "images", "image", "img", "im", "original")


@dataclass(frozen=True)
class Truth:
    """Dataset to score on: its name, its folder of masks and, for pictures only, its folder of images."""

    name: str
    masks: Path
    images: Path | None


@dataclass(frozen=True)
class MapFolder:
    """Maps of one method for one dataset, a folder or COCO file; `method` is None if nothing is named after one."""

    method: str | None
    truth: Truth
    folder: Path

    @property
    def label(self) -> str:
        """Name in messages."""
        return self.truth.name if self.method is None else f"{self.method} on {self.truth.name}"


def find_truths(masks: Path, images: Path | None = None) -> list[Truth]:
    """Find the datasets in a folder, which is one itself or holds a folder for each; sorted by name.

    A dataset's masks lie in its folder or in a subfolder named as in `MASK_FOLDERS`, beside which a subfolder named as
    in `IMAGE_FOLDERS` may hold its images. A folder of masks with a name in `MASK_FOLDERS` belongs to the dataset that
    its parent is named after. Images come from ``images`` instead if it is given, a folder with the same layout.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: there are no masks; it is ambiguous which are meant; two folders stand for one dataset; or
            ``images`` lacks a dataset.
    """
    _check_folder(masks, "masks")
    if holds_files(masks):
        _refuse_strays(masks, "masks", besides=IMAGE_FOLDERS)
        found = [_truth(masks)]
    elif inside := _subfolder_of(masks, MASK_FOLDERS):
        found = [_truth(inside)]
    else:
        datasets = [folder for folder in _subfolders(masks) if folder.name.casefold() not in IMAGE_FOLDERS]
        inner = [folder if holds_files(folder) else _subfolder_of(folder, MASK_FOLDERS) for folder in datasets]
        found = [_truth(inside) for inside in inner if inside is not None]
    if not found:
        raise ValueError(
            f"no masks in {masks}: neither {TYPES} files, nor such files in a subfolder {', '.join(MASK_FOLDERS)}, nor "
            "folders of datasets that hold them; set masks=FOLDER to one that does"
        )
    _refuse_namesakes([(truth.name, truth.masks) for truth in found])
    if images is None:
        return found
    _check_folder(images, "images")
    return [Truth(truth.name, truth.masks, _given_images(images, truth.name, alone=len(found) == 1)) for truth in found]


def find_maps(maps: Path, truths: Sequence[Truth]) -> list[MapFolder]:
    """Find the folders of maps in METHOD/DATASET, METHOD, DATASET or ``maps`` itself, each with its dataset.

    A folder of maps is a dataset's if it has its name, in upper or lower case, or another name of the benchmark;
    otherwise it is a method's. If there is one dataset only, a method's folder may hold the maps directly. COCO files
    may stand in place of all folders of maps; beside folders they are passed over.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: a folder holds no maps or fits no dataset; two folders stand for one dataset; or pictures lie
            beside folders of pictures.
    """
    if not _is_coco(maps):
        _check_folder(maps, "maps")
    if _has_maps(maps):
        return [MapFolder(None, _direct(maps, truths), maps)]
    folders = _folders_or_files(maps)
    if not folders:
        raise ValueError(
            f"no maps in {maps}: neither {MAP_TYPES} files, nor folders, nor COCO's .json files; "
            "set maps=FOLDER to one that has them"
        )
    if any(truth_named(_name(folder), truths) and _has_maps(folder) for folder in folders):
        return _of_method(None, folders, truths)
    found = []
    for folder in folders:
        if _has_maps(folder):
            found.append(MapFolder(_name(folder), _direct(folder, truths), folder))
        elif datasets := _folders_or_files(folder):
            found += _of_method(folder.name, datasets, truths)
        else:
            raise ValueError(f"no maps in {folder}; fill it, or take it out of {maps}")
    return found


def method_name(maps: Path, truths: Sequence[Truth]) -> str:
    """Name the method of a single folder of maps after the folder, or its parent if the folder is named by dataset."""
    path = Path(os.path.abspath(maps.with_suffix("") if _is_coco(maps) else maps))
    return (path.parent if truth_named(path.name, truths) else path).name or "maps"


def truth_named(name: str, truths: Iterable[Truth]) -> Truth | None:
    """Return the dataset with this name, in upper or lower case, or another name of the benchmark."""
    return next((truth for truth in truths if same_dataset(truth.name, name)), None)


def same_dataset(one: str, other: str) -> bool:
    """Tell whether two names mean one dataset: equal but for case, or two names of a benchmark."""
    return _key(one) == _key(other)


def _key(name: str) -> str:
    try:
        return benchmark(name).name.casefold()
    except ValueError:
        return normal_stem(name).casefold()


def _of_method(method: str | None, folders: Sequence[Path], truths: Sequence[Truth]) -> list[MapFolder]:
    found = []
    for folder in folders:
        truth = truth_named(_name(folder), truths)
        if truth is None:
            raise ValueError(
                f"the maps in {folder} fit no dataset: none is named so, there are {_names(truths)}; "
                "rename it, take it out, or set masks=FOLDER to one that holds this dataset too"
            )
        if not _has_maps(folder):
            raise ValueError(f"no maps in {folder} ({MAP_TYPES} files directly in it); fill the folder, or take it out")
        found.append(MapFolder(method, truth, folder))
    _refuse_namesakes([(entry.truth.name, entry.folder) for entry in found])
    return found


def _direct(folder: Path, truths: Sequence[Truth]) -> Truth:
    """Return the dataset of maps that lie directly in a folder, or of a COCO file."""
    if folder.is_dir():
        _refuse_strays(folder, "maps")
    truth = truths[0] if len(truths) == 1 else truth_named(_name(Path(os.path.abspath(folder))), truths)
    if truth is None:
        raise ValueError(
            f"the maps in {folder} may belong to any of {_names(truths)}; "
            f"name their folder or file like the dataset, or set masks=FOLDER to that of one dataset"
        )
    return truth


def _truth(masks: Path) -> Truth:
    path = Path(os.path.abspath(masks))
    if path.name.casefold() not in MASK_FOLDERS:
        return Truth(path.name or "dataset", masks, None)
    return Truth(path.parent.name or "dataset", masks, _subfolder_of(path.parent, IMAGE_FOLDERS, any_of=True))


def _given_images(images: Path, name: str, *, alone: bool) -> Path:
    named = [folder for folder in _subfolders(images) if same_dataset(folder.name, name)]
    for folder in [images, *named] if alone else named:
        found = folder if holds_files(folder) else _subfolder_of(folder, IMAGE_FOLDERS, any_of=True)
        if found is not None:
            return found
    raise ValueError(
        f"no images of {name} in {images}: neither in a folder of that name nor in its subfolder "
        f"{', '.join(IMAGE_FOLDERS)}; set images=FOLDER to one that has them, or leave it out"
    )


def _subfolder_of(folder: Path, names: Sequence[str], *, any_of: bool = False) -> Path | None:
    """Return the subfolder with files that has one of the names; several are an error unless ``any_of``."""
    found = [path for path in _subfolders(folder) if path.name.casefold() in names and holds_files(path)]
    if len(found) > 1 and not any_of:
        inside = ", ".join(path.name for path in found)
        raise ValueError(f"{folder} holds masks in {inside}; set masks= to the one to use")
    return min(found, key=lambda path: names.index(path.name.casefold()), default=None)


def _subfolders(folder: Path) -> list[Path]:
    return [with_readable_name(path) for path in subfolders(folder) if path.name != "__MACOSX"]


def _folders_or_files(folder: Path) -> list[Path]:
    """List the subfolders, and log the COCO files beside them; without any, list these files."""
    folders, files = _subfolders(folder), [with_readable_name(path) for path in entries(folder) if _is_coco(path)]
    if folders and files:
        logger.info("%s: not read, as there are folders: %s", folder, some(path.name for path in files))
    elif twice := repeated({name: [one for one in files if _name(one) == name] for name in map(_name, files)}):
        raise ValueError(f"{folder} holds two COCO files named {twice[0]}; take one of them out")
    return folders or files


def _is_coco(path: Path) -> bool:
    return path.suffix.lower() == ".json" and path.is_file()


def _has_maps(path: Path) -> bool:
    return _is_coco(path) or holds_files(path, MAP_EXTENSIONS)


def _name(path: Path) -> str:
    return path.stem if _is_coco(path) else path.name


def _refuse_strays(folder: Path, kind: str, besides: Sequence[str] = ()) -> None:
    """Refuse a folder that holds pictures beside folders of pictures: it is unclear which are meant."""
    below = [path for path in _subfolders(folder) if path.name.casefold() not in besides]
    if full := [path.name for path in below if any(map(holds_files, [path, *_subfolders(path)]))]:
        raise ValueError(
            f"{folder} holds pictures ({some(path.name for path in image_files(folder))}) beside folders with pictures "
            f"({some(full)}), so that it is not clear which are the {kind}; move the others out, or set "
            f"{kind}=FOLDER to one that holds the {kind} alone"
        )


def _refuse_namesakes(named: Sequence[tuple[str, Path]]) -> None:
    first: dict[str, Path] = {}
    for name, folder in named:
        other = first.setdefault(_key(name), folder)
        if other != folder:
            raise ValueError(f"both {other} and {folder} stand for the dataset {name}; take one of them out")


def _check_folder(folder: Path, kind: str) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{kind}={folder}: {'no folder' if folder.exists() else 'no such folder'}; check the path"
        )


def _names(truths: Iterable[Truth]) -> str:
    return ", ".join(truth.name for truth in truths)
