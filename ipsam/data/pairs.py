"""Find image/mask pairs in two folders, and refuse to guess where files do not fit."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ipsam.data.files import hxw, some
from ipsam.data.findings import Finding, Severity, log_or_raise
from ipsam.data.images import FOREGROUND_ABOVE, Header, image_headers, read_mask
from ipsam.data.items import Stored, name_of
from ipsam.data.matching import Matched, SetLocation, SizeMismatch, Stems, exclude_option, match_files

NUM_CHECKED_MASKS = 32  # of each set, when looking for inverted masks

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pair:
    """Image and its mask: files, or items within files."""

    stem: str
    image: Stored
    mask: Stored


class Pairs(list[Pair]):
    """Pairs of a set; ``left_out`` holds the stems of those that were left out, by the reason."""

    left_out: Mapping[str, list[str]] = MappingProxyType({})


def find_pairs(location: SetLocation, *, exclude: Stems = (), size_mismatch: SizeMismatch | None = None) -> Pairs:
    """Pair the images and masks of a set by stem; sorted by stem.

    Args:
        location: the set's folders, and which of their files belong to it.
        exclude: stems to leave out; their number is logged. A bare stem must exist. `NAME/stem` concerns the set of
            that name alone; for a set labelled `NAME/split`, it leaves out the stem if that split has it.
        size_mismatch: what to do if image and mask differ in size: `error`; `resize` keeps the pair, scored at the
            mask's size; `exclude` leaves it out; None: the set's own default. The number of pairs concerned is logged.

    Raises:
        FileNotFoundError: a folder does not exist.
        ValueError: a folder or the selection is empty; two files share a stem; an image has no mask or a mask no image;
            a folder, a header or a name cannot be read; sizes differ; ``exclude`` or the set's list name missing stems.
    """
    name, matched = location.label, match_files(location, exclude)
    log_or_raise(matched.findings, logger)
    pairs = matched_pairs(matched)
    headers: dict[Stored, Header] = {}
    broken: dict[str, list[str]] = defaultdict(list)
    files = [(pair.stem, path) for pair in pairs for path in (pair.image, pair.mask)]
    for (stem, path), header in zip(files, image_headers([path for _, path in files]), strict=True):
        if isinstance(header, Exception):
            broken[stem].append(str(header))
        else:
            headers[path] = header
    if broken:
        raise ValueError(unreadable_pairs(broken, len(pairs), name))
    kept, findings = apply_size_mismatch(pairs, headers, name, size_mismatch or location.size_mismatch)
    log_or_raise(findings, logger)
    found = Pairs(kept)
    differing = sorted({pair.stem for pair in pairs} - {pair.stem for pair in kept})
    reasons = {"by exclude": matched.left_out, "of another size than their mask (size_mismatch=exclude)": differing}
    found.left_out = {reason: stems for reason, stems in reasons.items() if stems}
    return found


def warn_if_inverted(masks: Mapping[str, Stored], name: str, above: int = FOREGROUND_ABOVE) -> None:
    """Log a warning if the masks look inverted: in most of them, most of the border is foreground.

    Reads at most 32 masks, evenly spaced over the set; values above ``above`` are foreground.

    Raises:
        FileNotFoundError, ValueError: a mask cannot be read, see `read_mask`.
    """
    stems = list(masks)
    chosen = np.unique(np.linspace(0, len(stems) - 1, min(len(stems), NUM_CHECKED_MASKS)).round().astype(int))
    read = [masks[stems[index]] for index in chosen]
    inverted = [path for path in read if border_is_foreground(read_mask(path, above))]
    log_or_raise(inverted_masks(inverted, len(read), name), logger)


def matched_pairs(matched: Matched) -> list[Pair]:
    """Return the pairs among matched files, sorted by stem; of several files of one stem the first is used."""
    both = sorted(matched.images.keys() & matched.masks.keys())
    return [Pair(stem, matched.images[stem][0], matched.masks[stem][0]) for stem in both]


def unreadable_pairs(reasons: Mapping[str, Sequence[str]], num_pairs: int, name: str) -> str:
    """Format the message about unreadable files, whose reasons are given by stem."""
    listed = some(dict.fromkeys(reason for of_pair in reasons.values() for reason in of_pair))
    return (
        f"{name}: {len(reasons)} of {num_pairs} pairs can't be read: {listed}; "
        f"or leave them out with {exclude_option(name, list(reasons))}"
    )


def apply_size_mismatch(
    pairs: Sequence[Pair], headers: Mapping[Stored, Header], name: str, size_mismatch: SizeMismatch
) -> tuple[list[Pair], list[Finding]]:
    """Return the pairs that ``size_mismatch`` keeps, and findings about those whose image and mask do not fit."""
    if size_mismatch not in get_args(SizeMismatch):
        raise ValueError(f"size_mismatch={size_mismatch} is none of {', '.join(get_args(SizeMismatch))}")
    differing = [pair for pair in pairs if headers[pair.image].size != headers[pair.mask].size]
    findings = _turned(pairs, headers, name, size_mismatch)
    if size_mismatch == "error":
        told = {path for finding in findings for path in finding.files}
        if differing := [pair for pair in differing if name_of(pair.image) not in told]:
            message = (
                f"{name}: in {len(differing)} of {len(pairs)} pairs image and mask differ in size (height x width): "
                f"{_sizes(differing, headers)}; resize them with size_mismatch=resize, leave them out with "
                f"size_mismatch=exclude, or {exclude_option(name, [pair.stem for pair in differing])}"
            )
            findings.append(Finding("size mismatch", "error", message, _files(differing)))
        return list(pairs), findings
    if not differing:
        return list(pairs), findings
    resize = size_mismatch == "resize"
    done = "scored at the mask's size" if resize else "left out"
    message = (
        f"{name}: {len(differing)} of {len(pairs)} pairs differ in size and are {done} "
        f"(size_mismatch={size_mismatch}): {_sizes(differing, headers)}"
    )
    findings.append(Finding("size mismatch", "remark", message, _files(differing)))
    dropped = set() if resize else set(differing)
    kept = [pair for pair in pairs if pair not in dropped]
    if not kept:
        message = f"{name}: size_mismatch=exclude leaves no pair; use size_mismatch=resize"
        findings.append(Finding("no pair left", "error", message))
    return kept, findings


def _turned(
    pairs: Sequence[Pair], headers: Mapping[Stored, Header], name: str, size_mismatch: SizeMismatch
) -> list[Finding]:
    """Find pairs that fit, or fit as well, if their EXIF orientation is applied: the mask may have been drawn so."""
    torn: list[Pair] = []
    unclear: list[Pair] = []
    findings: list[Finding] = []
    for pair in pairs:
        image, mask = headers[pair.image], headers[pair.mask]
        if image.orientation != mask.orientation and image.upright == mask.upright:
            (unclear if image.size == mask.size else torn).append(pair)

    def message(found: Sequence[Pair], what: str) -> str:
        shown = some(f"{one.image.name} {headers[one.image].orientation}" for one in found)
        return (
            f"{name}: in {len(found)} of {len(pairs)} pairs {what} (orientation: {shown}); save both upright, as "
            f"PIL.ImageOps.exif_transpose does, or leave them out with "
            f"{exclude_option(name, [pair.stem for pair in found])}"
        )

    if torn and size_mismatch != "exclude":
        what = (
            f"the mask fits the image only as turned by its EXIF orientation, which is ignored: {_sizes(torn, headers)}"
        )
        severity: Severity = "error" if size_mismatch == "error" else "warning"
        findings.append(Finding("torn by EXIF orientation", severity, message(torn, what), _files(torn)))
    if unclear:
        what = "image and mask differ in EXIF orientation, which is ignored, and may be turned against each other"
        findings.append(Finding("EXIF orientations differ", "warning", message(unclear, what), _files(unclear)))
    return findings


def _sizes(pairs: Sequence[Pair], headers: Mapping[Stored, Header]) -> str:
    return some(
        f"{pair.image.name} {hxw(headers[pair.image].size)} with mask {hxw(headers[pair.mask].size)}" for pair in pairs
    )


def _files(pairs: Sequence[Pair]) -> tuple[Path, ...]:
    return tuple(name_of(path) for pair in pairs for path in (pair.image, pair.mask))


def border_is_foreground(mask: NDArray[np.uint8]) -> bool:
    """Tell whether most of the one-pixel border of a mask (H, W) is foreground."""
    on_border = np.ones(mask.shape, dtype=bool)
    on_border[1:-1, 1:-1] = False
    return bool((mask[on_border] > 0).mean() > 0.5)


def inverted_masks(inverted: Sequence[Stored], num_masks: int, name: str) -> list[Finding]:
    """Return a warning if more than half of the checked masks have most of their border in the foreground."""
    if len(inverted) <= num_masks / 2:
        return []
    message = (
        f"{name}: the masks look inverted: in {len(inverted)} of {num_masks} ({len(inverted) / num_masks:.0%}) "
        f"most of the border is foreground (e.g. {name_of(inverted[0])}). "
        "Objects must be 255 and background 0; if they are the other way round, save each mask as 255 - mask."
    )
    return [Finding("inverted masks", "warning", message, tuple(map(name_of, inverted)))]
