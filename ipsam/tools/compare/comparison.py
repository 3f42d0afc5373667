"""Scores of maps that any method saved, by the same code as those of a model's own predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.evaluate.scoring import score_set
from ipsam.engine.metrics import Protocol
from ipsam.engine.metrics.tables import scores_table
from ipsam.tools.compare.curves import save_curves
from ipsam.tools.compare.examples import draw_cases
from ipsam.tools.compare.html_report import render
from ipsam.tools.compare.request import MapSet
from ipsam.utils.files import write_csv, write_json


@dataclass(frozen=True)
class Comparison:
    """The scores of one or several methods.

    Attributes:
        sets: what was scored.
        methods: each one's evaluation on its datasets, by name.
        protocol: by which rules.
    """

    sets: Sequence[MapSet]
    methods: dict[str, Evaluation]
    protocol: Protocol

    def __str__(self) -> str:
        """The protocol in a line, and one table."""
        scores = {method: evaluation.datasets for method, evaluation in self.methods.items()}
        return f"{self.protocol}\n{scores_table(scores)}"

    def write(self, folder: Path, *, cases: int) -> Path:
        """Write ``metrics.json``, ``per_image.csv``, the curves and a report; return the report's path.

        Args:
            folder: is made.
            cases: how many of the best and of the worst images of each set the report shows.
        """
        if any(one.named for one in self.sets):
            scores = {method: evaluation.datasets for method, evaluation in self.methods.items()}
            write_json(folder / "metrics.json", {"protocol": self.protocol.describe(), "methods": scores})
            rows = [{"method": method, **row} for method, one in self.methods.items() for row in one.per_image]
            write_csv(folder / "per_image.csv", rows)
        else:
            next(iter(self.methods.values())).write(folder)
        datasets = dict.fromkeys(one.dataset for one in self.sets)
        save_curves(
            {name: {method: one.curves.get(name) for method, one in self.methods.items()} for name in datasets}, folder
        )
        drawn = {}
        for one in self.sets:
            rows = [row for row in self.methods[one.method].per_image if row["dataset"] == one.dataset]
            drawn[one.method, one.dataset] = draw_cases(rows, one.maps, cases, self.protocol)
        report = folder / "report.html"
        report.write_text(render(self.methods, drawn), encoding="utf-8")
        return report


def score_maps(sets: Sequence[MapSet], protocol: Protocol, *, num_workers: int) -> Comparison:
    """Score every set.

    Raises:
        ValueError: a map or a mask turns out to be no such thing.
    """
    parts: dict[str, list[Evaluation]] = {}
    for one in sets:
        evaluation = score_set(one.dataset, one.maps, len(one.maps), protocol=protocol, num_workers=num_workers)
        parts.setdefault(one.method, []).append(evaluation)
    methods = {method: Evaluation.joined(of_method, protocol) for method, of_method in parts.items()}
    return Comparison(sets, methods, protocol)
