"""The data doctor at the command line: what it is asked, and what it prints and writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from omegaconf import DictConfig

from ipsam.data import Data
from ipsam.data.findings import SEVERITIES, Finding
from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import plain, settings_of
from ipsam.engine.runs.options import path_or_none, true_or_false, whole_number
from ipsam.tools.prepare.doctor import Diagnosis, SetReport, diagnose
from ipsam.utils.files import write_json
from ipsam.utils.folders import writable_folder

HEADER = ("set", "images", "masks", "pairs", "height", "width", "foreground", *(f"{word}s" for word in SEVERITIES))
FILE = "check_data.json"


@dataclass(frozen=True, kw_only=True)
class DataCheck:
    """What to examine and how, see configs/check_data.yaml."""

    data: Data
    num_workers: int
    duplicates: bool
    out: Path | None

    @classmethod
    def of(cls, config: DictConfig) -> "DataCheck":
        """What the configuration says; ValueError where a value is impossible."""
        out = path_or_none("out", plain(config.out))
        return cls(
            data=settings_of(Data, config.data, "data"),
            num_workers=whole_number("num_workers", plain(config.num_workers)),
            duplicates=true_or_false("duplicates", plain(config.duplicates)),
            out=out if out is None else writable_folder(out, "out"),  # complain now, not after the reading
        )

    def run(self) -> Diagnosis:
        """Examine, and write what is found if asked to."""
        diagnosis = diagnose(self.data, num_workers=self.num_workers, duplicates=self.duplicates)
        if self.out is not None:
            write_json(self.out / FILE, diagnosis.describe())
        return diagnosis


def in_words(diagnosis: Diagnosis) -> str:
    """A table of the sets, all findings, and a closing line."""
    parts = [markdown(HEADER, [_row(one) for one in diagnosis.sets])] if diagnosis.sets else []
    parts += ["\n".join(_listed(one.label, one.folders, one.findings)) for one in diagnosis.sets if one.findings]
    if diagnosis.of_all:
        parts.append("\n".join(_listed("all sets", None, diagnosis.of_all)))
    return "\n\n".join([*parts, _closing(diagnosis)])


def _row(one: SetReport) -> list[str]:
    return [
        one.label,
        *(f"{number:,}" for number in (len(one.images), len(one.masks), one.num_pairs)),
        *(_spread([size[side] for size in one.sizes]) for side in (0, 1)),
        _foreground(one.shares),
        *(str(one.number(severity)) for severity in SEVERITIES),
    ]


def _spread(pixels: Sequence[int]) -> str:
    """Smallest, median and largest; one number if they are the same."""
    if not pixels:
        return "-"
    return "-".join(map(str, dict.fromkeys((min(pixels), round(median(pixels)), max(pixels)))))


def _foreground(shares: Sequence[float]) -> str:
    if not shares:
        return "-"
    return f"{median(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"


def _listed(label: str, folders: tuple[Path, Path] | None, findings: Sequence[Finding]) -> Iterator[str]:
    yield label if folders is None else f"{label} ({folders[0]}, {folders[1]})"
    for finding in sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)):
        yield f"  {finding.severity}, {finding.kind}: {finding.message.removeprefix(f'{label}: ')}"


def _closing(diagnosis: Diagnosis) -> str:
    errors, warnings, remarks = (_counted(diagnosis.number(severity), severity) for severity in SEVERITIES)
    verdict = f"{errors}: a run would stop" if diagnosis.would_stop else "nothing that would stop a run"
    return f"{verdict}; {warnings}, {remarks} ({_counted(diagnosis.num_files, 'file')} read)"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
