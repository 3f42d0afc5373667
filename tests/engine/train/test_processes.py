"""Several processes over gloo train like a single one, share the evaluation, and end together."""

import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import process_worker
from support.process_worker import MODELS, model_of
from support.training import same

from ipsam.engine.evaluate.curve import read_curve
from ipsam.engine.runs.checkpoint import load_training
from ipsam.utils.rng import seed_everything

pytestmark = pytest.mark.slow
WEIGHTS = "checkpoints/last/model.safetensors"

# Processes fork from one that has imported everything, which takes each of them seconds.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["ipsam.engine.train.trainer", "ipsam.model.baselines", "pytest"])  # all that it can find
TORCHRUN = ("-m", "torch.distributed.run")
# 11 steps an epoch; the last of each has 2 images instead of 4.
STRAIGHT = ("num_train=42", "epochs=2", "save_every=7", "keep=9")
Launched = subprocess.CompletedProcess[str]


def started(task: str, folder: Path, *options: str, processes: int = 1) -> dict[BaseProcess, Path]:
    """Start processes by hand, without a launcher; return them with the files of their errors."""
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": free_port(), "WORLD_SIZE": str(processes)}
    common["LOCAL_WORLD_SIZE"] = common["WORLD_SIZE"]
    logs = {}
    for rank in map(str, range(processes)):
        environment = common | {"RANK": rank, "LOCAL_RANK": rank} if processes > 1 else {}
        log = folder.with_name(f"{folder.name}_{rank}.log")
        process = FORKS.Process(target=process_worker.forked, args=([task, str(folder), *options], environment, log))
        process.start()
        logs[process] = log
    return logs


def run(task: str, folder: Path, *options: str, processes: int = 1) -> Launched:
    logs = started(task, folder, *options, processes=processes)
    try:
        for process in logs:
            process.join(600)
    finally:
        for process in logs:
            process.kill()
            process.join()
    return Launched(
        [], max(abs(process.exitcode or 0) for process in logs), "", "".join(map(Path.read_text, logs.values()))
    )


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return str(free.getsockname()[1])


def run_on_two_machines(folder: Path, *options: str) -> list[Launched]:
    """Train by two launchers of one process each, which meet on the loopback network at two addresses."""
    meet = ["--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d", "--rdzv_id", folder.name]
    meet += ["--rdzv_endpoint", f"127.0.0.1:{free_port()}"]
    tasks = [process_worker.__file__, "train", str(folder), *options]
    launched = [
        subprocess.Popen(
            [sys.executable, *TORCHRUN, *meet, "--local_addr", address, *tasks],
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for address in ("127.0.0.1", "127.0.0.2")
    ]
    try:
        errors = [process.communicate(timeout=240)[1] for process in launched]
    finally:
        for process in launched:
            process.kill()
    return [Launched([], process.returncode, "", error) for process, error in zip(launched, errors, strict=True)]


def trained(folder: Path, *options: str, processes: int = 1) -> dict[str, torch.Tensor]:
    done = run("train", folder, *options, processes=processes)
    assert done.returncode == 0, done.stderr
    return load_file(folder / WEIGHTS)


def assert_close(weights: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert weights.keys() == expected.keys()
    for name, tensor in expected.items():
        # A bias on the keys shifts all scores of a query alike: its gradient is rounding noise, which Adam scales up.
        tolerance = 1e-5 if name.endswith("k_proj.bias") else 1e-6
        torch.testing.assert_close(weights[name], tensor, atol=tolerance, rtol=0, msg=name)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with the same four images a step: of one process, and of two on two machines."""
    folder = tmp_path_factory.mktemp("straight")
    trained(folder / "one", *STRAIGHT, "batch_size=4")
    for done in run_on_two_machines(folder / "two", *STRAIGHT, "batch_size=2", "watch_test=1"):
        assert done.returncode == 0, done.stderr
    return folder


def test_two_machines_train_as_one(straight: Path) -> None:
    one, two = (load_file(straight / name / WEIGHTS) for name in ("one", "two"))
    curve = read_curve(straight / "two/eval/curve.csv")
    assert [(epoch, name) for epoch, name, _ in curve] == [(1, "synthetic"), (2, "synthetic")]
    assert load_training(straight / "two/checkpoints/last")["progress"]["step"] == 22
    assert_close(two, one)
    seed_everything(0)
    start = MODELS["lora"]().state_dict()
    assert max((tensor - start[name]).abs().max() for name, tensor in one.items()) > 1e-4


@pytest.mark.parametrize(("begun", "batch_size", "processes"), [("one", 4, 2), ("two", 2, 1)])
def test_resume_with_another_number_of_processes(
    straight: Path, tmp_path: Path, begun: str, batch_size: int, processes: int
) -> None:
    """15 more steps, over the end of an epoch; to the bit where the batches stay as they were."""
    shutil.copytree(straight / begun, tmp_path / "run", symlinks=True)
    for later in (tmp_path / "run/checkpoints").glob("step_000000[12]*"):
        shutil.rmtree(later)
    resumed = trained(tmp_path / "run", *STRAIGHT, f"batch_size={batch_size}", "resume=1", processes=processes)
    expected = load_file(straight / begun / WEIGHTS)
    assert load_training(tmp_path / "run/checkpoints/last")["progress"]["step"] == 22
    assert_close(resumed, expected)
    assert same(resumed, expected) == (begun == "two")


@pytest.mark.parametrize("model", ["unused", "batch norm"])
def test_unused_parameters_and_batch_norm_train(tmp_path: Path, model: str) -> None:
    weights = trained(tmp_path / "run", f"model={model}", "batch_size=10", processes=2)
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
    weights = trained(tmp_path / "run", f"model={experiment}", "batch_size=5", processes=2)
    assert load_training(tmp_path / "run/checkpoints/last")["progress"]["step"] == 4
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
    resumed = trained(tmp_path / "two", *options, "resume=1", processes=2)
    assert same(straight, resumed)


def test_dead_machine_ends_the_others(tmp_path: Path) -> None:
    begun = time.monotonic()
    done, _ = run_on_two_machines(tmp_path, "batch_size=2", "dead=3", "timeout=20")
    assert done.returncode != 0
    assert time.monotonic() - begun < 240
    assert done.stderr.count("error: another process of this run is gone") == 1


@pytest.mark.parametrize("loss", ["kill", "freeze"])
def test_lost_process_ends_the_others(tmp_path: Path, loss: str) -> None:
    """Where no launcher ends them."""
    logs = started("train", tmp_path / "by hand", "batch_size=2", f"{loss}=3", "timeout=5", processes=2)
    first, second = logs
    try:
        first.join(600)
    finally:
        for process in logs:
            process.kill()
            process.join()
    assert (first.exitcode, second.exitcode) == (1, -9)
    message = logs[first].read_text()
    assert "Traceback" not in message
    assert message.count("error: ") == 1
    for words in ("another process of this run is gone", "resume=true", "engine.timeout"):
        assert words in message
