"""Match the images and masks of two folders by stem.

Sorted order never matches files: one missing file would shift every pair after it.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ipsam.data.drawings import Drawing
from ipsam.data.files import TYPES, by_stem, normal_stem, pictures_not_read, repeated, some
from ipsam.data.findings import Finding
from ipsam.data.items import Stored, name_of
from ipsam.utils.options import quoted

NUM_LISTED = 50  # stems that a message names to leave out
BARE = re.compile(r"[\w./ -]+")  # needs no quotation marks on the command line

Stems = Sequence[str | int]  # YAML reads a numbered stem as an int
Files = Mapping[str, Sequence[Stored]]  # by stem
SizeMismatch = Literal["error", "resize", "exclude"]


@dataclass(frozen=True, kw_only=True)
class SetLocation:
    """Folders of one split of a set, and which of the files there belong to it.

    Attributes:
        label: `NAME/split`, its name in messages.
        images, masks: folders, or what annotates the images.
        annotated: reads the images and masks of a set that is annotated in a format of its own; None: the folders are
            listed.
        stems: regular expression; stems that do not match it from their beginning belong to another set.
        only: the split's list of stems; all others belong to another split.
        extra_masks: allow masks without an image, for a folder that holds the masks of several splits.
        size_mismatch: the set's own default, see `find_pairs`.
        family: common beginning of the set's stems, if the folders hold other sets too.
        num_pairs: published numbers of pairs; empty for a user's own folders.
        note: known peculiarities.
        findings: findings of the search.
    """

    label: str
    images: Path
    masks: Path
    annotated: Callable[[], tuple[Files, Files]] | None = None
    stems: str | None = None
    only: Sequence[str] | None = None
    extra_masks: bool = False
    size_mismatch: SizeMismatch = "error"
    family: str | None = None
    num_pairs: tuple[int, ...] = ()
    note: str = ""
    findings: tuple[Finding, ...] = ()

    def other_number(self, num_pairs: int) -> list[Finding]:
        """Return a warning if the set is not published with that many pairs."""
        if not self.num_pairs or num_pairs in self.num_pairs:
            return []
        published = " or ".join(map(str, self.num_pairs)) + (f" ({self.note})" if self.note else "")
        message = f"{self.label}: {num_pairs} pairs, where the benchmark has {published}"
        return [Finding("number of pairs", "warning", message)]


@dataclass(frozen=True)
class Matched:
    """Files of a set by stem, findings about those that do not match, and the stems that ``exclude`` left out."""

    images: Files
    masks: Files
    findings: tuple[Finding, ...]
    left_out: list[str]


def match_files(location: SetLocation, exclude: Stems = ()) -> Matched:
    """Match the images and masks of a set; ``exclude`` as for `find_pairs`.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: a folder is empty, or it or a name in it cannot be read.
    """
    name, images, stems = location.label, location.images, location.stems
    image_of: Files
    mask_of: Files
    if location.annotated is None:
        image_of, mask_of = files_by_stem(images, name, "image"), files_by_stem(location.masks, name, "mask")
    else:
        image_of, mask_of = location.annotated()
    findings = [
        Finding("pictures not read", "warning", f"{name}: {message}")
        for folder in dict.fromkeys((images, location.masks))
        if folder.is_dir() and (message := pictures_not_read(folder))
    ]
    chosen = {stem for stem in {*image_of, *mask_of} if stems is None or re.match(stems, stem)}
    if location.only is not None:
        listed = set(map(normal_stem, location.only))
        if missing := sorted(listed - (chosen & image_of.keys())):
            message = (
                f"{name}: the split's list names stems with no image in {images}: {some(missing)}; "
                "correct the list, or fetch the missing images" + (f" ({location.note})" if location.note else "")
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
        findings += _unmatched(location, image_of, mask_of)
        findings += _not_annotated(location, mask_of)
    else:
        message = (
            f"{name}: no image left in {images} after selecting "
            f"{'all stems' if stems is None else f'stems matching {stems!r}'}"
            f"{'' if location.only is None else ' in the list'} and leaving out {len(left_out)} by exclude; "
            "exclude fewer, or name another folder"
        )
        findings.append(Finding("no image left", "error", message))
    return Matched(image_of, mask_of, tuple(findings), sorted(left_out))


def exclude_option(name: str, stems: Sequence[str]) -> str:
    """Format the `exclude` argument that leaves out some stems of a set."""
    return exclude_argument([f"{name}/{stem}" for stem in stems])


def exclude_argument(entries: Sequence[str]) -> str:
    """Format the `exclude` argument that leaves out some `NAME/stem`, as it can be typed; of many, only its form."""
    if len(entries) > NUM_LISTED:
        return "exclude=[NAME/stem,...]"
    return f"exclude=[{','.join(one if BARE.fullmatch(one) else quoted(one) for one in entries)}]"


def files_by_stem(folder: Path, name: str, kind: str) -> dict[str, list[Path]]:
    """List a folder's image files by stem; raise FileNotFoundError or ValueError without any."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{name}: the folder of {kind}s {folder} doesn't exist; check root=FOLDER and the set")
    files = by_stem(folder)
    if not files:
        raise ValueError(
            f"{name}: the folder of {kind}s {folder} is empty (no {TYPES} file in it); "
            f"{pictures_not_read(folder) or 'unpack the set there'}, or leave it out"
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


def _unmatched(location: SetLocation, image_of: Files, mask_of: Files) -> Iterator[Finding]:
    name = location.label
    for kind, files in (("image", image_of), ("mask", mask_of)):
        if twice := repeated(files):
            message = (
                f"{name}: {len(twice)} stems stand for two {kind}s each in {files[twice[0]][0].parent}: "
                f"{some('/'.join(path.name for path in files[stem]) for stem in twice)}; "
                f"remove one of each, or leave both out with {exclude_option(name, twice)}"
            )
            yield Finding(f"two {kind}s of one stem", "error", message, _all(files, twice))
    for kind, files, others, other, folder in (
        ("image", image_of, mask_of, "mask", location.masks),
        ("mask", mask_of, image_of, "image", location.images),
    ):
        alone = sorted(files.keys() - others.keys())
        if alone and location.extra_masks and kind == "mask":
            message = f"{name}: {len(alone)} masks in {location.masks} belong to no image of this split"
            yield Finding("masks of other splits", "remark", message)
        elif alone:
            message = (
                f"{name}: {len(alone)} of {len(files)} {kind}s have no {other} of the same stem in {folder}: "
                f"{some(files[stem][0].name for stem in alone)}; add the missing files, or leave these out with "
                f"{exclude_option(name, alone)}"
            )
            yield Finding(f"{kind} without {other}", "error", message, _all(files, alone))


def _not_annotated(location: SetLocation, mask_of: Files) -> Iterator[Finding]:
    """Find images without any shape, which are background throughout."""
    name = location.label
    drawings = {stem: one for stem, (one, *_) in mask_of.items() if isinstance(one, Drawing) and not one.problem}
    for is_missing, what in ((True, "file of labels"), (False, "annotation to draw")):
        empty = sorted(stem for stem, one in drawings.items() if not one.shapes and one.is_missing == is_missing)
        if empty:
            message = (
                f"{name}: {len(empty)} of {len(mask_of)} images have no {what} in {location.masks}, so they count as "
                f"background throughout: {some(empty)}; see that this is meant, or leave them out with "
                f"{exclude_option(name, empty)}"
            )
            kind = f"images without {what}"
            yield Finding(kind, "warning" if is_missing else "remark", message, _all(mask_of, empty))


def _all(files: Files, stems: Iterable[str]) -> tuple[Path, ...]:
    return tuple(name_of(path) for stem in stems for path in files[stem])
