"""One of several processes of test_processes.py: TASK FOLDER [KEY=VALUE ...]."""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch

from ipsam.cli.errors import user_errors
from ipsam.data import Data
from ipsam.engine.evaluate.evaluator import evaluate
from ipsam.engine.runs.configuration import build_model
from ipsam.engine.train import trainer
from ipsam.model import LoRA, Segmenter
from ipsam.model.baselines import MDSAM, SAM, SAM2, HieraAdapter, NullPrompt
from ipsam.utils.rng import seed_everything
from support.builders import micro_model
from support.defaults import data_with, settings_with
from support.experiments import tiny

NUM_TRAIN = 40
MODELS = {
    "lora": lambda: micro_model(lora=LoRA(rank=4)),
    "dropout": lambda: micro_model(lora=LoRA(rank=4, dropout=0.3)),
    "unused": lambda: NullPrompt(
        SAM2("micro", image_size=64, adapter=HieraAdapter(scale_factor=8), train_decoder=True, two_mask_decoder=True),
        zero_mask=False,
    ),
    "batch norm": lambda: MDSAM(SAM("micro", image_size=64)),
}
# Signals by their option; "dead" ends the launcher too, as if the machine were gone.
SIGNALS: dict[str, Callable[[], list[tuple[int, int]]]] = {
    "ask": lambda: [(os.getpid(), signal.SIGTERM)],
    "kill": lambda: [(os.getpid(), signal.SIGKILL)],
    "freeze": lambda: [(os.getpid(), signal.SIGSTOP)],
    "dead": lambda: [(os.getppid(), signal.SIGKILL), (os.getpid(), signal.SIGKILL)],
}


def data(num_test: int, num_train: int = NUM_TRAIN) -> Data:
    return data_with(
        image_size=64,
        root=".",
        train=["synthetic"],
        test=["synthetic"],
        augment={"hflip": 0.5},
        synthetic={"difficulty": [0.0, 0.1], "num_train": num_train, "num_test": num_test},
    )


def model_of(name: str) -> Segmenter:
    """Build one of ``MODELS``, or an experiment with its overrides at tiny size."""
    return MODELS[name]() if name in MODELS else build_model(tiny(*name.split()).model)


def train(
    folder: Path, model: str = "lora", *, num_train: int = NUM_TRAIN, resume: bool = False, **options: Any
) -> None:
    """Train; at the forward pass that ``options`` give for one of ``SIGNALS``, rank 1 alone gets the signal."""
    loss, calls = trainer.ipsam_loss, []
    signals = {options.pop(name): signals for name, signals in SIGNALS.items() if name in options}

    def watched(*arguments: Any) -> dict[str, torch.Tensor]:
        calls.append(1)
        if os.environ.get("RANK") == "1":
            for pid, number in signals.get(len(calls), lambda: [])():
                os.kill(pid, number)
        return loss(*arguments)

    trainer.ipsam_loss = watched
    settings = {"epochs": 1, "batch_size": 4, "lr": 1e-4, "warmup_steps": 2, "num_workers": 0, "log_every": 1} | options
    seed_everything(0)
    trainer.train(
        model_of(model),
        data(2, num_train).train_and_val(0)[0],
        test_sets=data(2).test_sets(),
        settings=settings_with(cpu=True, precision="fp32", **settings),
        folder=folder,
        config="model: {}\n",
        seed=0,
        resume=resume,
    )


def score(folder: Path, *, num_test: int) -> None:
    """Evaluate, save every map, and write the scores where this is the main process."""
    seed_everything(0)
    sets = data(num_test).test_sets()
    model = micro_model().eval()
    evaluation = evaluate(model, sets, device=torch.device("cpu"), batch_size=2, maps=folder / "maps")
    if os.environ.get("RANK", "0") == "0":
        evaluation.write(folder)


def forked(arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Do a task in a process that forked from one with all imports; its errors go to a file."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), sys.stderr.fileno())
    os.environ.update(environment)
    main(arguments)


def main(arguments: Sequence[str]) -> None:
    torch.set_num_threads(1)
    task, folder, *pairs = arguments
    options = dict(pair.split("=", 1) for pair in pairs)
    model = {"model": options.pop("model")} if "model" in options else {}
    with user_errors():
        {"train": train, "score": score}[task](Path(folder), **model, **{k: int(v) for k, v in options.items()})


if __name__ == "__main__":
    main(sys.argv[1:])
