"""Scores of saved maps, computed by the same code as the scores of a model's own predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.evaluate.scoring import score_set
from ipsam.engine.metrics import Protocol
from ipsam.engine.metrics.tables import scores_table
from ipsam.tools.compare.curves import save_curves
from ipsam.tools.compare.examples import draw_examples
from ipsam.tools.compare.html_report import render
from ipsam.tools.compare.request import MapSet
from ipsam.utils.files import write_csv, write_json


@dataclass(frozen=True)
class Comparison:
    """Scores of one or several methods under one protocol; ``methods`` holds each method's evaluation by name."""

    sets: Sequence[MapSet]
    methods: dict[str, Evaluation]
    protocol: Protocol

    def __str__(self) -> str:
        """Return the protocol in one line, then the table of scores."""
        return f"{self.protocol}\n{scores_table(self._scores())}"

    def _scores(self) -> dict[str, dict[str, dict[str, float]]]:
        return {method: evaluation.datasets for method, evaluation in self.methods.items()}

    def write(self, folder: Path, *, num_examples: int) -> Path:
        """Write ``metrics.json``, ``per_image.csv``, the curves and the report; return the report's path.

        Args:
            folder: created if missing.
            num_examples: number of best and of worst images that the report shows for each set.
        """
        if any(one.named for one in self.sets):
            write_json(folder / "metrics.json", {"protocol": self.protocol.describe(), "methods": self._scores()})
            rows = [{"method": method, **row} for method, one in self.methods.items() for row in one.per_image]
            write_csv(folder / "per_image.csv", rows)
        else:
            next(iter(self.methods.values())).write(folder)
        datasets = dict.fromkeys(one.dataset for one in self.sets)
        save_curves(
            {name: {method: one.curves.get(name) for method, one in self.methods.items()} for name in datasets}, folder
        )
        examples = {}
        for one in self.sets:
            rows = [row for row in self.methods[one.method].per_image if row["dataset"] == one.dataset]
            examples[one.method, one.dataset] = draw_examples(rows, one.maps, num_examples, self.protocol)
        report = folder / "report.html"
        report.write_text(render(self.methods, examples), encoding="utf-8")
        return report


def score_maps(sets: Sequence[MapSet], protocol: Protocol, *, num_workers: int) -> Comparison:
    """Score every set.

    Raises:
        ValueError: a map or mask cannot be used.
    """
    parts: dict[str, list[Evaluation]] = {}
    for one in sets:
        evaluation = score_set(one.dataset, one.maps, len(one.maps), protocol=protocol, num_workers=num_workers)
        parts.setdefault(one.method, []).append(evaluation)
    methods = {method: Evaluation.joined(of_method, protocol) for method, of_method in parts.items()}
    return Comparison(sets, methods, protocol)
