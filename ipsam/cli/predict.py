"""Predict masks for your own images and videos."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from ipsam.engine.inference.files import predict_files
from ipsam.engine.inference.jobs import find_jobs
from ipsam.engine.inference.options import PredictionOptions
from ipsam.engine.inference.predictor import check_batch_size, load
from ipsam.engine.inference.record import claim, maker_of
from ipsam.engine.runs.configuration import given, plain
from ipsam.engine.runs.model_names import DEFAULT_MODEL
from ipsam.utils.console import show
from ipsam.utils.folders import writable_folder


def main(config: DictConfig) -> None:
    """Find the files, load the model, predict and print a summary."""
    source, output = given(config, "input"), Path(given(config, "output"))
    kinds = plain(config.save)
    jobs = find_jobs(source, output, kinds)
    check_batch_size(config.batch_size)
    writable_folder(output, "output")
    how = {name: config[name] for name in ("device", "precision", "base", "fast", "compile")}
    how |= {name: config[name] for name in PredictionOptions.model_fields}
    ckpt = config.ckpt or DEFAULT_MODEL
    predictor = load(ckpt, **how)
    targets = {kind: [job.targets[kind] for job in jobs] for kind in kinds}
    claim(output, targets, maker_of(predictor, ckpt), overwrite=config.overwrite)
    outcome = predict_files(predictor, jobs, batch_size=config.batch_size, overwrite=config.overwrite)
    show(f"{outcome.written} written, {outcome.skipped} there already, {len(outcome.failed)} failed: {output}")
    if outcome.failed:
        sys.exit("\n".join(["failed:", *(f"  {reason}" for reason in outcome.failed.values())]))
