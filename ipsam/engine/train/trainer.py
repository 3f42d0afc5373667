"""The training loop."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader
from tqdm.contrib.logging import logging_redirect_tqdm

from ipsam.data import EpochBatches, EpochSampler, TestSet, TrainSet, collate_train
from ipsam.engine.evaluate.curve import CURVE, add_epoch, read_curve
from ipsam.engine.evaluate.evaluator import evaluate_with
from ipsam.engine.evaluate.panel import panel
from ipsam.engine.metrics import Scores
from ipsam.engine.runs.settings import Settings
from ipsam.engine.runs.store import Store
from ipsam.engine.runs.trackers import TENSORBOARD, Trackers
from ipsam.engine.train.divergence import DivergenceGuard
from ipsam.engine.train.loss_scale import LossScale
from ipsam.engine.train.losses import ipsam_loss
from ipsam.engine.train.memory import num_recomputed, out_of_memory_explained
from ipsam.engine.train.optimizer import SkippableAdamW, parameter_groups
from ipsam.engine.train.profiling import StepProfiler
from ipsam.engine.train.progress import Progress
from ipsam.engine.train.state import RunState
from ipsam.engine.train.telemetry import Telemetry
from ipsam.model import Segmenter
from ipsam.model.activation_checkpointing import recompute_blocks
from ipsam.model.lora import add_lora_by_addmm
from ipsam.utils.device import compile_model, keep_freed_memory, processes
from ipsam.utils.imagenet import normalise
from ipsam.utils.rng import rng_state, set_rng_state
from ipsam.utils.signals import Stop, ignore_signals

logger = logging.getLogger(__name__)


def train(
    model: Segmenter,
    train_set: TrainSet | None,
    val_set: TestSet | None = None,
    *,
    test_sets: Mapping[str, TestSet] | None = None,
    settings: Settings,
    folder: Path,
    config: str,
    seed: int,
    trackers: Trackers | None = None,
    resume: bool = False,
) -> Progress | None:
    """Train a model in place for ``settings.epochs`` epochs. A model without trainable parameters is only saved.

    Layers stay as ``add_lora_by_addmm``, ``recompute_blocks`` and ``compile_model`` change them.

    Args:
        model: parameters that require no gradient stay as they are.
        train_set: augmented pairs; None for a model without trainable parameters.
        val_set: held-out pairs, which choose ``checkpoints/best``.
        test_sets: test sets by name, which ``settings.watch_test`` evaluates; nothing is selected on them.
        settings: the ``engine`` section.
        folder: run folder; receives ``checkpoints`` and ``eval/curve.csv``.
        config: resolved configuration, saved with every checkpoint.
        seed: seed of the order of samples.
        trackers: receive losses, scores, pictures and telemetry; started here. None: none.
        resume: continue from the newest intact checkpoint, if any, to the same result as without interruption. Of
            several processes only the main one reads it.

    Returns:
        The run's progress; None if there was nothing to train.

    Raises:
        ValueError: there is no training set; a checkpoint or ``eval/curve.csv`` cannot be continued; the training
            diverged; or the device's memory ran out.
        StoppedError: the run was asked to stop, and has saved.
        OSError: a checkpoint cannot be written.
    """
    accelerator, trackers = make_accelerator(model, settings), trackers or Trackers((), folder)
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        logger.info("nothing to train: the model is only evaluated")
        trackers.start(0)
        if accelerator.is_main_process:
            Store(folder / "checkpoints").save(0, model, config=config, training={}, best=False)
        return None
    test_sets = test_sets or {}
    num_blocks = check_can_train(model, train_set, test_sets, settings)
    assert train_set is not None
    if settings.watch_test and accelerator.is_main_process:
        read_curve(folder / "eval" / CURVE)  # a damaged one is to be found out now, not after an epoch
    if settings.fast:
        add_lora_by_addmm(model)
    recompute_blocks(model, num_blocks)
    if settings.compile:
        compile_model(model)
    if settings.fast and accelerator.device.type == "cpu":
        keep_freed_memory()
    model.to(accelerator.device)  # before the optimiser's state
    optimizer = SkippableAdamW(
        parameter_groups(model, settings), lr=settings.lr, weight_decay=settings.weight_decay, fused=settings.fused
    )
    scale = LossScale(accelerator.device, enabled=settings.fp16)
    run = RunState(model, optimizer.adamw, accelerator, folder=folder, config=config, settings=settings, scale=scale)
    if resume:
        settings = run.restore(num_images=len(train_set))
    parallel = accelerator.prepare(model)  # gives all processes the main one's weights
    loader, batches = train_loader(train_set, settings, accelerator, seed=seed)
    num_steps = settings.epochs * math.ceil(len(loader) / settings.accumulate)
    if accelerator.is_main_process and (num_warmup := settings.num_warmup(num_steps)) >= num_steps:
        logger.warning(
            "the warm-up of %d steps does not end before the run of %d does: set engine.warmup_share, such as 0.05",
            *(num_warmup, num_steps),
        )
    run.log_schedule(num_steps)
    progress = run.progress
    guard = DivergenceGuard(accelerator, model, stop=settings.on_divergence == "stop", scale=scale)
    trackers.start(progress.step)
    profiler = StepProfiler(settings.profile_steps if accelerator.is_main_process else (), folder / TENSORBOARD)
    telemetry = Telemetry(trackers, accelerator, progress, num_steps, profiler)

    with Stop(settings.timeout) as stop, telemetry.bar, logging_redirect_tqdm():
        for epoch in range(progress.epoch, settings.epochs):
            batches.order.epoch, batches.first = epoch, progress.batch
            parallel.train()
            is_last, output = epoch + 1 == settings.epochs, None
            validates = val_set is not None and (is_last or (epoch + 1) % settings.val_every == 0)
            watches = settings.watch_test and (is_last or (epoch + 1) % settings.watch_test == 0)
            for batch in telemetry.timed(loader):
                lr = settings.lr_at(progress.step, num_steps)
                with out_of_memory_explained(model, settings, num_blocks), accelerator.accumulate(parallel):
                    with torch.autocast(accelerator.device.type, dtype=torch.float16, enabled=settings.fp16):
                        output = parallel(normalise(batch["image"]))
                    losses = ipsam_loss(output, batch["mask"].div(255), settings.loss, settings.terms)
                    weight = loss_weight(progress.batch, batches, settings.accumulate)
                    accelerator.backward(scale.scaled(weight * losses["total"]))
                    guard.record(batch, losses["total"])
                    if accelerator.sync_gradients:
                        scale.unscale(trainable)
                        norm = accelerator.clip_grad_norm_(trainable, settings.clip)
                        skip = guard.check(norm, step=progress.step + 1, batch=progress.batch)
                        optimizer.step_unless(skip, lr=lr)
                progress.batch += 1
                if accelerator.sync_gradients:
                    progress.step += 1
                    telemetry.bar.update()
                    ends, logs = accelerator.gradient_state.end_of_dataloader, progress.step % settings.log_every == 0
                    stops, saves = stop.agreed(accelerator.num_processes), progress.step % settings.save_every == 0
                    if ends or logs or stops or saves:  # otherwise the host does not wait for the device
                        run.check_skipped(guard, train_set)
                    if logs:
                        telemetry.log(losses, norm, lr=lr)
                    if (validates or watches) if ends else stops or saves:  # the end of an epoch saves below
                        run.save()
                        if stops:
                            raise run.stopped(num_steps)

            progress.epoch, progress.batch = epoch + 1, 0
            best, loss = False, None if output is None else losses["total"].item()
            if validates:
                assert val_set is not None
                scores = validate(model, val_set, settings)
                best = progress.add_scores(scores, settings.best)
                trackers.log("val", scores, progress.step)
            if watches:
                for name, of_set in watch(model, test_sets, settings, epoch=epoch + 1, folder=folder).items():
                    trackers.log(f"watch/{name}", of_set, progress.step)
            run.log_epoch(settings.epochs, loss, settings.best if validates else None, telemetry.timing)
            if output is not None and trackers.take_pictures:  # None if resumed after the last step of an epoch
                trackers.picture("panel", panel(batch["image"], batch["mask"].div(255), output), progress.step)
            run.save(best=best)
            if not is_last and stop.agreed(accelerator.num_processes):
                raise run.stopped(num_steps)
    run.finish(settings.best)
    return progress


def check_can_train(
    model: Segmenter, train_set: TrainSet | None, test_sets: Mapping[str, TestSet], settings: Settings
) -> int | None:
    """Check that what is trainable can be trained, before an earlier run is overwritten.

    Returns:
        How many encoder blocks a step must recompute, see ``num_recomputed``.

    Raises:
        ValueError: there is no training set; the model can only be evaluated; ``watch_test`` is set without a test set;
            a parameter group is empty; or a step exceeds ``memory_gb``.
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        return 0
    if not model.can_train:
        raise ValueError(
            f"{type(model).__name__} can only be evaluated: leave everything in model.backbone frozen, or choose "
            "another model._target_"
        )
    if train_set is None:
        raise ValueError("data.train is empty: name at least one set to train on")
    if settings.watch_test and not test_sets:
        raise ValueError(
            f"engine.watch_test={settings.watch_test} evaluates the test sets, and data.test is empty: name a set "
            "in data.test, or set engine.watch_test=0"
        )
    parameter_groups(model, settings)
    return num_recomputed(model, settings)


