"""Which results may be averaged, and their mean and deviation over the seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ipsam.tools.paper.results import Result


@dataclass(frozen=True)
class Cell:
    """One metric on one dataset over the seeds that have it; the deviation is the sample's, None of a single one."""

    mean: float
    std: float | None
    num_seeds: int | None  # None: of maps
    num_images: int | None

    def __str__(self) -> str:
        return f"{self.mean:.3f}" if self.std is None else f"{self.mean:.3f} ± {self.std:.3f}"


@dataclass(frozen=True)
class Group:
    """Results of the same settings and test images, each of another seed; or one method."""

    results: tuple[Result, ...]

    @property
    def lead(self) -> Result:
        """The first."""
        return self.results[0]

    def cell(self, dataset: str, metric: str) -> Cell | None:
        """The mean over the results that have this score, None if there are none."""
        having = [result.scores[dataset] for result in self.results if metric in result.scores.get(dataset, {})]
        if not having:
            return None
        values = [scores[metric] for scores in having]
        images = having[0].get("num_images")
        deviation = stdev(values) if len(values) > 1 else None
        num_seeds = None if self.lead.seed is None else len(values)
        return Cell(fmean(values), deviation, num_seeds, None if images is None else int(images))

    def source(self, datasets: Sequence[str]) -> str:
        """Whose scores these are: of how many seeds, or of maps."""
        if self.lead.seed is None:
            return "ours (maps)"
        numbers = sorted({sum(dataset in result.scores for result in self.results) for dataset in datasets} - {0})
        return f"ours ({' to '.join(map(str, numbers))} seed{'' if numbers == [1] else 's'})"

    def footnote(self) -> str | None:
        """Where the scores come from and what is not as it should be; None if there is nothing to tell."""
        if self.lead.seed is not None and not self.lead.remarks:
            return None
        places = ", ".join(result.place for result in self.results)
        return f"{'Maps: ' if self.lead.seed is None else ''}{'; '.join([places, *self.lead.remarks])}."


@dataclass(frozen=True)
class Passed:
    """A result that was not averaged with the others."""

    result: Result
    reason: str
    repeats: bool  # the very same row and seed once more


def choose(results: Sequence[Result]) -> tuple[Group, list[Passed]]:
    """Of results that claim the same row, those to average, and the others with the reason.

    Runs as their experiment has them go before altered ones, these before scored maps, and then the first by path. Only
    what has the first one's settings and test images joins it, and of each seed only one.
    """
    lead, *others = sorted(results, key=lambda result: (result.seed is None, bool(result.remarks), result.place))
    used, passed = [lead], []
    for result in others:
        same_seed = next((other for other in used if other.seed == result.seed), None)
        if result.seed is None and lead.seed is not None:
            passed.append(Passed(result, f"a run has this row: {lead.place}", repeats=False))
        elif result.settings != lead.settings or result.remarks != lead.remarks:
            passed.append(Passed(result, f"not of the same settings and test images as {lead.place}", repeats=False))
        elif sizes := next(filter(None, (_of_another_size(result, other) for other in used)), None):
            passed.append(Passed(result, sizes, repeats=False))
        elif same_seed is not None:
            reason = f"the same seed {result.seed} as {same_seed.place}, which comes first by path and is used"
            passed.append(Passed(result, reason, repeats=True))
        else:
            used.append(result)
    return Group(tuple(used)), passed


def group_all(results: Sequence[Result]) -> tuple[list[Group], list[Passed]]:
    """All results in groups of the same name, divided as ``choose`` does it; those passed only repeat others."""
    groups: list[Group] = []
    repeats: list[Passed] = []
    for name in dict.fromkeys(result.name for result in results):
        left = [result for result in results if result.name == name]
        while left:
            group, passed = choose(left)
            groups.append(group)
            repeats += [entry for entry in passed if entry.repeats]
            left = [entry.result for entry in passed if not entry.repeats]
    return groups, repeats


def _of_another_size(result: Result, other: Result) -> str | None:
    """The reason that keeps apart results of which one scored more images of a dataset than the other."""
    sets = [
        dataset
        for dataset, scores in result.scores.items()
        if dataset in other.scores and scores.get("num_images") != other.scores[dataset].get("num_images")
    ]
    return f"other numbers of images than {other.place} ({', '.join(sets)})" if sets else None
