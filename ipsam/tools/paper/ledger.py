"""The parameter ledger: every experiment of the paper, counted, beside the printed values."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import yaml
from omegaconf import OmegaConf

from ipsam.engine.metrics.tables import markdown
from ipsam.engine.runs.configuration import build_model, compose_experiment, drop_checkpoints
from ipsam.engine.runs.provenance import count_parameters
from ipsam.tools.paper.printed import Reference, Row, find_row, paper, references

REMARK = """\
T-Param counts what trains, Param everything the model holds: image encoder, prompt encoder, our modules, LoRA.
The paper's Param exceeds the sum of its own parts: for SAM2-L, image encoder 212.70 + prompt encoder 0.006 + 21.26 is
233.97, but 237.08 is printed. The surplus is the same for every row of a backbone (3.11 L, 1.88 B, 1.39 T), so it lies
in something of the backbone's that the text does not name. FT: the paper prints all of that Param as trainable; here
the prompt encoder (0.006) stays frozen, as the text says. SAM2's printed Param includes its video memory (7.5), which
no image meets and which is not built here."""

OTHERS_CODE = "their own code is not part of this project; score.py fills their rows from saved maps"


@dataclass(frozen=True)
class Entry:
    """One experiment's counts in millions beside a row's; None where there are none, ours or printed."""

    experiment: str
    row: Reference | None
    param: float | None
    printed_param: float | None
    t_param: float | None
    printed_t_param: float | None


def paper_experiments(configs: Path) -> list[str]:
    """Names of the experiments whose file names a row of the paper, by table and size."""
    folder = configs / "experiment"
    found = []
    for path in folder.rglob("*.yaml"):
        if named := references(yaml.safe_load(path.read_text(encoding="utf-8")).get("paper")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            found.append((named[0].table, find_row(named[0]).t_param or 0, name))
    return [name for _, _, name in sorted(found)]


def ledger(configs: Path, experiments: Sequence[str]) -> list[Entry]:
    """Build each experiment's model with random weights and count; an entry for each row that the experiment names."""
    entries = []
    for name in experiments:
        config = compose_experiment(configs, name)
        drop_checkpoints(config.model)
        param, t_param = count_parameters(build_model(config.model))
        for place in references(OmegaConf.to_container(config.paper)) or (None,):
            row = Row("", {}) if place is None else find_row(place)
            entries.append(Entry(name, place, param, _number(row.param), t_param, _number(row.t_param)))
    return entries


def rows_of_others(experiments: Sequence[Entry]) -> list[Entry]:
    """An entry without counts of ours for each row of Tables 1 to 3 that none of the experiments names."""
    named = {entry.row for entry in experiments}
    others = [Reference(table, row.label, OTHERS_CODE) for table in (1, 2, 3) for row in paper()[table].rows]
    rows = [(place, find_row(place)) for place in others if place not in named]
    return [Entry("", place, None, _number(row.param), None, _number(row.t_param)) for place, row in rows]


def _number(printed: Decimal | None) -> float | None:
    return None if printed is None else float(printed)


def ledger_table(entries: Sequence[Entry]) -> str:
    """The entries as a table, with the reasons where ours and theirs differ."""

    def cells(ours: float | None, printed: float | None) -> list[str]:
        numbers = ["" if number is None else f"{number:.2f}" for number in (ours, printed)]
        return [*numbers, "" if ours is None or printed is None else f"{round(ours, 2) - printed:+.2f}"]

    header = ["experiment", "table: row", "T-Param", "paper", "diff", "Param", "paper", "diff"]
    rows = [
        [
            entry.experiment,
            "" if entry.row is None else f"{entry.row.table}: {entry.row.row}",
            *cells(entry.t_param, entry.printed_t_param),
            *cells(entry.param, entry.printed_param),
        ]
        for entry in entries
    ]
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        if entry.row is not None and entry.row.why:
            reasons.setdefault(entry.row.why, []).append(entry.row.row)
    whys = [f"- {', '.join(labels)}: {why}" for why, labels in reasons.items()]
    return "\n".join([markdown(header, rows), "", f"Millions of parameters. {REMARK}", *whys])
