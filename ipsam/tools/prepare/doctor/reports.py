"""What the data doctor has to say."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipsam.data.findings import SEVERITIES, Finding, Severity
from ipsam.data.pairs import Size
from ipsam.tools.prepare.doctor.probe import Facts


@dataclass
class SetReport:
    """What is found of one split of one set.

    Attributes:
        label: `NAME/split`.
        split: `train`, `val` or `test`.
        folders: of images and masks; None where the set was not found, or has none.
        images, masks: what its files are found to be, but for those of pairs that a run leaves out.
        num_pairs: how many images and masks belong together.
        findings: in the order found.
    """

    label: str
    split: str
    folders: tuple[Path, Path] | None = None
    images: Sequence[Facts] = ()
    masks: Sequence[Facts] = ()
    num_pairs: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sizes(self) -> list[Size]:
        """Of the images."""
        return [facts.size for facts in self.images if facts.size is not None]

    @property
    def shares(self) -> list[float]:
        """Of foreground in the masks."""
        return [facts.mask.share for facts in self.masks if facts.mask is not None]

    def number(self, severity: Severity) -> int:
        """How many findings of that severity there are."""
        return sum(finding.severity == severity for finding in self.findings)

    def describe(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "set": self.label,
            "folders": None if self.folders is None else [str(folder) for folder in self.folders],
            "num_images": len(self.images),
            "num_masks": len(self.masks),
            "num_pairs": self.num_pairs,
            "findings": [_described(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class Diagnosis:
    """What is found of the data of a run: of each set, and of all together."""

    sets: Sequence[SetReport]
    of_all: Sequence[Finding]
    num_files: int

    def number(self, severity: Severity) -> int:
        """How many findings of that severity there are."""
        return sum(one.number(severity) for one in self.sets) + sum(f.severity == severity for f in self.of_all)

    @property
    def would_stop(self) -> bool:
        """Whether a run on these data would end in an error."""
        return self.number("error") > 0

    def describe(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "would_stop": self.would_stop,
            **{f"num_{severity}s": self.number(severity) for severity in SEVERITIES},
            "num_files": self.num_files,
            "of_all": [_described(finding) for finding in self.of_all],
            "sets": [one.describe() for one in self.sets],
        }


def _described(finding: Finding) -> dict[str, Any]:
    files = [str(path) for path in finding.files]
    return {"kind": finding.kind, "severity": finding.severity, "message": finding.message, "files": files}