def make_accelerator(model: Segmenter, settings: Settings) -> Accelerator:
    """Set up devices, processes, bf16 and accumulation. Accelerate's fp16 needs a GPU, so the loop itself casts."""
    processes(cpu=settings.cpu, timeout=settings.timeout)
    return Accelerator(
        cpu=settings.device.type == "cpu",
        mixed_precision="bf16" if settings.bf16 else "no",
        gradient_accumulation_steps=settings.accumulate,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=not model.uses_all_parameters)],
    )


def train_loader(
    train_set: TrainSet, settings: Settings, accelerator: Accelerator, *, seed: int
) -> tuple[DataLoader[Any], EpochBatches]:
    """Make the loader of this process's training batches, on its device, and the sampler that chooses them."""
    share = {"process": accelerator.process_index, "num_processes": accelerator.num_processes}
    batches = EpochBatches(EpochSampler(len(train_set), seed=seed), settings.batch_size, **share)
    is_cuda = settings.device.type == "cuda"
    loader: DataLoader[Any] = DataLoader(
        train_set,
        batch_sampler=batches,
        collate_fn=collate_train if settings.fast else None,
        num_workers=settings.num_workers,
        persistent_workers=settings.num_workers > 0,
        generator=torch.Generator(),  # the global one would be drawn from once more after resuming
        worker_init_fn=ignore_signals,
        pin_memory=is_cuda,
    )
    # The batches are this process's own already.
    own: dict[str, Any] = {"num_processes": 1, "process_index": 0, "put_on_device": True, "non_blocking": is_cuda}
    return prepare_data_loader(loader, accelerator.device, **own), batches


