"""Averages over seeds: the runs that may be averaged, and their mean and deviation."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ipsam.data.files import some
from ipsam.engine.metrics import ALL_METRICS, METRICS
from ipsam.tools.tables.changes import MAX_SHOWN, differences
from ipsam.tools.tables.run_scores import BEST, RunScores
from ipsam.tools.tables.sheet import Record

DIGITS = 3
COUNT_DIGITS = 2
AVERAGE = "Ours: mean ± sample standard deviation over the seeds found; of one seed, its score."


@dataclass(frozen=True)
class Cell:
    """Mean over seeds with the sample standard deviation (None for one seed), or a count of parameters."""

    mean: float
    std: float | None = None
    num_seeds: int | None = None  # None for maps and counts
    num_images: int | None = None
    digits: int = DIGITS

    def __str__(self) -> str:
        return " ± ".join(f"{value:.{self.digits}f}" for value in (self.mean, self.std) if value is not None)


@dataclass(frozen=True)
class Group:
    """Runs of different seeds with the same settings and test images, or one method's maps."""

    members: tuple[RunScores, ...]

    @property
    def lead(self) -> RunScores:
        """The first member."""
        return self.members[0]

    @property
    def datasets(self) -> list[str]:
        """Datasets of all members, in order."""
        return list(dict.fromkeys(dataset for member in self.members for dataset in member.scores))

    def cell(self, dataset: str, metric: str, digits: int = DIGITS) -> Cell | None:
        """Average a metric over the members that have it, or return a parameter count where ``dataset`` is empty."""
        if not dataset:
            count = getattr(self.lead, metric)
            return None if count is None else Cell(count, digits=COUNT_DIGITS)
        scored = [member.scores[dataset] for member in self.members if metric in member.scores.get(dataset, {})]
        if not scored:
            return None
        values = [scores[metric] for scores in scored]
        return self.average(dataset, values, digits)

    def average(self, dataset: str, values: Sequence[float], digits: int = DIGITS) -> Cell:
        """Average the members' values on a dataset."""
        std = stdev(values) if len(values) > 1 else None
        num_seeds = None if self.lead.seed is None else len(values)
        return Cell(fmean(values), std, num_seeds, self.num_images(dataset), digits)

    def num_images(self, dataset: str) -> int | None:
        """Return how many images of a dataset were scored, if known."""
        scores = next((member.scores[dataset] for member in self.members if dataset in member.scores), {})
        return int(scores["num_images"]) if "num_images" in scores else None

    def source(self, datasets: Iterable[str]) -> str:
        """Name the scores' origin: a number of seeds, or maps."""
        if self.lead.seed is None:
            return "ours (maps)"
        numbers = sorted({sum(dataset in member.scores for member in self.members) for dataset in datasets} - {0})
        return f"ours ({' to '.join(map(str, numbers))} seed{'' if numbers == [1] else 's'})"

    @property
    def footnote(self) -> str | None:
        """Files and remarks, or None for runs without remarks."""
        if self.lead.seed is not None and not self.lead.remarks:
            return None
        files = ", ".join(member.place for member in self.members)
        return f"{'Maps: ' if self.lead.seed is None else ''}{'; '.join([files, *self.lead.remarks])}."

    def best_epochs(self, datasets: Iterable[str], metrics: Iterable[str]) -> str | None:
        """Give the mean scores of each dataset's best epoch over the members that recorded a curve."""
        texts = []
        for dataset in datasets:
            found = [member.best_epochs[dataset] for member in self.members if dataset in member.best_epochs]
            known = [name for name in metrics if all(name in of for _, of in found)]
            if found and known:
                values = (f"{ALL_METRICS[name].label} {fmean(of[name] for _, of in found):.3f}" for name in known)
                texts.append(f"{dataset} {', '.join(values)} (epoch {', '.join(str(epoch) for epoch, _ in found)})")
        if not texts:
            return None
        return (
            f"The table takes the last epoch; the best by {METRICS[BEST].label} on each test set: {'; '.join(texts)}."
        )


@dataclass(frozen=True)
class Rejected:
    """A result that was not averaged with the others; ``repeats`` says that another run has its row and seed."""

    result: RunScores
    reason: str
    repeats: bool = False

    def __str__(self) -> str:
        return f"{self.result.place}: {self.reason}"


def choose(results: Sequence[RunScores]) -> tuple[Group, list[Rejected]]:
    """Choose the results to average among those of one row.

    Unaltered runs go before altered ones, these before scored maps, then by path. The others join the first one if they
    have its settings and test images, one for each seed.
    """
    lead, *others = sorted(results, key=lambda result: (result.seed is None, bool(result.remarks), result.place))
    members, rejected = [lead], []
    for result in others:
        same_seed = next((member for member in members if member.seed == result.seed), None)
        if result.seed is None and lead.seed is not None:
            rejected.append(Rejected(result, f"a run has this row: {lead.place}"))
        elif reason := next(filter(None, (_unlike(result, member) for member in members)), None):
            rejected.append(Rejected(result, reason))
        elif same_seed is not None:
            reason = f"the same seed {result.seed} as {same_seed.place}, which comes first by path and is used"
            rejected.append(Rejected(result, reason, repeats=True))
        else:
            members.append(result)
    return Group(tuple(members)), rejected


def grouped(results: Sequence[RunScores]) -> tuple[list[Group], list[str]]:
    """Group results by name, settings and test images; return also a line for each that repeats a seed of its group."""
    groups: list[Group] = []
    repeats: list[str] = []
    left = list(results)
    while left:
        name = left[0].name
        group, rejected = choose([result for result in left if result.name == name])
        groups.append(group)
        repeats += [str(entry) for entry in rejected if entry.repeats]
        left = [
            *(entry.result for entry in rejected if not entry.repeats),
            *(result for result in left if result.name != name),
        ]
    return groups, repeats


def difference(number: float, other: float, digits: int = DIGITS) -> str:
    """Format a difference from the rounded numbers, as readers subtract them."""
    found = round(round(number, digits) - round(other, digits), digits)
    return f"{found + 0.0:+.{digits}f}"  # + 0.0: no -0.000


def numbers(cell: Cell | None, prefix: str = "") -> Record:
    """Return a cell's numbers as part of a record, all None without a cell."""
    averages: Record = {f"{prefix}{key}": getattr(cell, key, None) for key in ("mean", "std")}
    return averages | {key: getattr(cell, key, None) for key in ("num_seeds", "num_images")}


def _unlike(result: RunScores, other: RunScores) -> str | None:
    """Name each difference between two results, as the first one's value and in brackets the other's."""
    common = [name for name in result.scores if name in other.scores]
    sizes, others = ({name: one.scores[name].get("num_images") for name in common} for one in (result, other))
    remarks = "; ".join(result.remarks) or "none", "; ".join(other.remarks) or "none"
    for what, found in (
        ("settings", differences(result.settings, other.settings)),
        ("numbers of images", differences(sizes, others)),
        ("remarks", differences(*remarks)),
    ):
        if found:
            return f"other {what} than {other.place} (in brackets): {some(found, MAX_SHOWN).strip()}"
    return None
