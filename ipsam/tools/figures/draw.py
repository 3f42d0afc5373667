"""Draw and save the figures that configs/visualize.yaml requests."""

import csv
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import BeforeValidator, Field
from tqdm import tqdm

from ipsam.data import Data, TestSet
from ipsam.data.files import normal_stem, some
from ipsam.engine.evaluate.evaluator import evaluate_with
from ipsam.engine.evaluate.page import draw_page, save_page
from ipsam.engine.evaluate.scores import ranking
from ipsam.engine.metrics import METRICS, Protocol
from ipsam.engine.runs.checkpoint import finished_epochs
from ipsam.engine.runs.configuration import as_dict, given, plain, settings_of
from ipsam.engine.runs.model_folder import run_of
from ipsam.engine.runs.provenance import named_sets, warn_of_other_data
from ipsam.engine.runs.reopen import evaluation_folder, output_folder, reopen, results_folder
from ipsam.engine.runs.run_folder import FIGURES
from ipsam.tools.figures.columns import comparison, mechanism
from ipsam.tools.figures.method_maps import maps_of, method_folders
from ipsam.tools.figures.view import FigureModel, load_figure_model, view
from ipsam.utils.files import read_csv
from ipsam.utils.folders import writable_folder
from ipsam.utils.options import Options, one_of
from ipsam.utils.untrusted import bounded_text

logger = logging.getLogger(__name__)

COMPARISON = "comparison"


def _stems(value: Any) -> Any:
    """Normalise stems and drop repeated ones."""
    if value is None:
        return None
    if not isinstance(value, list) or not value:
        raise ValueError(f"is a list of images: write stems=[a,b], not {value!r}")
    for stem in value:
        if not isinstance(stem, str | int) or isinstance(stem, bool):
            raise ValueError(f"must be names, not {stem!r}")
    return list(dict.fromkeys(normal_stem(str(stem)) for stem in value))


class FigureRequest(Options):
    """Options of configs/visualize.yaml; exactly one of ``stems``, ``worst`` and ``best`` is set."""

    figure: Literal["mechanism", "comparison"]
    stems: Annotated[Sequence[str] | None, BeforeValidator(_stems)]
    worst: int | None = Field(ge=1)
    best: int | None = Field(ge=1)
    metric: Annotated[str, one_of(METRICS)]
    maps: Path | None
    protocol: Protocol

    @classmethod
    def of(cls, config: DictConfig) -> "FigureRequest":
        """Check the options.

        Raises:
            ValueError: an option is invalid, or no images are chosen.
        """
        values = {name: plain(config[name]) for name in cls.model_fields}
        values["protocol"] = Protocol.of(values["protocol"])
        if values["maps"] is not None:
            values["maps"] = Path(str(values["maps"]))
        request = cls(**values)
        if request.maps is not None and request.figure != COMPARISON:
            raise ValueError(
                f"maps={request.maps}: other methods' maps are shown by figure={COMPARISON}; set that, or no maps"
            )
        chosen = [name for name in ("stems", "worst", "best") if values[name] is not None]
        if len(chosen) != 1:
            raise ValueError(
                f"{' and '.join(chosen) or 'none of stems, worst and best'} given; say which images to draw by one of "
                "stems=[a,b], worst=4 and best=4"
            )
        return request


@dataclass(frozen=True)
class Chosen:
    """An image's index in its set, its name, and its score if chosen by that."""

    index: int
    name: str
    score: float | None = None


@dataclass(frozen=True)
class Drawn:
    """Files of the figure of a set, and the image of each row."""

    dataset: str
    images: Sequence[Chosen]
    metric: str
    files: Sequence[Path]

    def __str__(self) -> str:
        """List the rows and the files."""
        rows = [
            f"  row {number}: {image.name}" + ("" if image.score is None else f" ({self.metric} {image.score:.4f})")
            for number, image in enumerate(self.images, start=1)
        ]
        return "\n".join([f"{self.dataset}:", *rows, *(f"  {path}" for path in self.files)])


