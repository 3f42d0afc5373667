"""The training loop."""

import logging
import math
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs, skip_first_batches
from torch.utils.data import DataLoader
from tqdm import tqdm

from ipsam.data import EpochSampler, TestSet, TrainSet, collate_train
from ipsam.engine.evaluate.evaluator import evaluate
from ipsam.engine.evaluate.panel import panel
from ipsam.engine.runs.settings import Settings
from ipsam.engine.runs.store import Store
from ipsam.engine.runs.tensorboard import Log
from ipsam.engine.train.divergence import Guard
from ipsam.engine.train.losses import ipsam_loss
from ipsam.engine.train.memory import save_memory
from ipsam.engine.train.optimizer import SkippableAdamW
from ipsam.engine.train.state import RunState
from ipsam.model import Segmenter
from ipsam.model.lora import add_lora_by_addmm
from ipsam.utils.device import compile_model
from ipsam.utils.imagenet import normalise
from ipsam.utils.signals import Stop, ignore_signals

logger = logging.getLogger(__name__)


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
) -> int | None:
    """Train a model in place, to ``settings.epochs``; one without anything to train is only saved.

    Its layers keep what ``settings`` has made of them: ``add_lora_by_addmm``, ``recompute_blocks``, ``compile_model``.

    Args:
        model: what to train; parameters without gradient stay as they are.
        train_set: augmented pairs; None is for models without anything to train.
        val_set: held-out pairs to watch; by them ``checkpoints/best`` is chosen.
        settings: the ``engine`` section.
        folder: the run's; gets ``checkpoints`` and ``tensorboard``.
        config: the resolved configuration, saved with every checkpoint.
        seed: of the order of samples.
        resume: go on from the newest whole checkpoint if there is one, to the same result as without interruption.

    Returns:
        The number of epochs that the model is trained for now; None if there was nothing to train.

    Raises:
        ValueError: there is something to train, but nothing to train on; a checkpoint can't be gone on from; or the
            training diverged.
        StoppedError: the run was asked to stop, and has saved.
        OSError: a checkpoint can't be written.
    """
    accelerator = make_accelerator(model, settings)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        logger.info("nothing to train: the model is evaluated as it is")
        if accelerator.is_main_process:
            Store(folder / "checkpoints").save(0, model, config=config, training={}, best=False)
        return None
    check_can_train(model, train_set)
    assert train_set is not None
    if settings.fast:
        add_lora_by_addmm(model)
    save_memory(model, settings)
    if settings.compile:
        compile_model(model)
    optimizer = SkippableAdamW(trainable, lr=settings.lr, weight_decay=settings.weight_decay, fused=settings.fused)
    loader, sampler = train_loader(train_set, settings, seed=seed)
    weights = settings.loss
    parallel, loader = accelerator.prepare(model, loader)
    num_steps = settings.epochs * math.ceil(len(loader) / settings.accumulate)
    run = RunState(model, optimizer.adamw, accelerator, folder=folder, config=config, keep=settings.keep)
    if resume:
        run.restore(num_batches=len(loader))
    progress, guard = run.progress, Guard(accelerator, model, stop=settings.on_divergence == "stop")
    log = Log(folder / "tensorboard" if accelerator.is_main_process else None, purge_step=progress.step + 1)
    bar = progress_bar(num_steps, progress.step, shown=accelerator.is_main_process)

    with Stop() as stop:
        for epoch in range(progress.epoch, settings.epochs):
            sampler.epoch = epoch
            parallel.train()
            is_last, output = epoch + 1 == settings.epochs, None
            validates = val_set is not None and (is_last or (epoch + 1) % settings.val_every == 0)
            for batch in skip_first_batches(loader, progress.batch) if progress.batch else loader:
                lr = settings.lr_at(progress.step, num_steps)
                with accelerator.accumulate(parallel):
                    output = parallel(normalise(batch["image"]))
                    losses = ipsam_loss(output, batch["mask"].div(255), weights)
                    accelerator.backward(losses["total"])
                    guard.see(batch, losses["total"])
                    if accelerator.sync_gradients:
                        norm = accelerator.clip_grad_norm_(trainable, settings.clip)
                        bad = guard.judge(norm, step=progress.step + 1, batch=progress.batch)
                        optimizer.step_unless(bad, lr=lr)
                progress.batch += 1
                if accelerator.sync_gradients:
                    progress.step += 1
                    bar.update()
                    ends, logs = accelerator.gradient_state.end_of_dataloader, progress.step % settings.log_every == 0
                    stops, saves = stop.agreed(accelerator.num_processes), progress.step % settings.save_every == 0
                    if ends or logs or stops or saves:  # else the device is not asked for anything
                        run.heed(guard, train_set)
                    if logs:
                        total = f"{losses['total'].item():.4f}"
                        bar.set_postfix(epoch=epoch + 1, loss=total, lr=f"{lr:.1e}", refresh=False)
                        log.scalars("loss", losses, progress.step)
                        log.scalars("optimiser", {"lr": lr, "skipped": progress.skipped}, progress.step)
                    if validates if ends else stops or saves:  # else what follows the epoch saves at once
                        run.save()
                        if stops:
                            raise run.stopped(num_steps)

            progress.epoch, progress.batch = epoch + 1, 0
            best = False
            if validates:
                assert val_set is not None
                scores = validate(model, val_set, settings)
                best = progress.is_best(scores, settings.best)
                log.scalars("val", scores, progress.step)
            if output is not None:  # resumed after the last step of an epoch, there is none
                log.picture("panel", panel(batch["image"], batch["mask"].div(255), output), progress.step)
            run.save(best=best)
            if not is_last and stop.agreed(accelerator.num_processes):
                raise run.stopped(num_steps)
    bar.close()
    log.close()
    return progress.epoch


