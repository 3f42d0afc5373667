"""Several processes over gloo train like a single one, share the evaluation, and end together."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.process_worker import MODELS, model_of
from support.training import same

from ipsam.engine.evaluate.curve import read_curve
from ipsam.engine.runs.checkpoint import load_training
from ipsam.utils.rng import seed_everything

pytestmark = pytest.mark.slow
WORKER = str(Path(__file__).parents[2] / "support" / "process_worker.py")
WEIGHTS = "checkpoints/last/model.safetensors"


def run(task: str, folder: Path, *options: str, processes: int = 1) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command = [sys.executable, *(launcher if processes > 1 else []), WORKER, task, str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


def trained(folder: Path, *options: str, processes: int = 1) -> dict[str, torch.Tensor]:
    done = run("train", folder, *options, processes=processes)
    assert done.returncode == 0, done.stderr
    return load_file(folder / WEIGHTS)


def test_two_processes_train_as_one(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", "batch_size=4")
    two = trained(tmp_path / "two", "batch_size=2", "watch_test=1", processes=2)
    assert [(epoch, name) for epoch, name, _ in read_curve(tmp_path / "two/eval/curve.csv")] == [(1, "synthetic")]
    assert load_training(tmp_path / "two/checkpoints/last")["progress"]["step"] == 10
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        # A bias on the keys shifts all scores of a query alike: its gradient is rounding noise, which Adam scales up.
        tolerance = 1e-5 if name.endswith("k_proj.bias") else 1e-6
        torch.testing.assert_close(two[name], tensor, atol=tolerance, rtol=0, msg=name)
    seed_everything(0)
    start = MODELS["lora"]().state_dict()
    assert max((tensor - start[name]).abs().max() for name, tensor in one.items()) > 1e-4


@pytest.mark.parametrize("model", ["unused", "batch norm"])
def test_unused_parameters_and_batch_norm_train(tmp_path: Path, model: str) -> None:
    weights = trained(tmp_path, f"model={model}", "batch_size=10", processes=2)
    assert all(tensor.isfinite().all() for tensor in weights.values())


@pytest.mark.parametrize(
    "experiment",
    [
        "ablation/spg +scale=toy",  # fine-tuned, without a reader of the finer levels
        "ablation/default_mask_tokens",
        "ablation/feat_add",
        "baseline/sam2_adapter",
        "cod_ft model.decoder.high_res_features=true model.lateral=null",
        "cod_r32 model.mask_reduction=first",
    ],
)
def test_experiments_train_on_two_processes(tmp_path: Path, experiment: str) -> None:
    """Each trainable parameter gets a gradient, or the model says so: otherwise the second step is an error."""
    seed_everything(0)
    start = model_of(experiment).state_dict()
    weights = trained(tmp_path, f"model={experiment}", "batch_size=5", processes=2)
    assert load_training(tmp_path / "checkpoints/last")["progress"]["step"] == 4
    assert all(tensor.isfinite().all() for tensor in weights.values())
    assert any(not torch.equal(tensor, start[name]) for name, tensor in weights.items())


@pytest.mark.parametrize(("processes", "num_test"), [(3, 7), (2, 1)])
def test_every_image_is_counted_once(tmp_path: Path, processes: int, num_test: int) -> None:
    """With a remainder, and with fewer images than processes."""
    for folder, number in (("one", 1), ("several", processes)):
        done = run("score", tmp_path / folder, f"num_test={num_test}", processes=number)
        assert done.returncode == 0, done.stderr
    for name in ("metrics.json", "per_image.csv"):
        assert (tmp_path / "several" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert len(list((tmp_path / "several/maps/synthetic").iterdir())) == num_test


def test_stop_is_agreed_and_resume_is_bit_exact(tmp_path: Path) -> None:
    """Only one process receives the signal, in the middle of a step; each has its own random generators."""
    options = ("model=dropout", "batch_size=2", "accumulate=1")
    straight = trained(tmp_path / "one", *options, processes=2)
    stopped = run("train", tmp_path / "two", *options, "ask=4", processes=2)
    assert stopped.returncode != 0
    assert "stopped on request at step 4 of 10" in stopped.stderr
    assert load_training(tmp_path / "two/checkpoints/last")["progress"]["step"] == 4
    refused = run("train", tmp_path / "two", *options, "resume=1")
    assert "was saved by 2 processes, not 1: resume with the same number of processes" in refused.stderr
    resumed = trained(tmp_path / "two", *options, "resume=1", processes=2)
    assert same(straight, resumed)


def test_killed_process_ends_the_others(tmp_path: Path) -> None:
    """Under torchrun, and started by hand, where no launcher ends them."""
    begun = time.monotonic()
    done = run("train", tmp_path / "torchrun", "batch_size=2", "kill=3", processes=2)
    assert done.returncode != 0
    assert time.monotonic() - begun < 120

    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    started = [
        subprocess.Popen(
            [sys.executable, WORKER, "train", str(tmp_path / "by hand"), "batch_size=2", "kill=3"],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        _, message = started[0].communicate(timeout=120)
        started[1].communicate(timeout=120)
    finally:
        for process in started:
            process.kill()
    assert [process.returncode for process in started] == [1, -9]
    assert "error: another process of this run is gone" in message
    assert "resume=true" in message
