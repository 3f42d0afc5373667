"""Scores of saved maps, computed by the same code as the scores of a model's own predictions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.engine.evaluate.parts import Parts
from ipsam.engine.evaluate.scores import Evaluation, Scored, score_tables
from ipsam.engine.evaluate.scoring import score_images, summary
from ipsam.engine.metrics import Protocol
from ipsam.engine.metrics.tables import scores_table
from ipsam.tools.compare.curves import save_curves
from ipsam.tools.compare.examples import draw_examples
from ipsam.tools.compare.html_report import notes, render
from ipsam.tools.compare.request import MapSet
from ipsam.utils.files import as_json, write_files, write_text
from ipsam.utils.shards import WHOLE, Shard, gather


@dataclass(frozen=True)
class Comparison:
    """Scores of one or several methods under one protocol; ``methods`` holds each method's evaluation by name."""

    sets: Sequence[MapSet]
    methods: dict[str, Evaluation]
    protocol: Protocol

    def __str__(self) -> str:
        """Return the protocol in one line, the table of scores, and lines on images that were left out and the like."""
        scores = {method: one.datasets for method, one in self.methods.items()}
        return "\n".join([str(self.protocol), scores_table(scores), *notes(self.methods)])

    def write(self, folder: Path, *, num_examples: int) -> Path:
        """Write ``metrics.json``, ``per_image.csv``, the curves and the report; return the report's path.

        Args:
            folder: created if missing.
            num_examples: number of best and of worst images that the report shows for each set.
        """
        content: dict[str, object] = {"protocol": self.protocol.describe()}
        for key, name in {"datasets": "methods", "remarks": "remarks", "left_out": "left_out"}.items():
            values = {method: getattr(one, key) for method, one in self.methods.items()}
            content |= {name: values} if any(values.values()) else {}
        if len(self.methods) == 1:  # the only key in 0.1.0, kept for a release
            content["datasets"] = next(iter(self.methods.values())).datasets
        write_files(folder, {"metrics.json": as_json(content)} | score_tables(self.methods))
        datasets = dict.fromkeys(one.dataset for one in self.sets)
        save_curves(
            {name: {method: one.curves.get(name) for method, one in self.methods.items()} for name in datasets}, folder
        )
        examples = {}
        for one in self.sets:
            rows = self.methods[one.method].images[one.dataset]
            examples[one.method, one.dataset] = draw_examples(rows, one.paired.maps, num_examples, self.protocol)
        report = folder / "report.html"
        write_text(report, render(self.methods, examples), errors="replace")
        return report


def score_maps(
    sets: Sequence[MapSet],
    protocol: Protocol,
    *,
    num_workers: int,
    parts: Parts | None = None,
    rank: Shard = WHOLE,
) -> Comparison | None:
    """Score every set; of several processes only the first returns the scores.

    Args:
        sets: of maps.
        protocol: rules of scoring.
        num_workers: number of processes that score beside each of a launcher's.
        parts: score this command's shard alone, and unite it with the others'.
        rank: share of this process of a launcher's.

    Raises:
        ShardsMissingError: other shards have no scores yet.
        ValueError: a map or mask cannot be used.
    """
    own = WHOLE if parts is None else parts.shard
    scored: dict[str, Scored] = {}
    for one in sets:
        maps = rank.of(own.of(one.paired.maps))
        images = score_images(one.dataset, maps, len(maps), protocol=protocol, num_workers=num_workers)
        scored[_key(one)] = Scored.united(gather(images, rank))
    if rank.index:
        return None
    scored = scored if parts is None else parts.exchange(scored)
    evaluations: dict[str, list[Evaluation]] = {}
    for one in sets:
        evaluation = summary(one.dataset, scored[_key(one)], protocol).without(one.dataset, one.paired.left_out)
        evaluations.setdefault(one.method, []).append(evaluation)
    methods = {method: Evaluation.joined(of_method, protocol) for method, of_method in evaluations.items()}
    return Comparison(sets, methods, protocol)


def _key(one: MapSet) -> str:
    return f"{one.method}/{one.dataset}"
