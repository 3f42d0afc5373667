"""The training loop."""

import logging
import math
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch.utils.data import DataLoader
from tqdm import tqdm

from ipsam.data import EpochSampler, TestSet, TrainSet
from ipsam.engine.checkpoint import load_training, load_weights, put_back, rng_state, save_checkpoint, set_rng_state
from ipsam.engine.evaluator import evaluate
from ipsam.engine.figures import panel
from ipsam.engine.log import Log
from ipsam.engine.losses import LossWeights, ipsam_loss
from ipsam.engine.metrics import LOWER_IS_BETTER
from ipsam.engine.settings import Settings
from ipsam.model import Segmenter

logger = logging.getLogger(__name__)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def train(
    model: Segmenter,
    train_set: TrainSet | None,
    val_set: TestSet | None = None,
    *,
    settings: Settings,
    folder: Path,
    config: str,
    seed: int,
    resume: bool = False,
) -> None:
    """Train a model in place, to ``settings.epochs``; one without anything to train is only saved.

    Args:
        model: what to train; parameters without gradient stay as they are.
        train_set: augmented pairs; None is for models without anything to train.
        val_set: held-out pairs to watch; by them ``checkpoints/best`` is chosen.
        settings: the ``engine`` section.
        folder: the run's; gets ``checkpoints/last``, ``checkpoints/best`` and ``tensorboard``.
        config: the resolved configuration, saved with every checkpoint.
        seed: of the order of samples.
        resume: go on from ``checkpoints/last`` if there is one.

    Raises:
        ValueError: there is something to train, but nothing to train on.
    """
    accelerator = Accelerator(
        cpu=settings.cpu,
        mixed_precision="bf16" if settings.bf16 else "no",
        gradient_accumulation_steps=settings.accumulate,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=not model.uses_all_parameters)],
    )
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        logger.info("nothing to train: the model is evaluated as it is")
        if accelerator.is_main_process:
            save_checkpoint(folder / "checkpoints" / "last", model, config=config, training={})
        return
    if train_set is None:
        raise ValueError("data.train is empty: name at least one set to train on")
    optimizer = torch.optim.AdamW(trainable, lr=settings.lr, weight_decay=settings.weight_decay)
    loader, sampler = train_loader(train_set, settings, seed=seed)
    weights = LossWeights(**settings.loss)
    parallel, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    progress = restore(model, optimizer, folder / "checkpoints" / "last") if resume else new_progress()
    num_steps = settings.epochs * math.ceil(len(loader) / settings.accumulate)
    log = Log(folder / "tensorboard" if accelerator.is_main_process else None, purge_step=progress["step"] + 1)
    bar = progress_bar(num_steps, progress["step"], shown=accelerator.is_main_process)

    for epoch in range(progress["epoch"], settings.epochs):
        sampler.epoch = epoch
        parallel.train()
        for batch in loader:
            lr = settings.lr_at(progress["step"], num_steps)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with accelerator.accumulate(parallel):
                output = parallel(batch["image"])
                losses = ipsam_loss(output, batch["mask"], weights)
                accelerator.backward(losses["total"])
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(trainable, settings.clip)
                optimizer.step()
                optimizer.zero_grad()
            if accelerator.sync_gradients:
                progress["step"] += 1
                bar.update()
                if progress["step"] % settings.log_every == 0:
                    bar.set_postfix(
                        epoch=epoch + 1, loss=f"{losses['total'].item():.4f}", lr=f"{lr:.1e}", refresh=False
                    )
                    log.scalars("loss", losses, progress["step"])
                    log.scalars("optimiser", {"lr": lr}, progress["step"])

        progress["epoch"] = epoch + 1
        is_last = epoch + 1 == settings.epochs
        names = ["last"] if is_last or (epoch + 1) % settings.save_every == 0 else []
        if val_set is not None and (is_last or (epoch + 1) % settings.val_every == 0):
            scores = validate(model, val_set, settings)
            names += ["best"] if update_best(progress, scores, settings.best) else []
            log.scalars("val", scores, progress["step"])
        log.picture("panel", panel(batch["image"], batch["mask"], output), progress["step"])
        if accelerator.is_main_process:
            training = {"optimizer": optimizer.state_dict(), "rng": rng_state(), "progress": progress}
            for name in names:
                save_checkpoint(folder / "checkpoints" / name, model, config=config, training=training)
    bar.close()
    log.close()
    accelerator.end_training()


def train_loader(train_set: TrainSet, settings: Settings, *, seed: int) -> tuple[DataLoader[Any], EpochSampler]:
    """Batches of the training set, and the sampler whose ``epoch`` chooses their order."""
    sampler = EpochSampler(len(train_set), seed=seed)
    loader = DataLoader(
        train_set,
        batch_size=settings.batch_size,
        sampler=sampler,
        num_workers=settings.num_workers,
        persistent_workers=settings.num_workers > 0,
        generator=torch.Generator(),  # the global one would be drawn from once more where a run is resumed
        pin_memory=settings.device.type == "cuda",
    )
    return loader, sampler


def progress_bar(num_steps: int, done: int, *, shown: bool) -> tqdm:
    """Optimiser steps, loss and rate; in a log file, where each update stays, one every ten seconds."""
    interval = 0.2 if sys.stderr.isatty() else 10
    return tqdm(total=num_steps, initial=done, unit="step", disable=not shown, mininterval=interval)


def new_progress() -> dict[str, Any]:
    """How far a run has come: epochs and optimiser steps done, the held-out part's best score and all its scores."""
    return {"epoch": 0, "step": 0, "best": None, "history": []}


def restore(model: Segmenter, optimizer: torch.optim.Optimizer, checkpoint: Path) -> dict[str, Any]:
    """Put everything back as a checkpoint has it, and return the progress; a new one where there is no checkpoint."""
    put_back(checkpoint)
    if not checkpoint.is_dir():
        logger.info("nothing to resume at %s: starting anew", checkpoint)
        return new_progress()
    load_weights(model, checkpoint)
    state = load_training(checkpoint)
    optimizer.load_state_dict(state["optimizer"])
    set_rng_state(state["rng"])
    progress: dict[str, Any] = state["progress"]
    logger.info("resumed from %s after epoch %d", checkpoint, progress["epoch"])
    return progress


def validate(model: Segmenter, val_set: TestSet, settings: Settings) -> dict[str, float]:
    """Scores of the held-out part."""
    evaluation = evaluate(
        model,
        {"val": val_set},
        device=settings.device,
        bf16=settings.bf16,
        batch_size=settings.eval_batch_size,
        num_workers=settings.num_workers,
    )
    return evaluation.datasets["val"]


def update_best(progress: dict[str, Any], scores: dict[str, float], metric: str) -> bool:
    """Note the scores, and whether they are the best so far in ``metric``."""
    progress["history"].append({"epoch": progress["epoch"], **scores})
    sign = -1 if metric in LOWER_IS_BETTER else 1
    if progress["best"] is not None and sign * scores[metric] <= sign * progress["best"]:
        return False
    progress["best"] = scores[metric]
    return True
