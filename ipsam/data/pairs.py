"""Finding image/mask pairs in two folders, and refusing to guess where they don't fit.

Files are paired by their stem, never by sorted order: one missing file would shift every pair behind it.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ipsam.data.files import EXTENSIONS, by_stem, hxw, normal, repeated, some
from ipsam.data.images import FOREGROUND_ABOVE, image_sizes, read_mask

NUM_CHECKED_MASKS = 32  # of each set, when looking for inverted masks

SizeMismatch = Literal["error", "resize", "exclude"]
Stems = Sequence[str | int]  # a numbered stem arrives from YAML as an int
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    stem: str
    image: Path
    mask: Path


def find_pairs(
    images: Path,
    masks: Path,
    *,
    name: str,
    stems: str | None = None,
    exclude: Stems = (),
    only: Sequence[str] | None = None,
    size_mismatch: SizeMismatch = "error",
    extra_masks: bool = False,
) -> list[Pair]:
    """Pair the images of one folder with the masks of another by stem; sorted by stem.

    Args:
        images: folder of images.
        masks: folder of masks.
        name: what messages call the set.
        stems: regular expression; stems that don't match it from their beginning belong to another set.
        exclude: stems to leave out, logged with their number. A bare stem has to be there; `NAME/stem` is about the
            set of that name alone, and `NAME/stem` with a name `NAME/split` about those of its splits that have it.
        only: a split's list of stems; all others belong to another split.
        size_mismatch: what to do where image and mask differ in size: `error`; `resize` keeps the pair, to be scored
            at the mask's size; `exclude` leaves it out. The last two are logged with their number.
        extra_masks: allow masks without an image, as where one folder holds the masks of several splits.

    Raises:
        FileNotFoundError: a folder doesn't exist.
        ValueError: a folder or the selection is empty; two files share a stem; an image has no mask or a mask no image;
            a folder, a header or a name can't be read; sizes differ; `exclude` or `only` name stems that aren't there.
    """
    if size_mismatch not in ("error", "resize", "exclude"):
        raise ValueError(f"data.size_mismatch={size_mismatch} is none of error, resize, exclude")
    image_of, mask_of = _files(images, name, "image"), _files(masks, name, "mask")
    if stems is not None:
        image_of, mask_of = ({s: f for s, f in d.items() if re.match(stems, s)} for d in (image_of, mask_of))
    if only is not None:
        listed = set(map(normal, only))
        if missing := sorted(listed - set(image_of)):
            raise ValueError(
                f"{name}: the split's list names stems with no image in {images}: {some(missing)}; "
                "correct the list, or fetch the missing images"
            )
        image_of, mask_of = ({s: f for s, f in d.items() if s in listed} for d in (image_of, mask_of))

    left_out = _excluded_stems(exclude, name, {*image_of, *mask_of})
    if left_out:
        logger.info("%s: %d left out by data.exclude: %s", name, len(left_out), ", ".join(sorted(left_out)))
    image_of, mask_of = ({s: f for s, f in d.items() if s not in left_out} for d in (image_of, mask_of))
    if not image_of:
        raise ValueError(
            f"{name}: no image left in {images} after selecting "
            f"{'all stems' if stems is None else f'stems matching {stems!r}'}{'' if only is None else ' in the list'} "
            f"and leaving out {len(left_out)} by data.exclude; exclude fewer, or name another folder"
        )

    _refuse_duplicates(image_of, name, "image")
    _refuse_duplicates(mask_of, name, "mask")
    if no_mask := sorted(set(image_of) - set(mask_of)):
        raise ValueError(
            f"{name}: {len(no_mask)} of {len(image_of)} images have no mask of the same stem in {masks}: "
            f"{some(image_of[stem][0].name for stem in no_mask)}; {_fetch_or_exclude(name, no_mask)}"
        )
    no_image = sorted(set(mask_of) - set(image_of))
    if no_image and not extra_masks:
        raise ValueError(
            f"{name}: {len(no_image)} of {len(mask_of)} masks have no image of the same stem in {images}: "
            f"{some(mask_of[stem][0].name for stem in no_image)}; {_fetch_or_exclude(name, no_image)}"
        )
    if no_image:
        logger.info("%s: %d masks in %s belong to no image of this split", name, len(no_image), masks)
    pairs = [Pair(stem, image_of[stem][0], mask_of[stem][0]) for stem in sorted(image_of)]
    return _check_sizes(pairs, name, size_mismatch)


def warn_if_inverted(pairs: Sequence[Pair], name: str, above: int = FOREGROUND_ABOVE) -> None:
    """Log a warning if the masks look inverted: in most of them, most of the border is foreground.

    Looks at the one-pixel border of at most 32 masks, evenly spaced over the set; foreground is above `above`.

    Raises:
        FileNotFoundError, ValueError: a mask can't be read, see `read_mask`.
    """
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(len(pairs), NUM_CHECKED_MASKS)).round().astype(int))
    inverted: list[Path] = []
    for index in chosen:
        mask = read_mask(pairs[index].mask, above)
        on_border = np.ones(mask.shape, dtype=bool)
        on_border[1:-1, 1:-1] = False
        if (mask[on_border] > 0).mean() > 0.5:
            inverted.append(pairs[index].mask)
    if len(inverted) > len(chosen) / 2:
        logger.warning(
            "%s: the masks look inverted: in %d of %d (%.0f%%) most of the border is foreground (e.g. %s). "
            "Objects must be 255 and background 0; if they are the other way round, save each mask as 255 - mask.",
            *(name, len(inverted), len(chosen), 100 * len(inverted) / len(chosen), inverted[0]),
        )


def _files(folder: Path, name: str, kind: str) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: the folder of {kind}s {folder} doesn't exist; check paths.data and the set")
    files = by_stem(folder)
    if not files:
        raise ValueError(
            f"{name}: the folder of {kind}s {folder} is empty (no {'/'.join(e[1:] for e in EXTENSIONS)} file in it); "
            "unpack the set there, or leave it out"
        )
    return files


def _excluded_stems(exclude: Stems, name: str, known: set[str]) -> set[str]:
    wanted, required = set(), set()
    for entry in (normal(str(entry)) for entry in exclude):
        owner, _, stem = entry.rpartition("/")
        if owner.casefold() in ("", name.casefold()):
            required.add(stem)
        elif name.casefold().startswith(f"{owner.casefold()}/"):
            wanted.add(stem)
    if unknown := sorted(required - known):
        raise ValueError(
            f"{name}: data.exclude names stems that the set doesn't have: {some(unknown)}; give them as file names "
            "without extension, and as data.exclude=[NAME/stem,...] where they belong to only one of several sets"
        )
    return required | (wanted & known)


def _refuse_duplicates(files: dict[str, list[Path]], name: str, kind: str) -> None:
    if twice := repeated(files):
        raise ValueError(
            f"{name}: {len(twice)} stems stand for two {kind}s each in {files[twice[0]][0].parent}: "
            f"{some('/'.join(path.name for path in files[stem]) for stem in twice)}; "
            f"remove one of each, or leave both out with {_exclude_option(name, twice)}"
        )


def _check_sizes(pairs: list[Pair], name: str, size_mismatch: SizeMismatch) -> list[Pair]:
    sizes = image_sizes([pair.image for pair in pairs] + [pair.mask for pair in pairs])
    differing: dict[str, str] = {}
    broken: dict[str, list[str]] = defaultdict(list)
    for pair, image, mask in zip(pairs, sizes[: len(pairs)], sizes[len(pairs) :], strict=True):
        for size in (image, mask):
            if isinstance(size, Exception):
                broken[pair.stem].append(str(size))
        if pair.stem not in broken and image != mask:
            differing[pair.stem] = f"{pair.image.name} {hxw(image)} with mask {hxw(mask)}"
    if broken:
        reasons = some(reason for of_pair in broken.values() for reason in of_pair)
        raise ValueError(
            f"{name}: {len(broken)} of {len(pairs)} pairs can't be read: {reasons}; "
            f"or leave them out with {_exclude_option(name, list(broken))}"
        )
    if differing and size_mismatch == "error":
        raise ValueError(
            f"{name}: in {len(differing)} of {len(pairs)} pairs image and mask differ in size (height x width): "
            f"{some(differing.values())}; resize them with data.size_mismatch=resize, leave them out with "
            f"data.size_mismatch=exclude, or {_exclude_option(name, list(differing))}"
        )
    if differing:
        done = "scored at the mask's size" if size_mismatch == "resize" else "left out"
        logger.info(
            "%s: %d of %d pairs differ in size and are %s (data.size_mismatch=%s): %s",
            *(name, len(differing), len(pairs), done, size_mismatch, some(differing.values())),
        )
    if size_mismatch == "exclude":
        pairs = [pair for pair in pairs if pair.stem not in differing]
        if not pairs:
            raise ValueError(f"{name}: data.size_mismatch=exclude leaves no pair; use data.size_mismatch=resize")
    return pairs


def _exclude_option(name: str, stems: Sequence[str]) -> str:
    shown = ",".join(f"{name}/{stem}" for stem in stems[:5])
    return f"data.exclude=[{shown}{',...' if len(stems) > 5 else ''}]"


def _fetch_or_exclude(name: str, stems: Sequence[str]) -> str:
    return f"add the missing files, or leave these out with {_exclude_option(name, stems)}"
