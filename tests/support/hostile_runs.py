"""A run whose files may hold anything, and the two ways to use it: evaluation and resuming."""

import hashlib
import json
import random
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf
from torch.utils.data import Subset

from ipsam.data import Data
from ipsam.engine.evaluate.evaluator import predict
from ipsam.engine.evaluate.report import check_fits
from ipsam.engine.metrics import Protocol
from ipsam.engine.runs.checkpoint import CONFIG, INFO, TRAINING, WEIGHTS, finished_epochs, load_weights
from ipsam.engine.runs.configuration import build_model, compose_experiment, settings_of
from ipsam.engine.runs.model_folder import run_of
from ipsam.engine.runs.provenance import named_sets, warn_of_other_data
from ipsam.engine.runs.reopen import reopen_run
from ipsam.engine.runs.run_folder import check_run
from ipsam.engine.runs.settings import Settings
from ipsam.engine.train.progress import Progress
from ipsam.engine.train.state import RunState
from ipsam.model import Segmenter
from support.defaults import settings_with
from support.hostile_weights import read_weights

CONFIGS = Path(__file__).parents[2] / "configs"
STEP = "step_00000003"
NUM_IMAGES = 4  # of an epoch
SETTINGS = settings_with(keep=2)

Files = dict[str, bytes]  # a checkpoint's, by name


def sealed(files: Files) -> Files:
    """Add fitting checksums, as an attacker would."""
    sums = {name: hashlib.sha256(files[name]).hexdigest() for name in (WEIGHTS, CONFIG, TRAINING) if name in files}
    return files | {INFO: json.dumps({"epoch": 1, "step": 3, "sha256": sums}).encode()}


def lay_down(run: Path, files: Mapping[str, bytes]) -> Path:
    """Write a run with one checkpoint of these files; return the checkpoint's folder."""
    checkpoint = run / "checkpoints" / STEP
    checkpoint.mkdir(parents=True)
    for name, content in files.items():
        (checkpoint / name).write_bytes(content)
    (run / "checkpoints" / "last").symlink_to(STEP)
    (run / CONFIG).write_bytes(files.get(CONFIG, b""))
    return checkpoint


@cache
def whole_config() -> DictConfig:
    """Compose the quickstart at 64 px with few tensors, as each takes time to save and load."""
    overrides = ["data.image_size=64", "data.synthetic.num_test=1", "engine.cpu=true", "run_dir=run"]
    overrides += ["model.self_prompt.depth=1", "model.decoder.depth=1", "model.lateral=null", "model.refine=null"]
    return compose_experiment(CONFIGS, "quickstart", overrides)


def whole_run(folder: Path) -> Files:
    """Return the files of a checkpoint after one step of training."""
    config = whole_config()
    model = build_model(config.model)
    run = run_state(model, folder / "run", OmegaConf.to_yaml(config, resolve=True))
    one_step(run)
    run.progress = Progress(epoch=1, batch=2, step=3, best=0.5, history=[{"epoch": 1, "sm": 0.5}])
    run.save()
    checkpoint = run.checkpoints.newest()
    assert checkpoint is not None
    return {path.name: path.read_bytes() for path in checkpoint.iterdir()}


def run_state(model: Segmenter, folder: Path, config: str = "") -> RunState:
    """Make the state of a new run that trains few parameters, as each one's state takes time to load."""
    optimizer = torch.optim.AdamW(list(model.parameters())[:20], lr=1e-3)
    return RunState(model, optimizer, Accelerator(cpu=True), folder=folder, config=config, settings=SETTINGS)


def one_step(run: RunState) -> None:
    """Take an optimiser step with gradients of one."""
    for parameter in run.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    run.optimizer.step()
    run.optimizer.zero_grad()


@cache
def built(section: str) -> Segmenter:
    """Build the model of a section (YAML) once; every user loads its own weights."""
    return build_model(OmegaConf.create(section))


def evaluated(run: Path) -> None:
    """Evaluate as scripts/eval.py does, up to the first prediction; check the weights to the bit."""
    config = OmegaConf.load(CONFIGS / "eval.yaml")
    config.ckpt = str(run)
    checkpoint, run_config, out = reopen_run(config)
    assert run in out.parents
    settings = settings_of(Settings, run_config.engine, "engine")
    test_sets = settings_of(Data, run_config.data, "data").test_sets()
    warn_of_other_data(run_of(checkpoint), named_sets(test_sets))
    model = built(OmegaConf.to_yaml(run_config.model))
    check_fits(model, test_sets, settings)
    load_weights(model, checkpoint)
    finished_epochs(checkpoint)
    assert_holds(model, checkpoint)
    first = Subset(next(iter(test_sets.values())), [0])
    options = {"device": settings.device, "bf16": settings.bf16, "batch_size": 1, "num_workers": 0}
    (predicted,) = predict(model, first, protocol=Protocol(), **options)
    assert predicted.prediction.shape == predicted.mask.shape


def restored(run: Path) -> None:
    """Resume as scripts/train.py does; check the state, and that the next step gives finite weights."""
    config = whole_config().copy()
    config.run_dir, config.resume = str(run), True
    check_run(config)
    state = run_state(built(OmegaConf.to_yaml(config.model, resolve=True)), run)
    state.restore(num_images=NUM_IMAGES)
    checkpoint = state.checkpoints.newest()
    if checkpoint is None:  # the beginning, then
        assert state.progress == Progress()
        return
    assert_holds(state.model, checkpoint)
    saved = torch.load(checkpoint / TRAINING, weights_only=True)
    assert state.progress.model_dump() == saved["progress"]
    moments = state.optimizer.state_dict()["state"]
    for index, of_parameter in saved["optimizer"]["state"].items():
        assert all(torch.equal(moments[index][name], value.float()) for name, value in of_parameter.items())
    drawn = torch.rand(1), np.random.random(), random.random()
    assert all(0 <= number < 1 for number in drawn)
    one_step(state)
    assert all(parameter.isfinite().all() for parameter in state.model.parameters())


def assert_holds(model: Segmenter, checkpoint: Path) -> None:
    """Check that the weights are the file's, read by its specification."""
    own = model.state_dict()
    for name, values in read_weights((checkpoint / WEIGHTS).read_bytes()).items():
        np.testing.assert_array_equal(own[name].numpy(), values.astype(np.float32))
