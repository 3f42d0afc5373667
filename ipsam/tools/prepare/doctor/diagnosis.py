"""Examine the data of a run: every set that it names and every file of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ipsam.data.benchmarks import SPLITS
from ipsam.data.data import SYNTHETIC, Data
from ipsam.data.findings import SEVERITIES, Finding, Severity
from ipsam.data.layouts import SetLocation, Spec, locate_set, set_name
from ipsam.data.matching import Matched, match_files
from ipsam.data.pairs import SizeMismatch, apply_size_mismatch, matched_pairs
from ipsam.tools.prepare.doctor.checks import SetReport, add_duplicate_findings, describe_finding, file_findings
from ipsam.tools.prepare.doctor.examine import File, FileFacts, examine_all


@dataclass(frozen=True)
class Diagnosis:
    """Findings about each set of a run and about all sets together."""

    sets: Sequence[SetReport]
    of_all: Sequence[Finding]
    num_files: int

    def count(self, severity: Severity) -> int:
        """Count the findings of a severity."""
        findings = [*self.of_all, *(finding for report in self.sets for finding in report.findings)]
        return sum(finding.severity == severity for finding in findings)

    @property
    def would_stop(self) -> bool:
        """Return whether a run on these data would end in an error."""
        return self.count("error") > 0

    def describe(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            "would_stop": self.would_stop,
            **{f"num_{severity}s": self.count(severity) for severity in SEVERITIES},
            "num_files": self.num_files,
            "of_all": [describe_finding(finding) for finding in self.of_all],
            "sets": [report.describe() for report in self.sets],
        }


def diagnose(data: Data, *, num_workers: int, duplicates: bool = True) -> Diagnosis:
    """Read every file of a run's data once, as the run would, and collect the findings.

    Errors are what would stop the run, in ``Data.train_and_val``, in ``Data.test_sets`` or while reading a sample.

    Args:
        data: what to examine.
        num_workers: worker processes; 0 reads in this process.
        duplicates: look for copies of training images in all sets.

    Raises:
        ValueError: two test sets have the same name.
    """
    data.test_names()
    sets = [_locate(data, spec, split) for split in SPLITS for spec in getattr(data, split)]
    files = list(dict.fromkeys(file for one in sets for file in (*one.images, *one.masks)))
    facts = examine_all(files, num_workers=num_workers)
    reports = [_report(one, facts) for one in sets]
    if duplicates:
        add_duplicate_findings(reports)
    of_all = []
    if data.val_fraction:
        try:
            data.num_held_out(sum(report.num_pairs for report in reports if report.split == "train"))
        except ValueError as error:
            of_all.append(Finding("nothing to train on", "error", str(error)))
    return Diagnosis(reports, of_all, len(files))


@dataclass(frozen=True)
class _Set:
    """A set before its files are read; without location and files if it is unusable or generated."""

    report: SetReport
    size_mismatch: SizeMismatch = "error"
    location: SetLocation | None = None
    matched: Matched | None = None

    @property
    def images(self) -> list[File]:
        found = {} if self.matched is None else self.matched.images
        return [File(one, "image", stem) for stem, of in found.items() for one in of]

    @property
    def masks(self) -> list[File]:
        """Masks without those of other splits in the same folder."""
        if self.location is None or self.matched is None:
            return []
        others = self.matched.masks.keys() - self.matched.images.keys() if self.location.extra_masks else set()
        return [File(one, "mask", stem) for stem, of in self.matched.masks.items() if stem not in others for one in of]


def _locate(data: Data, spec: Spec, split: str) -> _Set:
    """Find a set's folders and match its files, with the findings so far."""
    report = SetReport(f"{set_name(spec)}/{split}", split)
    if spec == SYNTHETIC:
        synthetic = data.synthetic
        report.num_pairs = synthetic.num_train if split == "train" else synthetic.num_test
        report.findings.append(Finding("synthetic", "remark", f"{report.label}: made on the fly, no files to read"))
        return _Set(report)
    try:
        location = locate_set(spec, split, data.root)
        report.findings += location.findings
        size_mismatch = data.size_mismatch or location.size_mismatch
        matched = match_files(location, data.exclude)
    except (ValueError, OSError) as error:
        kind = "set not found" if isinstance(error, FileNotFoundError) else "unusable set"
        report.findings.append(Finding(kind, "error", str(error)))
        return _Set(report)
    report.folders = location.images, location.masks
    report.findings += matched.findings
    return _Set(report, size_mismatch, location, matched)


def _report(one: _Set, facts: Mapping[File, FileFacts]) -> SetReport:
    """Complete a set's report with the facts about its files."""
    report, location, matched = one.report, one.location, one.matched
    if location is None or matched is None:
        return report
    pairs = matched_pairs(matched)
    files = [*one.images, *one.masks]
    headers = {file.stored: header for file in files if (header := facts[file].header) is not None}
    readable = [pair for pair in pairs if pair.image in headers and pair.mask in headers]
    kept, findings = apply_size_mismatch(readable, headers, report.label, one.size_mismatch)
    left_out = {path for pair in readable for path in (pair.image, pair.mask)}
    left_out -= {path for pair in kept for path in (pair.image, pair.mask)}
    report.images = [facts[file] for file in one.images if file.stored not in left_out]
    report.masks = [facts[file] for file in one.masks if file.stored not in left_out]
    report.num_pairs = len(pairs) - (len(readable) - len(kept))
    report.findings += findings
    report.findings += location.other_number(report.num_pairs)
    report.findings += file_findings(report)
    return report
