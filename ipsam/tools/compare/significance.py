"""Paired comparison of two methods over the same images: bootstrap interval and Wilcoxon's signed-rank test."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ipsam.engine.evaluate.scores import Evaluation, Scored, ranking
from ipsam.engine.metrics import ALL_METRICS
from ipsam.engine.metrics.tables import markdown

NUM_DRAWS = 10_000
CONFIDENCE = 0.95
SEED = 0
CELLS = 1 << 18  # image indices drawn at once, 2 MB
EXACT = 50  # differences, up to which the test is exact
SHOWN = ("sm", "fw", "mae")  # on the screen


@dataclass(frozen=True)
class Difference:
    """Difference of a method's mean score from a reference's, over the images that both scored.

    Attributes:
        low, high: 95 % interval of ``difference`` by a paired bootstrap.
        p: two-sided Wilcoxon signed-rank test, not corrected for the number of comparisons.
        num_better: images on which the method is better than the reference.
        num_images: images that both scored.
    """

    dataset: str
    method: str
    reference: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    num_better: int
    num_images: int

    @property
    def is_better(self) -> bool:
        """True if the method is better and the interval excludes 0."""
        return min(one * ALL_METRICS[self.metric].sign for one in (self.low, self.high)) > 0

    def cells(self) -> dict[str, str]:
        """Format the columns that the screen and the report share."""
        return {
            "difference": f"{self.difference:+.4f}",
            f"{CONFIDENCE:.0%} interval": f"[{self.low:+.4f}, {self.high:+.4f}]",
            "p": "< 0.0001" if self.p < 1e-4 else f"{self.p:.4f}",
            "better on": f"{self.num_better} of {self.num_images} images",
        }


def differences(methods: Mapping[str, Evaluation], against: str | None = None) -> list[Difference]:
    """Compare each method with a reference on each dataset, in every metric that is a mean over images.

    Args:
        methods: evaluations by name.
        against: the reference; None: on each dataset, of the methods with the most images there,
            that with the highest S-measure.
    """
    found = []
    for dataset in dict.fromkeys(name for one in methods.values() for name in one.images):
        images = {name: one.images[dataset] for name, one in methods.items() if dataset in one.images}
        reference = reference_on(dataset, methods, against)
        if reference is not None:
            others = [name for name in images if name != reference]
            found += [one for method in others for one in _compare(dataset, method, reference, images)]
    return found


def reference_on(dataset: str, methods: Mapping[str, Evaluation], against: str | None) -> str | None:
    """Return the method to compare others with on a dataset, see ``differences``; None if it has no scores there."""
    images = {name: len(one.images[dataset]) for name, one in methods.items() if dataset in one.images}
    if against is not None:
        return against if against in images else None
    names = [name for name, count in images.items() if count == max(images.values())]
    return names[ranking([methods[name].datasets[dataset]["sm"] for name in names], "sm")[0]] if names else None


def differences_table(found: Sequence[Difference]) -> str:
    """Format the metrics in ``SHOWN`` as a Markdown table; empty if nothing was compared."""
    shown = [one for one in found if one.metric in SHOWN]
    rows = [
        [one.dataset, one.method, one.reference, ALL_METRICS[one.metric].label, *one.cells().values()] for one in shown
    ]
    return markdown(["dataset", "method", "against", "metric", *shown[0].cells()], rows) if shown else ""


def bootstrap(values: NDArray[np.float64], *, num_draws: int = NUM_DRAWS, seed: int = SEED) -> NDArray[np.float64]:
    """Return the limits (2, k) of the percentile interval of each column's mean.

    The draws equal those of ``scipy.stats.bootstrap`` with the same seed. All columns share them, and one matrix
    product gives the means of all metrics, which takes a quarter of scipy's time.

    Args:
        values: (n, k), n images.
        num_draws: number of times that n images are drawn with replacement.
        seed: seed of the draws.
    """
    num, generator = len(values), np.random.default_rng(seed)
    at_once = max(1, CELLS // num)
    drawn = []
    for start in range(0, num_draws, at_once):
        rows = min(at_once, num_draws - start)
        indices = generator.integers(num, size=(rows, num)) + num * np.arange(rows)[:, None]
        counts = np.bincount(indices.ravel(), minlength=rows * num).reshape(rows, num)
        drawn.append(counts.astype(np.float64) @ values / num)
    tail = (1 - CONFIDENCE) / 2
    limits: NDArray[np.float64] = np.quantile(np.concatenate(drawn), [tail, 1 - tail], axis=0)
    return limits


def wilcoxon_p(values: NDArray[np.float64]) -> float:
    """Return the p-value of the two-sided signed-rank test that differences lie around 0; 1 if all are 0.

    As ``scipy.stats.wilcoxon`` does it: of more than ``EXACT`` differences by the normal approximation, without zeros.
    """
    if len(values) <= EXACT:
        from scipy.stats import wilcoxon  # takes a second to import

        return float(wilcoxon(values).pvalue) if values.any() else 1.0
    differing = values[values != 0]
    if not (num := len(differing)):
        return 1.0
    _, which, ties = np.unique(np.abs(differing), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(ties) - (ties - 1) / 2)[which]
    deviation = float(ranks[differing > 0].sum()) - num * (num + 1) / 4
    variance = (num * (num + 1) * (2 * num + 1) - float((ties.astype(np.float64) ** 3 - ties).sum()) / 2) / 24
    return math.erfc(abs(deviation) / math.sqrt(2 * variance))


def paired(first: Scored, second: Scored, metrics: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
    """Return the names of the images that both scored, and the differences (n, metrics) between their scores."""
    position = {name: index for index, name in enumerate(second.names)}
    common = [index for index, name in enumerate(first.names) if name in position]
    names = [first.names[index] for index in common]
    return names, table(first, metrics)[common] - table(second, metrics)[[position[name] for name in names]]


def averaged(images: Scored) -> list[str]:
    """Return the metrics whose score on a dataset is the mean over its images, not the peak of a mean curve."""
    return [name for name in images.metrics if ALL_METRICS[name].peak_of is None]


def table(images: Scored, metrics: Sequence[str]) -> NDArray[np.float64]:
    """Return the scores (n, metrics) of a dataset's images in some metrics."""
    return np.stack([np.array(images.of(metric)) for metric in metrics], 1)


def _compare(dataset: str, method: str, reference: str, images: Mapping[str, Scored]) -> Iterator[Difference]:
    metrics = averaged(images[method])
    names, values = paired(images[method], images[reference], metrics)
    if not names:
        return
    defined = np.isfinite(values)
    limits = bootstrap(np.where(defined, values, 0))
    for column, metric in enumerate(metrics):
        of_images = values[defined[:, column], column]
        if not len(of_images):
            continue
        low, high = limits[:, column] if defined[:, column].all() else bootstrap(of_images[:, None])[:, 0]
        yield Difference(
            dataset=dataset,
            method=method,
            reference=reference,
            metric=metric,
            difference=float(of_images.mean()),
            low=float(low),
            high=float(high),
            p=wilcoxon_p(of_images),
            num_better=int((of_images * ALL_METRICS[metric].sign > 0).sum()),
            num_images=len(of_images),
        )
