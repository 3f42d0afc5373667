"""Images and masks in two columns of a Hugging Face dataset, on disk or on the Hub."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ipsam.data.annotations.categories import Categories
from ipsam.data.files import normal_stem
from ipsam.data.images import read_bytes
from ipsam.data.items import Encoded, Stored
from ipsam.data.matching import Files

READ = ("arrow", "imagefolder", "parquet")  # the package's own readers, of many; none runs a dataset's code
NAMES_FILES = "imagefolder"  # the package keeps its paths in its folder; one in another dataset's cell may be any


@dataclass(frozen=True)
class Cell(Encoded):
    """Image or mask in a dataset.

    Attributes:
        rows: the dataset, with this column alone.
        row, column: of the cell.
        file: file that the cell names instead of holding its content.
    """

    rows: Any = field(repr=False, compare=False)
    row: int
    column: str
    file: Path | None = None

    def content(self) -> bytes:
        """Read the cell, or its file; ValueError if it holds none."""
        if self.file is not None:
            return read_bytes(self.file)
        content = (self.rows[self.row][self.column] or {}).get("bytes")
        if not content:
            raise ValueError(f"{self.path}: the cell holds no image; correct the dataset or leave the row out")
        return bytes(content)


def read_columns(
    dataset: Path | str, split: str, image: str, mask: str, category: Categories, label: str
) -> tuple[Files, Files]:
    """Read a dataset's rows by stem: the image's file name if all rows differ in it, or else the row's number.

    Args:
        dataset: folder of a dataset, or the name of a Hub repository, `OWNER/NAME` or `OWNER/NAME@REVISION`.
        split: the dataset's own name of the split, such as `train`, or a part of it, such as `train[:80%]`.
        image, mask: columns of type Image.
        category: grey values of the masks that are foreground; none chosen: those above the threshold.
        label: the set's name in messages.

    Raises:
        ValueError: the package is missing, the dataset cannot be loaded, or it has no such split or column.
    """
    if find_spec("datasets") is None:
        raise ValueError(f"{label}: dataset={dataset} needs the package datasets: pip install -e '.[datasets]'")
    rows, names_files = _load(dataset, split, label)
    labels = frozenset(category.ids({number: str(number) for number in range(256)}, Path(dataset)))
    kinds = {image: frozenset[int](), mask: labels if category.chosen else frozenset[int]()}
    found = {
        column: list(_cells(rows, column, f"{dataset} ({split}", of, names_files, label))
        for column, of in kinds.items()
    }
    stems = _stems([name for _, name in found[image]])
    image_of: dict[str, Sequence[Stored]] = {}
    for stem, (cell, _) in zip(stems, found[image], strict=True):
        image_of[stem] = [cell.file or cell]
    return image_of, {stem: [cell] for stem, (cell, _) in zip(stems, found[mask], strict=True)}


def _load(dataset: Path | str, split: str, label: str) -> tuple[Any, bool]:
    """Return a split, and whether its cells may name files."""
    import datasets  # an extra

    name, _, revision = dataset.partition("@") if isinstance(dataset, str) else (str(dataset), "", "")
    try:
        if any((Path(name) / file).is_file() for file in ("state.json", "dataset_dict.json")):  # of save_to_disk
            saved = datasets.load_from_disk(name)
            if isinstance(saved, datasets.Dataset):
                saved = {str(saved.split or split): saved}
            return saved[split], False
        builder = datasets.load_dataset_builder(name, revision=revision or None)
        if builder.name in READ:
            builder.download_and_prepare()
            return builder.as_dataset(split=split), builder.name == NAMES_FILES
    except Exception as error:  # of any library below: pyarrow, httpx, fsspec
        generic = isinstance(error, datasets.exceptions.DatasetGenerationError)
        cause = (error.__cause__ if generic else None) or error
        reason = next(iter(str(cause).splitlines()), "")
        raise ValueError(
            f"{label}: the split {split} of the dataset {dataset} can't be loaded ({type(cause).__name__}: "
            f"{reason:.300}); check both names, or fetch the dataset again"
        ) from error
    raise ValueError(
        f"{label}: the dataset {dataset} has files of the kind {builder.name}, and only {', '.join(READ)} are read; "
        "save it as Parquet"
    )


def _cells(
    rows: Any, column: str, name: str, labels: frozenset[int], names_files: bool, label: str
) -> Iterator[tuple[Cell, str]]:
    """Yield a column's cells with their files' names, which may be empty; the cells' own names begin with ``name``."""
    from datasets import Image

    kind = rows.features.get(column)
    if not isinstance(kind, Image):
        found = ", ".join(f"{other} ({type(kind).__name__})" for other, kind in rows.features.items())
        raise ValueError(f"{label}: the dataset has no column {column} of type Image; its columns are {found}")
    alone = rows.select_columns([column]).cast_column(column, Image(decode=False))
    for row in range(len(alone)):
        value = alone[row][column] or {}
        file = value.get("path") or ""
        is_file = names_files and not value.get("bytes") and bool(file)
        path = Path(f"{name} {row}, {column})")
        cell = Cell(path, alone, row, column, Path(file) if is_file else None, labels=labels)
        yield cell, Path(file.replace("\\", "/")).name


def _stems(names: Sequence[str]) -> list[str]:
    stems = [normal_stem(Path(name).stem) for name in names]
    if len(set(stems)) == len(stems) and all(stem and stem.isprintable() for stem in stems):
        return stems
    return [f"{row:06d}" for row in range(len(names))]