def loss_weight(turn: int, batches: EpochBatches, passes: int) -> float:
    """Return the factor of a forward pass's mean loss with which each image of an optimiser step counts the same.

    It is 1 in complete steps. The last step of an epoch may have fewer passes, fewer images in its last passes, and
    passes without an image that counts.

    Args:
        turn: index of this process's forward pass in its epoch.
        batches: the epoch's.
        passes: forward passes of each process in a step; accelerate divides the loss by them, and the sum of the
            gradients by the number of processes.
    """
    size, number = batches.batch_size, batches.num_processes
    left_at_step = len(batches.order) - size * number * (turn - turn % passes)
    left = len(batches.order) - size * (number * turn + batches.process)
    return passes * number * max(0, min(size, left)) / min(size * number * passes, left_at_step)


def validate(model: Segmenter, val_set: TestSet, settings: Settings) -> dict[str, float]:
    """Score the held-out part."""
    return evaluate_with(model, {"val": val_set}, settings).datasets["val"]


def watch(
    model: Segmenter, test_sets: Mapping[str, TestSet], settings: Settings, *, epoch: int, folder: Path
) -> dict[str, Scores]:
    """Score the test sets after an epoch, and add the scores to the run's curve; random states stay as they are."""
    state = rng_state()
    scores = evaluate_with(model, test_sets, settings).datasets
    set_rng_state(state)
    if PartialState().is_main_process:
        add_epoch(folder / "eval" / CURVE, epoch, scores)
    return scores
