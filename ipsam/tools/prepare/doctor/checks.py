"""Report of one split of a set, and the findings about its files beyond the matching of pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipsam.data.decoding.limits import Size
from ipsam.data.files import FORMATS, some
from ipsam.data.findings import Finding, Severity
from ipsam.data.matching import exclude_argument, exclude_option
from ipsam.data.pairs import inverted_masks, unreadable_pairs
from ipsam.tools.prepare.doctor.duplicates import ImageHash, find_copies, find_repetitions
from ipsam.tools.prepare.doctor.examine import FileFacts

ODDITIES = {
    "CMYK": "are in CMYK, whose conversion to RGB may change the colours; save them as RGB",
    "alpha": "have an alpha channel or a transparent colour, which is ignored; see that the hidden pixels are meant",
    "multi-page": "have several pages or frames, of which the first is read; see that it is the one meant",
    "16-bit": "have 16 bits, of which the higher 8 are used; nothing need be done",
}
NUM_LEVELS = 6  # grey values named in a message


@dataclass
class SetReport:
    """Findings about one split of one set.

    Attributes:
        label: ``NAME/split``.
        split: ``train``, ``val`` or ``test``.
        folders: of images and masks; None if not found or generated.
        images, masks: facts about the files, without the pairs that a run leaves out.
    """

    label: str
    split: str
    folders: tuple[Path, Path] | None = None
    images: Sequence[FileFacts] = ()
    masks: Sequence[FileFacts] = ()
    num_pairs: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sizes(self) -> list[Size]:
        """Sizes (height, width) of the images."""
        return [facts.size for facts in self.images if facts.size is not None]

    @property
    def shares(self) -> list[float]:
        """Shares of foreground in the masks."""
        return [facts.mask.share for facts in self.masks if facts.mask is not None]

    def describe(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "set": self.label,
            "folders": None if self.folders is None else [str(folder) for folder in self.folders],
            "num_images": len(self.images),
            "num_masks": len(self.masks),
            "num_pairs": self.num_pairs,
            "findings": [describe_finding(finding) for finding in self.findings],
        }


def describe_finding(finding: Finding) -> dict[str, Any]:
    """Return plain values for JSON."""
    return vars(finding) | {"files": [str(path) for path in finding.files]}


def file_findings(report: SetReport) -> Iterator[Finding]:
    """Yield what is wrong with a set's files or worth knowing."""
    files = [*report.images, *report.masks]
    if unreadable := [facts for facts in files if facts.fault == "unreadable"]:
        reasons: dict[str, list[str]] = defaultdict(list)
        for facts in unreadable:
            reasons[facts.file.stem].append(facts.reason)
        message = unreadable_pairs(reasons, report.num_pairs, report.label)
        yield Finding("unreadable file", "error", message, _paths(unreadable))
    if refused := [facts for facts in report.masks if facts.fault == "mask values"]:
        message = f"{len(refused)} of {len(report.masks)} masks hold other values than a mask may: "
        message += f"{some(facts.reason for facts in refused)}; or leave them out with {_exclude(report, refused)}"
        yield _finding(report, "values of no mask", "error", refused, message)
    yield from _mask_findings(report)
    turned = [facts for facts in files if facts.orientation != 1]
    if exif := [facts for facts in turned if facts.format != "TIFF"]:
        message = (
            f"{len(exif)} of {len(files)} files carry an EXIF orientation other than 1, which is ignored, since image "
            f"and mask are aligned as stored: {_orientations(exif)}; see that this is so, or save both upright"
        )
        yield _finding(report, "EXIF orientation", "remark", exif, message)
    if tiff := [facts for facts in turned if facts.format == "TIFF"]:
        message = (
            f"{len(tiff)} of {len(files)} files are TIFFs with an orientation other than 1, which are turned when "
            f"read, unlike other files: {_orientations(tiff)}; see that image and mask agree, or save both upright"
        )
        yield _finding(report, "TIFF orientation", "warning", tiff, message)
    if other := [facts for facts in files if facts.format not in ("", *_formats_of_name(facts))]:
        shown = some(f"{facts.file.path.name} is {facts.format}" for facts in other)
        message = (
            f"{len(other)} of {len(files)} files are of another type than their name says: {shown}; "
            "their content decides how they are read, so nothing need be done"
        )
        yield _finding(report, "another file type inside", "remark", other, message)
    for oddity, effect in ODDITIES.items():
        if odd := [facts for facts in files if facts.oddity == oddity and facts.fault is None]:
            message = f"{len(odd)} of {len(files)} files {effect}: {_names(odd)}"
            yield _finding(report, f"{oddity} picture", "remark", odd, message)


