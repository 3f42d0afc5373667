"""From what is asked for to the figures' files."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from ipsam.data import Data, TestSet
from ipsam.engine.evaluate.evaluator import evaluate
from ipsam.engine.metrics import METRICS
from ipsam.engine.runs.checkpoint import finished_epochs
from ipsam.engine.runs.configuration import given, settings_of
from ipsam.engine.runs.model_folder import run_of
from ipsam.engine.runs.provenance import named_sets, warn_of_other_data
from ipsam.engine.runs.reopen import evaluation_folder, output_folder, reopen, results_folder
from ipsam.engine.runs.run_folder import FIGURES
from ipsam.tools.figures.choice import Chosen, by_name, by_score, known_scores
from ipsam.tools.figures.columns import comparison, mechanism
from ipsam.tools.figures.method_maps import maps_of, method_folders
from ipsam.tools.figures.page import draw_page, save_page
from ipsam.tools.figures.request import COMPARISON, Request
from ipsam.tools.figures.view import Subject, open_subject, view
from ipsam.utils.folders import writable_folder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Drawn:
    """A figure of some images of a set, and the files it was written to."""

    dataset: str
    images: Sequence[Chosen]
    metric: str
    files: Sequence[Path]

    def __str__(self) -> str:
        """For people: which image each row shows, and where the figure is."""
        rows = [
            f"  row {number}: {image.name}" + ("" if image.score is None else f" ({self.metric} {image.score:.4f})")
            for number, image in enumerate(self.images, start=1)
        ]
        return "\n".join([f"{self.dataset}:", *rows, *(f"  {path}" for path in self.files)])


def draw_figures(config: DictConfig) -> list[Drawn]:
    """Draw a figure of each test set that has images to be shown.

    Args:
        config: configs/visualize.yaml's.

    Raises:
        ValueError, FileNotFoundError: what is asked for can't be, or something it needs is not there or damaged.
    """
    request = Request.of(config)
    checkpoint, run = reopen(config, given(config, "ckpt"))
    if not run.data.test:
        raise ValueError("nothing to draw, as the run names no test set: data.test=[...]")
    data = replace(settings_of(Data, run.data, "data"), scaled_decode=False)  # pages show pictures as they are
    sets = data.test_sets(foreground_above=request.protocol.gt_threshold)
    warn_of_other_data(run_of(checkpoint), named_sets(sets))
    stems, maps = request.stems, request.maps
    chosen = None if stems is None else by_name({name: one.source.names() for name, one in sets.items()}, stems)
    shown = sets if chosen is None else {dataset: sets[dataset] for dataset in chosen}
    methods = {dataset: {} if maps is None else method_folders(maps, dataset) for dataset in shown}
    ours = open_subject(checkpoint, run)
    ours.settings.set_up_process()
    baseline = None if config.baseline is None else _open_baseline(config)
    out = writable_folder(output_folder(config, checkpoint, run_of(checkpoint) / FIGURES), "out")
    if chosen is None:
        places = results_folder(config, checkpoint), evaluation_folder(config, checkpoint, request.protocol)
        epochs = finished_epochs(checkpoint)
        chosen = {name: _ranked(request, name, one, ours, places=places, epochs=epochs) for name, one in sets.items()}
    drawn = []
    for dataset, images in chosen.items():
        views, others = [], []
        for image in images:  # one by one, as what a page shows of a large image is small
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


def _open_baseline(config: DictConfig) -> Subject:
    try:
        return open_subject(*reopen(config, str(config.baseline)))
    except (ValueError, FileNotFoundError) as error:
        raise ValueError(f"baseline={config.baseline}: {error}") from error


def _ranked(
    request: Request, dataset: str, test_set: TestSet, ours: Subject, *, places: Sequence[Path], epochs: int | None
) -> list[Chosen]:
    """The best or worst images of a set, by the scores in one of ``places`` or else by new ones."""
    names, settings = test_set.source.names(), ours.settings
    scores = known_scores(places, dataset, names, request.metric, epochs=epochs)
    if scores is None:
        logger.info("%s: no scores at hand, so all %d images are predicted (eval.py keeps scores)", dataset, len(names))
        evaluation = evaluate(
            ours.model,
            {dataset: test_set},
            device=settings.device,
            protocol=request.protocol,
            bf16=settings.bf16,
            batch_size=settings.eval_batch_size,
            num_workers=settings.num_workers,
        )
        scores = [float(row[request.metric]) for row in evaluation.per_image]
    num, worst = (request.worst, True) if request.worst is not None else (request.best or 0, False)
    return by_score(names, scores, request.metric, num, worst=worst)
