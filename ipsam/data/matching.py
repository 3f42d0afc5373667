"""Matching the images of one folder with the masks of another by their stem, and all that keeps them from fitting.

Files are matched by their stem, never by sorted order: one missing file would shift every pair behind it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.files import EXTENSIONS, by_stem, normal_stem, repeated, some
from ipsam.data.findings import Finding

Stems = Sequence[str | int]  # a numbered stem arrives from YAML as an int
Files = Mapping[str, Sequence[Path]]  # by stem; several where they share it


@dataclass(frozen=True)
class Matched:
    """The files of a set, and what was found while they were matched."""

    images: Files
    masks: Files
    findings: tuple[Finding, ...]


def match_files(
    images: Path,
    masks: Path,
    *,
    name: str,
    stems: str | None = None,
    exclude: Stems = (),
    only: Sequence[str] | None = None,
    extra_masks: bool = False,
) -> Matched:
    """Match the images of one folder with the masks of another; arguments as for `find_pairs`.

    Raises:
        FileNotFoundError: a folder doesn't exist.
        ValueError: a folder is empty, or it or a name in it can't be read.
    """
    image_of, mask_of = _files(images, name, "image"), _files(masks, name, "mask")
    findings: list[Finding] = []
    if stems is not None:
        image_of, mask_of = ({s: f for s, f in d.items() if re.match(stems, s)} for d in (image_of, mask_of))
    if only is not None:
        listed = set(map(normal_stem, only))
        if missing := sorted(listed - set(image_of)):
            message = (
                f"{name}: the split's list names stems with no image in {images}: {some(missing)}; "
                "correct the list, or fetch the missing images"
            )
            findings.append(Finding("listed without image", "error", message, tuple(images / s for s in missing)))
        image_of, mask_of = ({s: f for s, f in d.items() if s in listed} for d in (image_of, mask_of))

    left_out, unknown = _excluded_stems(exclude, name, {*image_of, *mask_of})
    if unknown:
        message = (
            f"{name}: data.exclude names stems that the set doesn't have: {some(unknown)}; give them as file names "
            "without extension, and as data.exclude=[NAME/stem,...] where they belong to only one of several sets"
        )
        findings.append(Finding("unknown in data.exclude", "error", message))
    if left_out:
        message = f"{name}: {len(left_out)} left out by data.exclude: {', '.join(sorted(left_out))}"
        findings.append(Finding("left out by data.exclude", "remark", message))
    image_of, mask_of = ({s: f for s, f in d.items() if s not in left_out} for d in (image_of, mask_of))
    if image_of:
        findings += _misfits(image_of, mask_of, images, masks, name, extra_masks=extra_masks)
    else:
        message = (
            f"{name}: no image left in {images} after selecting "
            f"{'all stems' if stems is None else f'stems matching {stems!r}'}{'' if only is None else ' in the list'} "
            f"and leaving out {len(left_out)} by data.exclude; exclude fewer, or name another folder"
        )
        findings.append(Finding("no image left", "error", message))
    return Matched(image_of, mask_of, tuple(findings))


def exclude_option(name: str, stems: Sequence[str]) -> str:
    """The option that leaves some stems of a set out, as messages show it."""
    return exclude_argument([f"{name}/{stem}" for stem in stems])


def exclude_argument(entries: Sequence[str]) -> str:
    """The option that leaves out some `NAME/stem`, as messages show it."""
    return f"data.exclude=[{','.join(entries[:5])}{',...' if len(entries) > 5 else ''}]"


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


def _excluded_stems(exclude: Stems, name: str, known: set[str]) -> tuple[set[str], list[str]]:
    """The stems to leave out, and those that should be there and are not."""
    wanted, required = set(), set()
    for entry in (normal_stem(str(entry)) for entry in exclude):
        owner, _, stem = entry.rpartition("/")
        if owner.casefold() in ("", name.casefold()):
            required.add(stem)
        elif name.casefold().startswith(f"{owner.casefold()}/"):
            wanted.add(stem)
    return (required | wanted) & known, sorted(required - known)


def _misfits(
    image_of: Files, mask_of: Files, images: Path, masks: Path, name: str, *, extra_masks: bool
) -> Iterator[Finding]:
    """What doesn't come in pairs."""
    for kind, files in (("image", image_of), ("mask", mask_of)):
        if twice := repeated(files):
            message = (
                f"{name}: {len(twice)} stems stand for two {kind}s each in {files[twice[0]][0].parent}: "
                f"{some('/'.join(path.name for path in files[stem]) for stem in twice)}; "
                f"remove one of each, or leave both out with {exclude_option(name, twice)}"
            )
            yield Finding(f"two {kind}s of one stem", "error", message, _all(files, twice))
    if no_mask := sorted(set(image_of) - set(mask_of)):
        message = (
            f"{name}: {len(no_mask)} of {len(image_of)} images have no mask of the same stem in {masks}: "
            f"{some(image_of[stem][0].name for stem in no_mask)}; {_fetch_or_exclude(name, no_mask)}"
        )
        yield Finding("image without mask", "error", message, _all(image_of, no_mask))
    no_image = sorted(set(mask_of) - set(image_of))
    if no_image and not extra_masks:
        message = (
            f"{name}: {len(no_image)} of {len(mask_of)} masks have no image of the same stem in {images}: "
            f"{some(mask_of[stem][0].name for stem in no_image)}; {_fetch_or_exclude(name, no_image)}"
        )
        yield Finding("mask without image", "error", message, _all(mask_of, no_image))
    if no_image and extra_masks:
        message = f"{name}: {len(no_image)} masks in {masks} belong to no image of this split"
        yield Finding("masks of other splits", "remark", message)


def _all(files: Files, stems: Iterable[str]) -> tuple[Path, ...]:
    return tuple(path for stem in stems for path in files[stem])


def _fetch_or_exclude(name: str, stems: Sequence[str]) -> str:
    return f"add the missing files, or leave these out with {exclude_option(name, stems)}"