def _mask_findings(report: SetReport) -> Iterator[Finding]:
    known = [(facts, facts.mask) for facts in report.masks if facts.mask is not None]
    if soft := [facts for facts, mask in known if mask.between]:
        levels = Counter(level for _, mask in known for level in mask.between)
        often = sorted(level for level, _ in levels.most_common(NUM_LEVELS))
        more = f" and {len(levels) - len(often)} more" if len(levels) > len(often) else ""
        largest, most = max(((mask.share_between, facts) for facts, mask in known), key=lambda pair: pair[0])
        message = (
            f"{len(soft)} of {len(known)} masks have values other than 0 and 255 ({', '.join(map(str, often))}{more}), "
            f"at most in {largest:.2%} of the pixels ({most.file.path.name}): {_names(soft)}; what is above 128 is "
            "foreground, so see that these are edges and no labels"
        )
        yield _finding(report, "masks not binary", "warning", soft, message)
    for kind, share, what in (("empty masks", 0.0, "no foreground"), ("full masks", 1.0, "no background")):
        if found := [facts for facts, mask in known if mask.share == share]:
            message = (
                f"{len(found)} of {len(known)} masks have {what}: {_names(found)}; see that this is meant, or leave "
                f"them out with {_exclude(report, found)}"
            )
            yield _finding(report, kind, "warning", found, message)
    inverted = inverted_masks([facts.file.stored for facts, mask in known if mask.border], len(known), report.label)
    yield from inverted
    suspects = [facts for facts, mask in known if mask.border and mask.share < 1]
    if suspects and not inverted:
        message = (
            f"in {len(suspects)} of {len(known)} masks most of the border is foreground: {_names(suspects)}; "
            "look whether the object fills the image, or the mask is inverted"
        )
        yield _finding(report, "inverted masks", "remark", suspects, message)


@dataclass(frozen=True)
class _Image:
    label: str
    path: Path
    stem: str
    hash: ImageHash


def add_duplicate_findings(reports: Sequence[SetReport]) -> None:
    """Add to each report the images that occur in the training sets too, or twice there."""
    train = [image for report in reports if report.split == "train" for image in _images(report)]
    hashes = [image.hash for image in train]
    repetitions = [(train[index], [train[earlier]]) for index, earlier in find_repetitions(hashes)]
    for report in reports:
        if report.split == "train":
            found = [(image, others) for image, others in repetitions if image.label == report.label]
        else:
            own = _images(report)
            copies = find_copies([image.hash for image in own], hashes)
            found = [(own[index], [train[other] for other in others]) for index, others in copies]
        if not found:
            continue
        count = f"{len(found)} of {len(report.images)} images"
        shown = some(f"{image.path.name} ({others[0].path.name} of {others[0].label})" for image, others in found)
        paths = tuple(copy.path for image, others in found for copy in (image, *others))
        if report.split == "train":
            exclude = exclude_argument([f"{image.label}/{image.stem}" for image, _ in found])
            message = f"{count} are copies of another training image: {shown}; leave them out with {exclude}"
            finding = Finding("training images twice", "remark", f"{report.label}: {message}", paths)
        else:
            exclude = exclude_argument(sorted({f"{copy.label}/{copy.stem}" for _, others in found for copy in others}))
            message = (
                f"{count} are among the training images too, which raises the scores: {shown}; "
                f"leave the training images out with {exclude}"
            )
            finding = Finding("tested on training images", "warning", f"{report.label}: {message}", paths)
        report.findings.append(finding)


def _images(report: SetReport) -> list[_Image]:
    hashed = [(facts.file, facts.hash) for facts in report.images if facts.hash is not None]
    return [_Image(report.label, file.path, file.stem, value) for file, value in hashed]


def _finding(report: SetReport, kind: str, severity: Severity, found: Sequence[FileFacts], message: str) -> Finding:
    return Finding(kind, severity, f"{report.label}: {message}", _paths(found))


def _paths(found: Sequence[FileFacts]) -> tuple[Path, ...]:
    return tuple(facts.file.path for facts in found)


def _names(found: Sequence[FileFacts]) -> str:
    return some(facts.file.path.name for facts in found)


def _formats_of_name(facts: FileFacts) -> Sequence[str]:
    """Return the formats that a file's name allows; an item has no such name."""
    return FORMATS.get(facts.file.path.suffix.lower(), (facts.format,))


def _orientations(found: Sequence[FileFacts]) -> str:
    return some(f"{facts.file.path.name} {facts.orientation}" for facts in found)


def _exclude(report: SetReport, found: Sequence[FileFacts]) -> str:
    return exclude_option(report.label, [facts.file.stem for facts in found])
