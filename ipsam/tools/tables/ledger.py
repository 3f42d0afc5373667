"""Parameter ledger: the parameters of every experiment of the paper beside the printed counts."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import yaml
from omegaconf import OmegaConf
from tqdm import tqdm

from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import Configs, as_dict, build_model, compose_experiment, drop_checkpoints
from ipsam.engine.runs.plugins import packages_named, trust
from ipsam.engine.runs.provenance import count_parameters
from ipsam.tools.tables.changes import experiment_folders
from ipsam.tools.tables.layout import Row
from ipsam.tools.tables.printed import Reference, find_row, paper, references

REMARK = """\
T-Param counts trained parameters, Param all of the model's: image encoder, prompt encoder, our modules, LoRA.
The paper's Param exceeds the sum of its own parts: for SAM2-L, image encoder 212.70 + prompt encoder 0.006 + 21.26 is
233.97, but 237.08 is printed. The surplus is the same for every row of a backbone (3.11 L, 1.88 B, 1.39 T), so it lies
in a part of the backbone that the text does not name. Row FT: the paper counts every parameter as trainable; here the
prompt encoder (0.006) stays frozen, as the text says. SAM2's printed Param includes its video memory (7.5), which no
image needs and which is not built here."""

OTHERS_CODE = "their own code is not part of this project; ipsam score fills their rows from saved maps"


@dataclass(frozen=True)
class Entry:
    """Parameters of one experiment in millions, beside one row of the paper.

    Attributes:
        param, t_param: None for rows without an experiment, and where a package is missing.
        missing: how to install that package.
    """

    experiment: str
    reference: Reference | None
    param: float | None = None
    t_param: float | None = None
    missing: str = ""

    @property
    def printed(self) -> Row:
        """The row as printed, without numbers for an experiment without a row."""
        return Row(label=self.experiment) if self.reference is None else find_row(self.reference)


def paper_experiments(configs: Path | Configs) -> list[str]:
    """List the experiments whose file names a row of the paper, by table and size.

    Files that are not a YAML mapping, or whose ``paper`` is invalid, name no row: a user may keep them there.
    """
    found = []
    for name, folder in experiment_folders(configs).items():
        with suppress(yaml.YAMLError, ValueError):
            content = yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
            if named := references(content.get("paper") if isinstance(content, dict) else None):
                found.append((named[0].table, find_row(named[0]).t_param or 0, name))
    return [name for _, _, name in sorted(found)]


def ledger(configs: Path | Configs, experiments: Sequence[str]) -> list[Entry]:
    """Build each experiment's model with random weights and count, with one entry for each row that it names."""
    entries = []
    for name in tqdm(experiments, unit="model", leave=False, disable=None):
        config = compose_experiment(configs, name)
        drop_checkpoints(config.model)
        trust(packages_named(as_dict(config.model)))
        counts: tuple[float | None, float | None] = None, None
        missing = ""
        try:
            counts = count_parameters(build_model(config.model))
        except ImportError as error:
            missing = str(error)
        named = references(OmegaConf.to_container(config.paper)) or (None,)
        entries += [Entry(name, reference, *counts, missing) for reference in named]
    return entries


def rows_of_others(experiments: Sequence[Entry]) -> list[Entry]:
    """List the rows of Tables 1 to 3 that no experiment names."""
    named = {entry.reference for entry in experiments}
    others = [Reference(table, row.label, OTHERS_CODE) for table in (1, 2, 3) for row in paper()[table].rows]
    return [Entry("", reference) for reference in others if reference not in named]


def ledger_table(entries: Sequence[Entry]) -> str:
    """Format the entries as a table, with the reasons for differences below it."""
    rows = []
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        label = ""
        if reference := entry.reference:
            label = f"{reference.table}: {reference.row}"
            if reference.why:
                reasons.setdefault(reference.why, []).append(reference.row)
        if entry.missing:
            reasons.setdefault(f"not counted, as {entry.missing}", []).append(entry.experiment)
        t_param, param = _cells(entry.t_param, entry.printed.t_param), _cells(entry.param, entry.printed.param)
        rows.append([entry.experiment, label, *t_param, *param])
    header = ["experiment", "table: row", "T-Param", "paper", "diff", "Param", "paper", "diff"]
    whys = [f"- {', '.join(labels)}: {why}" for why, labels in reasons.items()]
    return "\n".join([markdown(header, rows), "", f"Millions of parameters. {REMARK}", *whys])


def _cells(ours: float | None, printed: Decimal | None) -> list[str]:
    numbers = ["" if number is None else f"{number:.2f}" for number in (ours, printed)]
    return [*numbers, "" if ours is None or printed is None else f"{round(ours, 2) - float(printed):+.2f}"]
