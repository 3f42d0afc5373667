"""What the files of one set come to: findings about what is in them, beyond what keeps them from being pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ipsam.data.files import normal_stem, some
from ipsam.data.findings import Finding, Severity
from ipsam.data.matching import exclude_option
from ipsam.data.pairs import inverted_masks, unreadable_pairs
from ipsam.tools.prepare.doctor.probe import Facts

# What a file is by its ending, as Pillow calls what is inside; MPO is a JPEG with further pictures behind the first.
FORMATS = {
    ".jpg": ("JPEG", "MPO"),
    ".jpeg": ("JPEG", "MPO"),
    ".png": ("PNG",),
    ".bmp": ("BMP", "DIB"),
    ".tif": ("TIFF",),
    ".tiff": ("TIFF",),
}
ODDITIES = {
    "CMYK": "are in CMYK, whose conversion to RGB may not give the colours meant; save them as RGB",
    "alpha": "have an alpha channel or a transparent colour, which is ignored; see that what it covers is meant",
    "multi-page": "have several pages or frames, of which the first is read; see that it is the one meant",
    "16-bit": "have 16 bits, of which the higher 8 are used; nothing need be done",
}
NUM_LEVELS = 6  # grey values named


def file_findings(name: str, images: Sequence[Facts], masks: Sequence[Facts], num_pairs: int) -> Iterator[Finding]:
    """What was found in the files of the set `name`, which has `num_pairs` pairs."""
    files = [*images, *masks]
    yield from _unusable(name, files, masks, num_pairs)
    yield from _mask_findings(name, masks)
    if turned := [facts for facts in files if facts.orientation != 1 and facts.format != "TIFF"]:
        shown = some(f"{facts.file.path.name} {facts.orientation}" for facts in turned)
        message = (
            f"{name}: {len(turned)} of {len(files)} files carry an EXIF orientation other than 1, which is ignored, "
            f"since image and mask are aligned as stored: {shown}; see that this is so, or save both upright"
        )
        yield _finding("EXIF orientation", "remark", message, turned)
    if turned := [facts for facts in files if facts.orientation != 1 and facts.format == "TIFF"]:
        shown = some(f"{facts.file.path.name} {facts.orientation}" for facts in turned)
        message = (
            f"{name}: {len(turned)} of {len(files)} files are TIFFs with an orientation other than 1, which are turned "
            f"when read, unlike other files: {shown}; see that image and mask agree, or save both upright"
        )
        yield _finding("TIFF orientation", "warning", message, turned)
    if other := [facts for facts in files if facts.format and facts.format not in _by_name(facts)]:
        shown = some(f"{facts.file.path.name} is {facts.format}" for facts in other)
        message = (
            f"{name}: {len(other)} of {len(files)} files are of another type than their name says: {shown}; "
            "they are read by what is inside, so nothing need be done"
        )
        yield _finding("another file type inside", "remark", message, other)
    for oddity, means in ODDITIES.items():
        if odd := [facts for facts in files if facts.oddity == oddity and facts.fault is None]:
            message = f"{name}: {len(odd)} of {len(files)} files {means}: {_names(odd)}"
            yield _finding(f"{oddity} picture", "remark", message, odd)


def _unusable(name: str, files: Sequence[Facts], masks: Sequence[Facts], num_pairs: int) -> Iterator[Finding]:
    """What a run would stop at."""
    if unreadable := [facts for facts in files if facts.fault == "unreadable"]:
        reasons: dict[str, list[str]] = defaultdict(list)
        for facts in unreadable:
            reasons[normal_stem(facts.file.path.stem)].append(facts.reason)
        yield _finding("unreadable file", "error", unreadable_pairs(reasons, num_pairs, name), unreadable)
    if refused := [facts for facts in masks if facts.fault == "mask values"]:
        message = (
            f"{name}: {len(refused)} of {len(masks)} masks hold other values than a mask may: "
            f"{some(facts.reason for facts in refused)}; or leave them out with "
            f"{exclude_option(name, [normal_stem(facts.file.path.stem) for facts in refused])}"
        )
        yield _finding("values of no mask", "error", message, refused)


def _mask_findings(name: str, masks: Sequence[Facts]) -> Iterator[Finding]:
    known = [(facts, facts.mask) for facts in masks if facts.mask is not None]
    if soft := [facts for facts, mask in known if mask.between]:
        levels = Counter(level for _, mask in known for level in mask.between)
        often = sorted(level for level, _ in levels.most_common(NUM_LEVELS))
        shown = ", ".join(map(str, often)) + (
            f" and {len(levels) - len(often)} more" if len(levels) > len(often) else ""
        )
        largest, most = max(((mask.share_between, facts) for facts, mask in known), key=lambda pair: pair[0])
        message = (
            f"{name}: {len(soft)} of {len(known)} masks have values other than 0 and 255 ({shown}), at most in "
            f"{largest:.2%} of the pixels ({most.file.path.name}): {_names(soft)}; what is above 128 is foreground, so "
            "see that these are edges and no labels"
        )
        yield _finding("masks not binary", "warning", message, soft)
    for kind, share, what in (("empty masks", 0.0, "no foreground"), ("full masks", 1.0, "no background")):
        if found := [facts for facts, mask in known if mask.share == share]:
            message = (
                f"{name}: {len(found)} of {len(known)} masks have {what}: {_names(found)}; see that this is meant, or "
                f"leave them out with {exclude_option(name, [normal_stem(facts.file.path.stem) for facts in found])}"
            )
            yield _finding(kind, "warning", message, found)
    inverted = inverted_masks([facts.file.path for facts, mask in known if mask.border], len(known), name)
    yield from inverted
    suspects = [facts for facts, mask in known if mask.border and mask.share < 1]  # full ones are told of above
    if suspects and not inverted:
        message = (
            f"{name}: in {len(suspects)} of {len(known)} masks most of the border is foreground: {_names(suspects)}; "
            "look whether the object fills the image, or the mask is inverted"
        )
        yield _finding("inverted masks", "remark", message, suspects)


def _by_name(facts: Facts) -> tuple[str, ...]:
    return FORMATS[facts.file.path.suffix.lower()]


def _finding(kind: str, severity: Severity, message: str, found: Sequence[Facts]) -> Finding:
    return Finding(kind, severity, message, tuple(facts.file.path for facts in found))


def _names(found: Sequence[Facts]) -> str:
    return some(facts.file.path.name for facts in found)
