"""Evaluation report of a run, shared by ``ipsam train`` and ``ipsam eval`` so that their numbers agree."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from ipsam.data import TestSet
from ipsam.engine.evaluate.evaluator import evaluate_constant, evaluate_with
from ipsam.engine.evaluate.panel import save_panel
from ipsam.engine.evaluate.parts import Parts
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import Protocol, Scores
from ipsam.engine.metrics.tables import scores_table
from ipsam.engine.runs.settings import Settings
from ipsam.model import Segmenter
from ipsam.model.inference import prepare_for_inference
from ipsam.utils.console import show
from ipsam.utils.device import compile_model, processes

MAX_BATCH_PIXELS = 1 << 27  # 128 images of SAM2's own size, 1024 px


def check_fits(model: Segmenter, test_sets: Mapping[str, TestSet], settings: Settings) -> None:
    """Check that a model takes batches of these sets' images.

    Raises:
        ValueError: the image sizes of a set and the model differ, or a batch exceeds ``MAX_BATCH_PIXELS``.
    """
    for name, test_set in test_sets.items():
        size, batch_size = test_set.image_size, settings.eval_batch_size
        if size != model.backbone.image_size:
            raise ValueError(
                f"{name} has images of {size} px (data.image_size), but the model takes {model.backbone.image_size} px "
                "(model.backbone.image_size): they must agree"
            )
        if batch_size * size**2 > MAX_BATCH_PIXELS:
            raise ValueError(
                f"engine.eval_batch_size={batch_size} images of {size} px are too many: set it to at most "
                f"{max(1, MAX_BATCH_PIXELS // size**2)}"
            )


def set_up_model(model: Segmenter, settings: Settings) -> PartialState:
    """Join the processes of the launcher, and prepare a model for its evaluation, in place."""
    state = processes(cpu=settings.cpu, timeout=settings.timeout)
    model.to(settings.device).eval()
    if settings.fast:
        prepare_for_inference(model, bf16=settings.bf16)
    if settings.compile:
        compile_model(model)
    return state


def evaluate_run(
    model: Segmenter,
    test_sets: Mapping[str, TestSet],
    settings: Settings,
    *,
    out: Path,
    epochs: int | None = None,
    skipped_steps: int | None = None,
    protocol: Protocol | None = None,
    save_maps: bool = False,
    parquet: bool = False,
    references: Mapping[str, Evaluation] | None = None,
    log: Callable[[str, Scores], object] | None = None,
    parts: Parts | None = None,
) -> None:
    """Score every test set. The main process writes scores and pictures, and prints the table.

    The files are ``metrics.json``, ``per_image.csv``, ``curves.csv`` and ``<dataset>.png``, the first images' outputs.

    Args:
        model: model to evaluate; with ``settings.fast`` it is prepared for inference, in place.
        test_sets: test sets by name; may be empty.
        settings: device, precision, batch size and workers.
        out: folder of the files.
        epochs, skipped_steps: of the model's training, if known.
        protocol: rules of scoring; None: the default.
        save_maps: also write each probability map to ``out/maps/<dataset>/<image's stem>.png``.
        parquet: also write ``per_image.parquet``.
        references: other evaluations to show in the table, by name.
        log: called with ``test/<dataset>`` and its scores.
        parts: score one shard of the images; see ``evaluate``.
    """
    state = set_up_model(model, settings)
    maps = out / "maps" if save_maps else None
    evaluation = evaluate_with(model, test_sets, settings, protocol=protocol, maps=maps, parts=parts)
    if not test_sets or not state.is_main_process:
        return
    evaluation = replace(evaluation, epochs=epochs, skipped_steps=skipped_steps)
    evaluation.write(out, parquet=parquet)
    for name, reference in (references or {}).items():
        reference.write(out / "references" / name.replace(" ", "_"))
    pictures = [
        save_panel(model, test_set, out / f"{name}.png", settings=settings) for name, test_set in test_sets.items()
    ]
    if log is not None:
        for name, scores in evaluation.datasets.items():
            log(f"test/{name}", scores)
    methods = {name: reference.datasets for name, reference in (references or {}).items()}
    show(evaluation.protocol, scores_table({"model": evaluation.datasets, **methods}), *evaluation.notes())
    show(f"scores: {out / 'metrics.json'}, {out / 'per_image.csv'}, {out / 'curves.csv'}")
    if save_maps:
        show(f"maps: {out / 'maps'}")
    show("pictures (image, mask, prompts, gate decision, coarse, refined):", *(f"  {path}" for path in pictures))


def evaluate_references(
    model: Segmenter, test_sets: Mapping[str, TestSet], settings: Settings
) -> dict[str, Evaluation]:
    """Evaluate what training has to beat: the untrained model and, on the main process, the best constant map."""
    state = processes(cpu=settings.cpu)
    references = {"untrained": evaluate_with(model, test_sets, settings)}
    if state.is_main_process:
        references["best constant map"] = evaluate_constant(test_sets)
    return references
