"""A run's folder: locked by one training at a time, checked before any work, and opened with its provenance."""

import json
import logging
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ipsam.engine.runs.checkpoint import CONFIG, begun_epochs
from ipsam.engine.runs.configuration import as_dict, flat, read_config
from ipsam.engine.runs.provenance import DATA_FILE, environment, record_data
from ipsam.engine.runs.store import Store
from ipsam.utils.console import Formatter
from ipsam.utils.device import processes
from ipsam.utils.files import mode_of, write_text
from ipsam.utils.folders import check_stays_inside, missing, remove_empty
from ipsam.utils.lock import SOFT, hold, holder
from ipsam.utils.processes import from_main
from ipsam.utils.signals import cleaned_up

if TYPE_CHECKING:
    from ipsam.data import TestSet, TrainSet
else:
    TestSet = TrainSet = Any  # torchvision takes a second, which prediction need not wait for

OWN_FOLDERS = ("checkpoints", "diverged", "tensorboard", "trackers", "eval")
FIGURES = "figures"  # a folder of the run, too
DATA_ROOT = "data"  # as in configs/paths/default.yaml
ENVIRONMENT, LOG, LOCK = "environment.jsonl", "train.log", ".lock"
FREE_ON_RESUME = (
    *("resume", "overwrite", "plan", "allow_change", "run_dir", "paper", "paths", "plugins"),
    *("data.root", "data.cache", "data.test"),
    # Another path of the pretrained weights is fine: their sha256 is checked.
    *("model.backbone.checkpoint", "model.detector.checkpoint"),
    "model.backbone.pretrained",  # a resumed run has its weights in the checkpoint
    *("engine.num_workers", "engine.num_threads", "engine.eval_batch_size", "engine.references"),
    *("engine.log_every", "engine.val_every", "engine.watch_test", "engine.save_every", "engine.keep"),
    *("engine.trackers", "engine.profile_steps"),
    *("engine.activation_checkpointing", "engine.memory_gb", "engine.on_divergence", "engine.timeout"),
)
EPOCHS = "engine.epochs"  # may grow on resuming
# Settings of training that cannot change: an epoch's steps, the best score, and the order of the optimiser's state.
FIXED = ("engine.batch_size", "engine.accumulate", "engine.best", "engine.groups", "engine.decay_all")
# Settings that older runs lack, with the value that reproduces those runs (engine.fast: but for rounding).
ADDED: dict[str, Any] = {
    "init": None,
    "init_strict": True,
    "engine.fast": True,
    "engine.compile": False,
    "engine.schedule": "cosine",
    "engine.warmup_share": None,
    "engine.decay_all": True,
    "engine.groups": [],
    "engine.terms.bce": 1.0,
    "engine.terms.iou": 1.0,
    "engine.terms.l1": 1.0,
    "engine.terms.dice": 0.0,
    "data.letterbox": False,
    "data.scaled_decode": False,
    "data.augment.camouflage": 0.0,
    "model.gating.context": "positive",
    "model.gating.padding_mode": "zeros",
    "model.backbone.min_max": False,
    "model.backbone.two_mask_decoder": False,
    "model.static_filter": False,
    "model.own_gates": False,
    "model.backbone.no_mem_embed": False,
    "model.decoder.high_res_features": False,
    "model.decoder_weights": None,
    "model.detach_coarse": False,
}

logger = logging.getLogger(__name__)


