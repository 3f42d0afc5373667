"""Which images a figure shows: those named, or the best or worst of a set by a metric."""

import csv
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ipsam.data.files import some
from ipsam.engine.evaluate.scores import ranking
from ipsam.utils.untrusted import bounded_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """An image of a set: its number there, its name, and its score if it was chosen by that."""

    index: int
    name: str
    score: float | None = None


def by_name(sets: Mapping[str, Sequence[str]], stems: Sequence[str]) -> dict[str, list[Chosen]]:
    """The images of these stems in each set that has any, in the order of the stems.

    Args:
        sets: the names of the images of each set.
        stems: normalised.

    Raises:
        ValueError: a stem is in none of the sets.
    """
    places = {dataset: {name: index for index, name in enumerate(names)} for dataset, names in sets.items()}
    if unknown := [stem for stem in stems if not any(stem in place for place in places.values())]:
        those = "; ".join(f"{dataset} has {len(names)}: {some(names, 3)}" for dataset, names in sets.items())
        raise ValueError(
            f"stems: no image is called {some(unknown)} ({those}). Give file names without their ending, one that "
            "looks like a number in quotes (stems='[\"1_2\"]'), and choose the set with data.test=[NAME]"
        )
    chosen = {
        dataset: [Chosen(place[stem], stem) for stem in stems if stem in place] for dataset, place in places.items()
    }
    return {dataset: images for dataset, images in chosen.items() if images}


def by_score(names: Sequence[str], scores: Sequence[float], metric: str, num: int, *, worst: bool) -> list[Chosen]:
    """The ``num`` best images of a set, the best first; or the worst, the worst first."""
    order = ranking(scores, metric)
    return [Chosen(index, names[index], scores[index]) for index in (order[::-1] if worst else order)[:num]]


def known_scores(
    folders: Iterable[Path], dataset: str, names: Sequence[str], metric: str, *, epochs: int | None
) -> list[float] | None:
    """The scores of all images of a set, from the first ``per_image.csv`` that has them; None where none has.

    Args:
        folders: where evaluations of the checkpoint may have been written.
        dataset: name of the set.
        names: of its images; the scores are in their order.
        metric: which score.
        epochs: how many the checkpoint was trained for: scores of another number are those of another one.
    """
    for folder in folders:
        try:
            trained = json.loads(bounded_text(folder / "metrics.json")).get("epochs")
            table = csv.DictReader(bounded_text(folder / "per_image.csv").splitlines())
            rows = {row["name"]: float(row[metric]) for row in table if row["dataset"] == dataset}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
            logger.warning("%s: its scores can't be read (%s) and are not used", folder, error)
            continue
        if trained == epochs and rows.keys() >= set(names):
            logger.info("scores of %s: %s", dataset, folder / "per_image.csv")
            return [rows[name] for name in names]
    return None
