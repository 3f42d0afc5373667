"""Match the images and masks of two folders by stem.

Sorted order never matches files: one missing file would shift every pair after it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.files import EXTENSIONS, by_stem, normal_stem, repeated, some
from ipsam.data.findings import Finding

Stems = Sequence[str | int]  # YAML reads a numbered stem as an int
Files = Mapping[str, Sequence[Path]]  # by stem


@dataclass(frozen=True)
class Matched:
    """Files of a set by stem, and findings about those that do not match."""

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
    """Match the images and masks of two folders; arguments as for `find_pairs`.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: a folder is empty, or it or a name in it cannot be read.
    """
    image_of, mask_of = _files(images, name, "image"), _files(masks, name, "mask")
    findings: list[Finding] = []
    chosen = {stem for stem in {*image_of, *mask_of} if stems is None or re.match(stems, stem)}
    if only is not None:
        listed = set(map(normal_stem, only))
        if missing := sorted(listed - (chosen & image_of.keys())):
            message = (
                f"{name}: the split's list names stems with no image in {images}: {some(missing)}; "
                "correct the list, or fetch the missing images"
            )
            findings.append(Finding("listed without image", "error", message, tuple(images / s for s in missing)))
        chosen &= listed
    left_out, unknown = _excluded_stems(exclude, name, chosen)
    if unknown:
        message = (
            f"{name}: exclude names stems that the set doesn't have: {some(unknown)}; give them as file names "
            "without extension, and as exclude=[NAME/stem,...] where they belong to only one of several sets"
        )
        findings.append(Finding("unknown in exclude", "error", message))
    if left_out:
        message = f"{name}: {len(left_out)} left out by exclude: {', '.join(sorted(left_out))}"
        findings.append(Finding("left out by exclude", "remark", message))
    chosen -= left_out
    image_of, mask_of = ({s: paths for s, paths in files.items() if s in chosen} for files in (image_of, mask_of))
    if image_of:
        findings += _unmatched(image_of, mask_of, images, masks, name, extra_masks=extra_masks)
    else:
        message = (
            f"{name}: no image left in {images} after selecting "
            f"{'all stems' if stems is None else f'stems matching {stems!r}'}{'' if only is None else ' in the list'} "
            f"and leaving out {len(left_out)} by exclude; exclude fewer, or name another folder"
        )
        findings.append(Finding("no image left", "error", message))
    return Matched(image_of, mask_of, tuple(findings))


def exclude_option(name: str, stems: Sequence[str]) -> str:
    """Format the `exclude` argument that leaves out some stems of a set."""
    return exclude_argument([f"{name}/{stem}" for stem in stems])


def exclude_argument(entries: Sequence[str]) -> str:
    """Format the `exclude` argument that leaves out some `NAME/stem`."""
    return f"exclude=[{','.join(entries[:5])}{',...' if len(entries) > 5 else ''}]"


def _files(folder: Path, name: str, kind: str) -> dict[str, list[Path]]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: the folder of {kind}s {folder} doesn't exist; check root=FOLDER and the set")
    files = by_stem(folder)
    if not files:
        raise ValueError(
            f"{name}: the folder of {kind}s {folder} is empty (no {'/'.join(e[1:] for e in EXTENSIONS)} file in it); "
            "unpack the set there, or leave it out"
        )
    return files


def _excluded_stems(exclude: Stems, name: str, known: set[str]) -> tuple[set[str], list[str]]:
    """Return the stems to leave out, and those that the set should have but has not."""
    wanted, required = set(), set()
    for entry in (normal_stem(str(entry)) for entry in exclude):
        owner, _, stem = entry.rpartition("/")
        if owner.casefold() in ("", name.casefold()):
            required.add(stem)
        elif name.casefold().startswith(f"{owner.casefold()}/"):
            wanted.add(stem)
    return (required | wanted) & known, sorted(required - known)


def _unmatched(
    image_of: Files, mask_of: Files, images: Path, masks: Path, name: str, *, extra_masks: bool
) -> Iterator[Finding]:
    for kind, files in (("image", image_of), ("mask", mask_of)):
        if twice := repeated(files):
            message = (
                f"{name}: {len(twice)} stems stand for two {kind}s each in {files[twice[0]][0].parent}: "
                f"{some('/'.join(path.name for path in files[stem]) for stem in twice)}; "
                f"remove one of each, or leave both out with {exclude_option(name, twice)}"
            )
            yield Finding(f"two {kind}s of one stem", "error", message, _all(files, twice))
    for kind, files, others, other, folder in (
        ("image", image_of, mask_of, "mask", masks),
        ("mask", mask_of, image_of, "image", images),
    ):
        alone = sorted(files.keys() - others.keys())
        if alone and extra_masks and kind == "mask":
            message = f"{name}: {len(alone)} masks in {masks} belong to no image of this split"
            yield Finding("masks of other splits", "remark", message)
        elif alone:
            message = (
                f"{name}: {len(alone)} of {len(files)} {kind}s have no {other} of the same stem in {folder}: "
                f"{some(files[stem][0].name for stem in alone)}; add the missing files, or leave these out with "
                f"{exclude_option(name, alone)}"
            )
            yield Finding(f"{kind} without {other}", "error", message, _all(files, alone))


def _all(files: Files, stems: Iterable[str]) -> tuple[Path, ...]:
    return tuple(path for stem in stems for path in files[stem])