def draw_figures(config: DictConfig) -> list[Drawn]:
    """Draw a figure of each test set that holds chosen images.

    Raises:
        ValueError, FileNotFoundError: the request is invalid, or a file that it needs is missing or damaged.
    """
    request = FigureRequest.of(config)
    checkpoint, run = reopen(config, given(config, "ckpt"))
    if not run.data.test:
        raise ValueError("nothing to draw, as the run names no test set: data.test=[...]")
    changed = as_dict(run.data) | {"scaled_decode": False}  # which would show other pixels
    data = settings_of(Data, changed, "data")
    sets = data.test_sets(foreground_above=request.protocol.gt_threshold)
    warn_of_other_data(run_of(checkpoint), named_sets(sets))
    stems, maps = request.stems, request.maps
    chosen = None if stems is None else by_name({name: one.source.names() for name, one in sets.items()}, stems)
    methods = {dataset: {} if maps is None else method_folders(maps, dataset) for dataset in chosen or sets}
    ours = load_figure_model(checkpoint, run)
    ours.settings.set_up_process()
    baseline = None if config.baseline is None else _load_baseline(config)
    out = writable_folder(output_folder(config, checkpoint, run_of(checkpoint) / FIGURES), "out")
    if chosen is None:
        folders = results_folder(config, checkpoint), evaluation_folder(config, checkpoint, request.protocol)
        epochs, chosen = finished_epochs(checkpoint), {}
        for dataset, test_set in sets.items():
            names = test_set.source.names()
            scores = known_scores(folders, dataset, names, request.metric, epochs=epochs)
            if scores is None:
                scores = _evaluated(request, dataset, test_set, ours)
            chosen[dataset] = by_score(request, names, scores)
    drawn = []
    for dataset, images in chosen.items():
        views, others = [], []
        # One at a time: a view is small, while the image may be large.
        for image in tqdm(images, desc=dataset, unit="image", leave=False, disable=None):
            sample = sets[dataset].source.read(image.index, epoch=0)
            views.append(view(ours, sample))
            others += [] if baseline is None else [view(baseline, sample)]
        if request.figure == COMPARISON:
            names = [image.name for image in images]
            saved = {name: maps_of(folder, names) for name, folder in methods[dataset].items()}
            columns = comparison(views, others, {name: found for name, found in saved.items() if any(found)})
        else:
            columns = mechanism(views, others)
        files = save_page(draw_page(columns), str(out / f"{request.figure}_{dataset}"))
        drawn.append(Drawn(dataset, images, METRICS[request.metric].label, files))
    return drawn


def _load_baseline(config: DictConfig) -> FigureModel:
    try:
        return load_figure_model(*reopen(config, str(config.baseline)))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"baseline={config.baseline}: {error}") from error


def by_name(sets: Mapping[str, Sequence[str]], stems: Sequence[str]) -> dict[str, list[Chosen]]:
    """Find the images of normalised stems in each set, in the order of the stems.

    Args:
        sets: image names by set; sets without any of the stems are left out of the result.

    Raises:
        ValueError: a stem is in none of the sets.
    """
    indices = {dataset: {name: index for index, name in enumerate(names)} for dataset, names in sets.items()}
    if unknown := [stem for stem in stems if not any(stem in known for known in indices.values())]:
        known_names = "; ".join(f"{dataset} has {len(names)}: {some(names, 3)}" for dataset, names in sets.items())
        raise ValueError(
            f"stems: no image is called {some(unknown)} ({known_names}). Give file names without "
            "their ending, and choose the set with data.test=[NAME]"
        )
    chosen = {name: [Chosen(known[stem], stem) for stem in stems if stem in known] for name, known in indices.items()}
    return {dataset: images for dataset, images in chosen.items() if images}


def by_score(request: FigureRequest, names: Sequence[str], scores: Sequence[float]) -> list[Chosen]:
    """Choose a set's best images, best first, or its worst images, worst first."""
    order = ranking(scores, request.metric)
    order = order[: request.best] if request.worst is None else order[::-1][: request.worst]
    return [Chosen(index, names[index], scores[index]) for index in order]


def _evaluated(request: FigureRequest, dataset: str, test_set: TestSet, ours: FigureModel) -> list[float]:
    """Predict and score all images of a set."""
    told = "%s: no scores at hand, so all %d images are predicted; ipsam eval keeps scores"
    logger.info(told, dataset, len(test_set))
    evaluation = evaluate_with(ours.model, {dataset: test_set}, ours.settings, protocol=request.protocol)
    return list(evaluation.images[dataset].of(request.metric))


def known_scores(
    folders: Iterable[Path], dataset: str, names: Sequence[str], metric: str, *, epochs: int | None
) -> list[float] | None:
    """Read scores from the first ``per_image.csv`` that has all images of a set; None without one.

    Args:
        folders: where evaluations of the checkpoint may have been written.
        names: of the set's images; the scores are in their order.
        epochs: the checkpoint's epochs; an evaluation after another number is ignored.
    """
    for folder in folders:
        try:
            evaluated = json.loads(bounded_text(folder / "metrics.json")).get("epochs")
            table = [row for row in read_csv(bounded_text(folder / "per_image.csv")) if row["dataset"] == dataset]
            rows = {row["name"]: float(row[metric]) for row in table if not row.get("left_out")}
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, csv.Error) as error:
            logger.warning("%s: its scores can't be read (%s) and are not used", folder, error)
            continue
        if evaluated == epochs and rows.keys() >= set(names):
            logger.info("scores of %s: %s", dataset, folder / "per_image.csv")
            return [rows[name] for name in names]
    return None
