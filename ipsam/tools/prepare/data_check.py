"""Options of configs/check_data.yaml, and the data doctor's findings as text."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from omegaconf import DictConfig
from pydantic import Field

from ipsam.data import Data
from ipsam.data.findings import SEVERITIES, Finding
from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import plain, settings_of
from ipsam.tools.prepare.doctor import Diagnosis, SetReport, diagnose
from ipsam.utils.console import counted
from ipsam.utils.files import write_json
from ipsam.utils.folders import writable_folder
from ipsam.utils.options import Options, PathOption

HEADER = ("set", "images", "masks", "pairs", "height", "width", "foreground", *(f"{word}s" for word in SEVERITIES))
FILE = "check_data.json"


class DataCheck(Options):
    """Options of configs/check_data.yaml besides the data."""

    num_workers: int = Field(ge=0)
    duplicates: bool
    out: PathOption | None


def check_data(config: DictConfig) -> Diagnosis:
    """Examine the data that configs/check_data.yaml describes.

    Raises:
        ValueError: an option is invalid.
    """
    options = DataCheck(**{name: plain(config[name]) for name in DataCheck.model_fields})
    data = settings_of(Data, config.data, "data")
    if options.out is not None:
        writable_folder(options.out, "out")  # fail before the files are read
    return diagnose(data, num_workers=options.num_workers, duplicates=options.duplicates)


def save_report(config: DictConfig, diagnosis: Diagnosis) -> None:
    """Write the findings to ``out``, if set."""
    if config.out is not None:
        write_json(Path(config.out) / FILE, diagnosis.describe())


def as_text(diagnosis: Diagnosis) -> str:
    """Format a table of the sets, all findings, and a closing line."""
    parts = [markdown(HEADER, [_row(report) for report in diagnosis.sets])] if diagnosis.sets else []
    parts += ["\n".join(_lines(one.label, one.folders, one.findings)) for one in diagnosis.sets if one.findings]
    if diagnosis.of_all:
        parts.append("\n".join(_lines("all sets", None, diagnosis.of_all)))
    errors, warnings, remarks = (counted(diagnosis.count(severity), severity) for severity in SEVERITIES)
    verdict = f"{errors}: a run would stop" if diagnosis.would_stop else "nothing that would stop a run"
    parts.append(f"{verdict}; {warnings}, {remarks} ({counted(diagnosis.num_files, 'file')} read)")
    return "\n\n".join(parts)


def _row(report: SetReport) -> list[str]:
    counts = Counter(finding.severity for finding in report.findings)
    shares = report.shares
    return [
        report.label,
        *(f"{number:,}" for number in (len(report.images), len(report.masks), report.num_pairs)),
        *(_spread([size[side] for size in report.sizes]) for side in (0, 1)),
        f"{median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})" if shares else "-",
        *(str(counts[severity]) for severity in SEVERITIES),
    ]


def _spread(pixels: Sequence[int]) -> str:
    """Format minimum, median and maximum; one number if they are equal."""
    if not pixels:
        return "-"
    return "-".join(map(str, dict.fromkeys((min(pixels), round(median(pixels)), max(pixels)))))


def _lines(label: str, folders: tuple[Path, Path] | None, findings: Sequence[Finding]) -> Iterator[str]:
    yield label if folders is None else f"{label} ({folders[0]}, {folders[1]})"
    for finding in sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)):
        yield f"  {finding.severity}, {finding.kind}: {finding.message.removeprefix(f'{label}: ')}"
