"""Masks of YOLO's label files: a polygon a line, `class x y x y ...`, in shares of the image's width and height."""

from collections import defaultdict
from itertools import chain
from pathlib import Path

from ipsam.data.annotations.categories import Categories
from ipsam.data.drawings import Drawing, Shape, as_points, check_pycocotools
from ipsam.data.files import entries, normal_stem, with_readable_name
from ipsam.data.matching import Files, files_by_stem
from ipsam.utils.untrusted import bounded_text

MAX_BYTES = 1 << 26  # of a label file; a polygon has a few hundred
NUM_OF_BOX = 5  # numbers of a line that holds a box: class, x, y, width, height
NAMES = ("classes", "labels")  # lists of names that tools write beside the label files


def read_yolo(labels: Path, images: Path, category: Categories, label: str) -> tuple[Files, Files]:
    """Read the images of a folder and the masks of their label files, which are named like them.

    As in YOLO, an image whose label file is empty or missing is background.

    Args:
        labels: folder of label files.
        images: folder of images.
        category: the numbers of the classes that are foreground.
        label: the set's name in messages.

    Raises:
        FileNotFoundError: the folder of images is missing.
        ValueError: a folder is empty or unreadable; or no file has such a class.
    """
    check_pycocotools(label)
    image_of = files_by_stem(images, label, "image")
    texts: dict[str, list[Path]] = defaultdict(list)
    for path in entries(labels):
        stem = normal_stem(with_readable_name(path).stem)
        if path.suffix == ".txt" and (stem in image_of or stem not in NAMES):
            texts[stem].append(path)
    if not texts:
        raise ValueError(f"{label}: no label file (.txt) in {labels}; name the folder that holds them")
    shapes: dict[Path, list[tuple[int, Shape]]] = {}
    problems: dict[Path, str] = {}
    for path in chain.from_iterable(texts.values()):
        try:
            shapes[path] = _read(path)
        except ValueError as error:
            problems[path] = str(error)
    chosen = category.ids({number: str(number) for of in shapes.values() for number, _ in of}, labels)
    drawings = {
        stem: [
            Drawing(
                path,
                tuple(shape for number, shape in shapes.get(path, []) if number in chosen),
                image=image_of[stem][0] if stem in image_of else None,
                is_relative=True,
                is_missing=stem not in texts,
                problem=problems.get(path, ""),
            )
            for path in texts.get(stem, [labels / f"{stem}.txt"])
        ]
        for stem in sorted({*image_of, *texts})
    }
    return image_of, drawings


def _read(path: Path) -> list[tuple[int, Shape]]:
    """Read a label file; the message of the ValueError follows the file's name."""
    try:
        lines = bounded_text(path, MAX_BYTES).splitlines()
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8; save it again") from error
    found = []
    for number, line in enumerate(lines, 1):
        name, words = f"line {number}", line.split()
        if not words:
            continue
        if len(words) == NUM_OF_BOX:
            raise ValueError(f"{name} is a box (class x y width height), and a mask needs polygons; export those")
        if not words[0].isascii() or not words[0].isdigit() or len(words) % 2 == 0:
            raise ValueError(f"{name} is not `class x y x y ...`: {line!r:.99}; correct or remove it")
        try:
            found.append((int(words[0]), Shape(name, as_points(words[1:]))))
        except ValueError as error:
            raise ValueError(f"{name} {error}: {line!r:.99}; correct or remove it") from error
    return found
