"""Examining the data of a run: every set it names, every file of theirs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ipsam.data.benchmarks import SPLITS
from ipsam.data.data import SYNTHETIC, Data, Synthetic
from ipsam.data.findings import Finding
from ipsam.data.layouts import SetLocation, Spec, locate_set, set_name
from ipsam.data.matching import Matched, match_files
from ipsam.data.pairs import SizeMismatch, apply_size_mismatch, check_size_mismatch, matched_pairs
from ipsam.tools.prepare.doctor.checks import file_findings
from ipsam.tools.prepare.doctor.probe import Facts, File
from ipsam.tools.prepare.doctor.reading import examine_all
from ipsam.tools.prepare.doctor.reports import Diagnosis, SetReport
from ipsam.tools.prepare.doctor.same_pictures import add_same_pictures


def diagnose(data: Data, *, num_workers: int, duplicates: bool = True) -> Diagnosis:
    """Read every file of a run's data once, as the run would, and collect all that is found.

    An error is what would stop the run: in `Data.train_and_val`, in `Data.test_sets` or in the reading of a sample.

    Args:
        data: what to examine.
        num_workers: processes that read; 0 for none but this one.
        duplicates: look for pictures that are both trained and tested on, or trained on twice.

    Raises:
        ValueError: two test sets have the same name.
    """
    data.test_names()
    sets = [_look_up(data, spec, split) for split in SPLITS for spec in getattr(data, split)]
    files = list(dict.fromkeys(file for one in sets for file in (*one.images, *one.masks)))
    facts = examine_all(files, num_workers=num_workers)
    reports = [_examined(one, facts) for one in sets]
    if duplicates:
        add_same_pictures(reports)
    return Diagnosis(reports, list(_of_all(data, reports)), len(files))


@dataclass(frozen=True)
class _Set:
    """A set before its files are read; without location and files if it can't be used, or has none."""

    report: SetReport
    size_mismatch: SizeMismatch = "error"
    location: SetLocation | None = None
    matched: Matched | None = None

    @property
    def images(self) -> list[File]:
        """All images of its own."""
        return (
            [] if self.matched is None else [File(path, "image") for of in self.matched.images.values() for path in of]
        )

    @property
    def masks(self) -> list[File]:
        """All masks of its own."""
        if self.location is None or self.matched is None:
            return []
        of_others = self.matched.masks.keys() - self.matched.images.keys() if self.location.extra_masks else set()
        return [File(path, "mask") for stem, of in self.matched.masks.items() if stem not in of_others for path in of]


def _look_up(data: Data, spec: Spec, split: str) -> _Set:
    """A set's folders and files, with what is found before any is opened."""
    report = SetReport(f"{set_name(spec)}/{split}", split)
    if spec == SYNTHETIC:
        synthetic = Synthetic(**data.synthetic)
        report.num_pairs = synthetic.num_train if split == "train" else synthetic.num_test
        report.findings.append(Finding("synthetic", "remark", f"{report.label}: made on the fly, no files to read"))
        return _Set(report)
    try:
        location = locate_set(spec, split, data.root)
        report.findings += location.findings
        size_mismatch = data.size_mismatch or location.size_mismatch
        check_size_mismatch(size_mismatch)
        matched = match_files(
            location.images,
            location.masks,
            name=location.label,
            stems=location.stems,
            exclude=data.exclude,
            only=location.only,
            extra_masks=location.extra_masks,
        )
    except (ValueError, OSError) as error:
        kind = "set not found" if isinstance(error, FileNotFoundError) else "unusable set"
        report.findings.append(Finding(kind, "error", str(error)))
        return _Set(report)
    report.folders = location.images, location.masks
    report.findings += matched.findings
    return _Set(report, size_mismatch, location, matched)


def _examined(one: _Set, facts: Mapping[File, Facts]) -> SetReport:
    """A set's report, given what its files are found to be."""
    report, location, matched = one.report, one.location, one.matched
    if location is None or matched is None:
        return report
    pairs = matched_pairs(matched)
    sizes = {file.path: size for file in (*one.images, *one.masks) if (size := facts[file].size) is not None}
    with_size = [pair for pair in pairs if pair.image in sizes and pair.mask in sizes]
    kept, findings = apply_size_mismatch(with_size, sizes, report.label, one.size_mismatch)
    left_out = {path for pair in with_size for path in (pair.image, pair.mask)}
    left_out -= {path for pair in kept for path in (pair.image, pair.mask)}
    report.images = [facts[file] for file in one.images if file.path not in left_out]
    report.masks = [facts[file] for file in one.masks if file.path not in left_out]
    report.num_pairs = len(pairs) - (len(with_size) - len(kept))
    report.findings += findings
    report.findings += location.other_number(report.num_pairs)
    report.findings += file_findings(report.label, report.images, report.masks, report.num_pairs)
    return report


def _of_all(data: Data, reports: Sequence[SetReport]) -> Iterator[Finding]:
    """What concerns the sets together."""
    if data.val_fraction:
        try:
            data.num_held_out(sum(report.num_pairs for report in reports if report.split == "train"))
        except ValueError as error:
            yield Finding("nothing to train on", "error", str(error))
