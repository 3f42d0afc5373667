"""Pictures that a run would both learn from and be tested on, or learn from twice."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.files import normal_stem, some
from ipsam.data.findings import Finding
from ipsam.data.matching import exclude_argument
from ipsam.tools.prepare.doctor.copies import copies, repetitions
from ipsam.tools.prepare.doctor.fingerprint import Fingerprint
from ipsam.tools.prepare.doctor.reports import SetReport


@dataclass(frozen=True)
class _Picture:
    label: str
    path: Path
    fingerprint: Fingerprint

    @property
    def entry(self) -> str:
        return f"{self.label}/{normal_stem(self.path.stem)}"


def add_same_pictures(reports: Sequence[SetReport]) -> None:
    """Add to each report which of its pictures are trained on too, or are trained on already."""
    trained = [picture for report in reports if report.split == "train" for picture in _pictures(report)]
    known = [picture.fingerprint for picture in trained]
    again = [(trained[one], [trained[other]]) for one, other in repetitions(known)]
    for report in reports:
        if report.split == "train":
            found = [(one, others) for one, others in again if one.label == report.label]
        else:
            own = _pictures(report)
            same = copies([picture.fingerprint for picture in own], known)
            found = [(own[one], [trained[other] for other in others]) for one, others in same]
        if found:
            report.findings.append(_finding(report, found))


def _pictures(report: SetReport) -> list[_Picture]:
    return [
        _Picture(report.label, facts.file.path, facts.fingerprint)
        for facts in report.images
        if facts.fingerprint is not None
    ]


def _finding(report: SetReport, found: Sequence[tuple[_Picture, Sequence[_Picture]]]) -> Finding:
    shown = some(f"{one.path.name} ({others[0].path.name} of {others[0].label})" for one, others in found)
    files = tuple(picture.path for one, others in found for picture in (one, *others))
    share = f"{report.label}: {len(found)} of {len(report.images)} images"
    if report.split == "train":
        option = exclude_argument([one.entry for one, _ in found])
        message = f"{share} show what another training image shows: {shown}; leave them out with {option}"
        return Finding("training images twice", "remark", message, files)
    option = exclude_argument(sorted({other.entry for _, others in found for other in others}))
    message = (
        f"{share} are among the training images too, which makes for better scores than on new ones: {shown}; "
        f"leave the training images out with {option}"
    )
    return Finding("tested on training images", "warning", message, files)