def check_can_train(model: Segmenter, train_set: TrainSet | None) -> None:
    """Complain before any work is done, if there is something to train that can't be.

    Raises:
        ValueError: there is nothing to train on, or the model is for evaluation only.
    """
    if any(parameter.requires_grad for parameter in model.parameters()):
        if not model.can_train:
            raise ValueError(
                f"{type(model).__name__} is evaluated only: leave everything in model.backbone frozen, or take another "
                "model._target_ to train it"
            )
        if train_set is None:
            raise ValueError("data.train is empty: name at least one set to train on")


def make_accelerator(model: Segmenter, settings: Settings) -> Accelerator:
    """Devices, processes, precision and accumulation."""
    return Accelerator(
        cpu=settings.cpu,
        mixed_precision="bf16" if settings.bf16 else "no",
        gradient_accumulation_steps=settings.accumulate,
        dataloader_config=DataLoaderConfiguration(non_blocking=settings.device.type == "cuda"),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=not model.uses_all_parameters)],
    )


def train_loader(train_set: TrainSet, settings: Settings, *, seed: int) -> tuple[DataLoader[Any], EpochSampler]:
    """Batches of the training set, and the sampler whose ``epoch`` chooses their order."""
    sampler = EpochSampler(len(train_set), seed=seed)
    loader = DataLoader(
        train_set,
        batch_size=settings.batch_size,
        sampler=sampler,
        collate_fn=collate_train if settings.fast else None,
        num_workers=settings.num_workers,
        persistent_workers=settings.num_workers > 0,
        generator=torch.Generator(),  # the global one would be drawn from once more where a run is resumed
        worker_init_fn=ignore_signals,
        pin_memory=settings.device.type == "cuda",
    )
    return loader, sampler


def progress_bar(num_steps: int, done: int, *, shown: bool) -> tqdm:
    """Optimiser steps, loss and rate; in a log file, where each update stays, one every ten seconds."""
    interval = 0.2 if sys.stderr.isatty() else 10
    return tqdm(total=num_steps, initial=done, unit="step", disable=not shown, mininterval=interval)


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