@contextmanager
def begin_run(config: DictConfig) -> Iterator[None]:
    """Join the run's processes, lock its folder, check the run, and log to ``train.log`` in the folder as well.

    The main process does this for all, and errors are raised in all. The others log only warnings, to the console.
    """
    folder, root = Path(config.run_dir), logging.getLogger()
    state = processes(cpu=config.engine.cpu, timeout=config.engine.timeout)
    with cleaned_up(), ExitStack() as stack:

        def begin() -> None:
            stack.enter_context(lock_folder(folder))
            check_run(config)

        from_main(begin)
        if state.is_main_process:
            handler = stack.enter_context(closing(logging.FileHandler(folder / LOG, encoding="utf-8")))
            handler.setFormatter(Formatter("[%(asctime)s][%(name)s][%(levelname)s] - %(message)s"))
            root.addHandler(handler)
            stack.callback(root.removeHandler, handler)
        else:
            stack.callback(root.setLevel, root.level)
            root.setLevel(logging.WARNING)
        yield


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a run's folder and hold its lock; on an error remove what was made, unless the run has left something.

    Raises:
        ValueError: another process holds it; or the lock file is a link that leads out of the folder.
        OSError: the lock file cannot be written.
    """
    check_stays_inside(folder, (LOCK, LOCK + SOFT))
    made = missing(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stack.push(lambda error, *_: remove_empty(made) if error else None)
        try:
            stack.enter_context(hold(folder / LOCK, wait=False))
        except Timeout as busy:
            raise ValueError(
                f"{folder} is in use by {holder(Path(busy.lock_file))}: wait until it ends, stop it, "
                "or name another folder with run_dir=..."
            ) from busy
        before = {path.name for path in folder.iterdir()}
        try:
            yield
        except BaseException:
            if not any((folder / name).exists() for name in OWN_FOLDERS):
                for name in {LOG, CONFIG, DATA_FILE, ENVIRONMENT} - before:
                    (folder / name).unlink(missing_ok=True)
            raise


def check_run(config: DictConfig) -> None:
    """Check before any work that a run can begin in its folder.

    Raises:
        ValueError: the folder holds a run and neither ``resume`` nor ``overwrite`` is set, or both are; a run would be
            resumed with settings changed that ``allow_change`` does not name, or with fewer epochs than it has begun;
            the seed is not a whole number from 0; or an entry of the folder is a link that leads out of it.
    """
    if not isinstance(config.seed, int) or config.seed < 0:
        raise ValueError(f"seed must be a whole number, 0 or above, not {config.seed!r}")
    if config.resume and config.overwrite:
        raise ValueError("resume=true continues a run, overwrite=true discards it: set one of them")
    folder = Path(config.run_dir)
    check_stays_inside(folder, (*OWN_FOLDERS, CONFIG, DATA_FILE, ENVIRONMENT, LOG))
    if config.overwrite or not mode_of(folder / "checkpoints"):
        return
    if not config.resume:
        raise ValueError(
            f"{folder} already holds a run: continue it with resume=true, replace it with overwrite=true, "
            "or name another folder with run_dir=..."
        )
    _check_unchanged(as_dict(read_config(folder / CONFIG)), as_dict(config), folder)
    begun = max(map(begun_epochs, Store(folder / "checkpoints").all()), default=0)
    if isinstance(config.engine.epochs, int) and config.engine.epochs < begun:
        raise ValueError(
            f"engine.epochs={config.engine.epochs} is fewer than the {begun} that the run in {folder} has begun: set "
            f"engine.epochs={begun} or more"
        )


def open_run(
    config: DictConfig,
    model: nn.Module,
    sets: Mapping[str, TrainSet | TestSet] | None = None,
    *,
    init: Mapping[str, Any] | None = None,
) -> tuple[Path, str]:
    """Make the run's folder, or empty it with ``overwrite``, and record what is needed to repeat the run.

    ``config.yaml`` is the whole configuration, ``data.json`` the fingerprints of the datasets, and
    ``environment.jsonl`` gets a line each time the run begins or resumes. Of several processes only the main one
    writes; the others wait for it.

    Args:
        sets: the run's datasets, see ``named_sets``.
        init: where the model's weights come from, see ``start_from``; None if they are the model's own, or resumed.

    Returns:
        The folder, and the resolved configuration as YAML.
    """
    folder = Path(config.run_dir)
    resolved = OmegaConf.to_yaml(config, resolve=True)
    state = processes(cpu=config.engine.cpu)
    if state.is_main_process:
        if config.overwrite:
            _discard(folder)
        if not (folder / "checkpoints").exists():  # a run killed before its first checkpoint starts over
            (folder / DATA_FILE).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / CONFIG).is_file() or (folder / CONFIG).read_text(encoding="utf-8") != resolved:
            write_text(folder / CONFIG, resolved)
        with (folder / ENVIRONMENT).open("a", encoding="utf-8") as file:
            file.write(json.dumps(environment(config.seed, model) | ({"init": init} if init else {})) + "\n")
        record_data(folder, sets or {})
        logger.info("run folder: %s", folder)
    state.wait_for_everyone()
    return folder, resolved


def _discard(folder: Path) -> None:
    """Remove an earlier run's folders; rename each first, so that an interruption leaves no half of a run."""
    for name in OWN_FOLDERS:
        old = folder / f".old-{name}"
        for path in (old, folder / name):
            if path.exists():
                path.replace(old)
                shutil.rmtree(old)


def _check_unchanged(saved: dict[str, Any], current: dict[str, Any], folder: Path) -> None:
    before, now = dict(flat(saved)), dict(flat(current))
    new = {key for key, value in ADDED.items() if key not in before and now.get(key) == value}
    changed = {
        key: f"{key:.99}: {before.get(key)!s:.99} -> {now.get(key)!s:.99}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not key.startswith(FREE_ON_RESUME) and key not in new
    }
    allowed = {str(key) for key in current.get("allow_change", [])}
    if wrong := sorted(key for key in allowed if key not in now or not _may_change(key)):
        able = ", ".join(key for key in now if _may_change(key) and not key.startswith(FREE_ON_RESUME))
        raise ValueError(f"allow_change=[{','.join(wrong):.99}]: only these can change in a run: {able}")
    if _is_more(now.get(EPOCHS), before.get(EPOCHS)):
        allowed.add(EPOCHS)
    if refused := [text for key, text in changed.items() if key not in allowed]:
        able = ",".join(key for key in changed if _may_change(key) and key in now)
        also = f"allow the change with allow_change=[{able}], " if able else ""
        others = f"; and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise ValueError(
            f"{folder} was begun with other settings ({'; '.join(refused[:5])}{others}): resume with the same, {also}"
            "or begin another run in a folder of its own, run_dir=..."
        )
    for text in changed.values():
        logger.warning("resuming with another setting, %s", text)


def _may_change(key: str) -> bool:
    """Return whether a setting can change in a run: those of training, but for ``FIXED``."""
    return key.startswith("engine.") and key not in FIXED


def _is_more(now: Any, before: Any) -> bool:
    return isinstance(now, int) and isinstance(before, int) and now > before
