"""Predict masks for your own images and videos."""

import sys
from pathlib import Path

from omegaconf import DictConfig

from ipsam.engine.inference import coco
from ipsam.engine.inference.base import check_batch_size
from ipsam.engine.inference.files import Outcome, predict_files
from ipsam.engine.inference.jobs import find_jobs
from ipsam.engine.inference.loading import DEFAULT_MODEL, load
from ipsam.engine.inference.options import PredictionOptions
from ipsam.engine.inference.record import LOCK, claim, maker_of
from ipsam.engine.runs.configuration import given, plain
from ipsam.utils.console import show
from ipsam.utils.folders import writable_folder
from ipsam.utils.shards import WHOLE, Shard, gather, ranks


def main(config: DictConfig) -> None:
    """Find the files, load the model, predict and print a summary."""
    source, output = given(config, "input"), Path(given(config, "output"))
    kinds, shard = plain(config.save), Shard.parse(config.shard)
    jobs = find_jobs(source, output, kinds)
    check_batch_size(config.batch_size)
    writable_folder(output, "output")
    how = {name: config[name] for name in ("device", "precision", "base", "fast", "compile")}
    how |= {name: config[name] for name in PredictionOptions.model_fields}
    ckpt = config.ckpt or DEFAULT_MODEL
    rank = ranks(cpu=config.device == "cpu")
    predictor = load(ckpt, **how)
    maker = maker_of(predictor, ckpt)
    claim(output, {kind: [job.targets[kind] for job in jobs] for kind in kinds}, maker, overwrite=config.overwrite)
    own = rank.of(shard.of(jobs, config.batch_size), config.batch_size)
    outcome = predict_files(predictor, own, batch_size=config.batch_size, overwrite=config.overwrite)
    outcome = Outcome.united(gather(outcome, rank))  # no process ends before the last has, even if one has failed files
    if rank.index:
        return
    counts = f"{outcome.written} written, {outcome.skipped} there already, {len(outcome.failed)} failed: {output}"
    show(counts if shard == WHOLE else f"shard {shard} of {len(jobs)} files: {counts}")
    for kind in filter(kinds.__contains__, coco.KINDS):
        show(f"united: {coco.unite(output, kind, output / LOCK)}")
    if outcome.failed:
        sys.exit("\n".join(["failed:", *(f"  {reason}" for reason in outcome.failed.values())]))
