"""Scores of saved maps, computed by the same code as the scores of a model's own predictions."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ipsam.engine.evaluate.parts import Parts
from ipsam.engine.evaluate.scores import Evaluation, Scored, score_tables
from ipsam.engine.evaluate.scoring import score_sets, summary
from ipsam.engine.metrics import Protocol
from ipsam.engine.metrics.tables import scores_table
from ipsam.tools.compare.breakdown import group_rows, measure_traits
from ipsam.tools.compare.charts import KINDS
from ipsam.tools.compare.examples import Rivalry, draw_examples, draw_rivalries
from ipsam.tools.compare.html_report import Details, curve_files, notes, render
from ipsam.tools.compare.request import MapSet
from ipsam.tools.compare.significance import Difference, differences, differences_table, reference_on
from ipsam.utils.files import as_csv, as_json, write_files, write_text
from ipsam.utils.shards import WHOLE, Shard, gather


@dataclass(frozen=True)
class Comparison:
    """Scores of one or several methods under one protocol.

    Attributes:
        sets: the maps that were scored.
        methods: evaluations by method.
        protocol: rules of scoring.
        against: method to compare the others with; None: the best of each dataset.
    """

    sets: Sequence[MapSet]
    methods: dict[str, Evaluation]
    protocol: Protocol
    against: str | None = None

    @cached_property
    def differences(self) -> list[Difference]:
        """Differences of the methods from the one that they are compared with."""
        return differences(self.methods, self.against)

    def __str__(self) -> str:
        """Return the protocol, tables of scores and differences, and lines on images left out and the like."""
        scores = scores_table({method: one.datasets for method, one in self.methods.items()})
        compared = [f"\n{table}\n"] if (table := differences_table(self.differences)) else []
        return "\n".join([str(self.protocol), scores, *compared, *notes(self.methods)])

    def write(
        self,
        folder: Path,
        *,
        num_examples: int,
        breakdown: bool = False,
        parquet: bool = False,
        num_workers: int = 0,
    ) -> Path:
        """Write the scores as JSON and CSV, the curves and the report; return the report's path.

        Args:
            folder: created if missing.
            num_examples: number of best and of worst images that the report shows for each set, and of images that
                differ most from the reference's.
            breakdown: also average the scores over groups of images, which reads masks and images again.
            parquet: also write ``per_image.parquet``.
            num_workers: number of processes that read them.
        """
        content: dict[str, object] = {"protocol": self.protocol.describe()}
        for key, name in {"datasets": "methods", "remarks": "remarks", "left_out": "left_out"}.items():
            values = {method: getattr(one, key) for method, one in self.methods.items()}
            content |= {name: values} if any(values.values()) else {}
        if len(self.methods) == 1:  # the only key in 0.1.0, kept for a release
            content["datasets"] = next(iter(self.methods.values())).datasets
        groups, traits = self._breakdown(num_workers) if breakdown else ([], [])
        rows = {"differences": [*map(asdict, self.differences)], "breakdown": groups, "traits": traits}
        files = {"metrics.json": as_json(content)} | score_tables(self.methods, parquet=parquet)
        files |= {f"{name}.csv": as_csv(found) for name, found in rows.items() if found} | curve_files(self.methods)
        write_files(folder, files)
        old = {"per_image.parquet", *(f"{each}.csv" for each in rows)} - files.keys()
        old |= {f"{name}_{kind}.png" for name in self.datasets for kind in KINDS}  # of version 0.1.0
        for name in old:
            (folder / name).unlink(missing_ok=True)  # an earlier command's, of other scores
        examples = {}
        for one in self.sets:
            scores = self.methods[one.method].images[one.dataset]
            examples[one.method, one.dataset] = draw_examples(scores, one.paired.maps, num_examples, self.protocol)
        rivalries = {name: self._rivalries(name, num_examples) for name in self.datasets}
        report = folder / "report.html"
        page = render(self.methods, Details(examples, rivalries, self.differences, groups))
        write_text(report, page, errors="replace")
        return report

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets, each once."""
        return list(dict.fromkeys(one.dataset for one in self.sets))

    def _rivalries(self, dataset: str, num: int) -> list[Rivalry]:
        reference = reference_on(dataset, self.methods, self.against)
        maps = {one.method: one.paired.maps for one in self.sets if one.dataset == dataset}
        images = {method: self.methods[method].images[dataset] for method in maps}
        return [] if reference is None else draw_rivalries(images, maps, reference, num, self.protocol)

    def _breakdown(self, num_workers: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the rows of ``breakdown.csv`` and of ``traits.csv``."""
        groups: list[dict[str, Any]] = []
        rows: list[dict[str, Any]] = []
        for dataset in self.datasets:
            maps = {saved.stem: saved for one in self.sets if one.dataset == dataset for saved in one.paired.maps}
            traits = measure_traits([*maps.values()], num_workers)
            groups += group_rows(dataset, traits, self.methods)
            rows += [{"dataset": dataset, "name": name, **asdict(one)} for name, one in traits.items()]
        return groups, rows


def score_maps(
    sets: Sequence[MapSet],
    protocol: Protocol,
    *,
    num_workers: int,
    against: str | None = None,
    parts: Parts | None = None,
    rank: Shard = WHOLE,
) -> Comparison | None:
    """Score every set; of several processes only the first returns the scores.

    Args:
        sets: of maps.
        protocol: rules of scoring.
        num_workers: number of processes that score beside each of a launcher's.
        against: see ``Comparison``.
        parts: score this command's shard alone, and unite it with the others'.
        rank: share of this process of a launcher's.

    Raises:
        ShardsMissingError: other shards have no scores yet.
        ValueError: a map or mask cannot be used.
    """
    own = WHOLE if parts is None else parts.shard
    scored: dict[str, Scored] = {}
    for dataset in dict.fromkeys(one.dataset for one in sets):
        of_dataset = [one for one in sets if one.dataset == dataset]
        maps = [rank.of(own.of(one.paired.maps)) for one in of_dataset]
        images = score_sets(dataset, maps, protocol=protocol, num_workers=num_workers)
        scored |= {_key(one): Scored.united(gather(share, rank)) for one, share in zip(of_dataset, images, strict=True)}
    if rank.index:
        return None
    scored = scored if parts is None else parts.exchange(scored)
    evaluations: dict[str, list[Evaluation]] = {}
    for one in sets:
        evaluation = summary(one.dataset, scored[_key(one)], protocol).without(one.dataset, one.paired.left_out)
        evaluations.setdefault(one.method, []).append(evaluation)
    methods = {method: Evaluation.joined(of_method, protocol) for method, of_method in evaluations.items()}
    return Comparison(sets, methods, protocol, against)


def _key(one: MapSet) -> str:
    return f"{one.method}/{one.dataset}"
