"""Everything that a GPU has to prove, one part after the other; on a CPU its own rehearsal, with a tiny model."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.profiler import profile

from ipsam.tools.benchmark import Report, evaluation, inference, train
from ipsam.tools.benchmark.inputs import EXPERIMENT, model_keys
from ipsam.tools.benchmark.measure import report, side_by_side
from ipsam.tools.benchmark.options import BenchmarkOptions
from ipsam.utils.device import matrix_rate
from ipsam.utils.resources import CONFIGS

TINY: dict[str, Any] = {"variant": "micro", "sizes": (64,), "batches": (1, 2), "repeats": 1, "images": 4}
DEFAULTS = {"cpu": TINY, "cuda": {"sizes": (512, 1024), "batches": (1, 8), "repeats": 3, "images": 200}}
SIDE = {"cpu": (256, 1024), "cuda": (8192, 1 << 28)}  # of the matrices; number of floats that are copied
COMPARED = {"cpu": 64, "cuda": 256}  # pixels of the images whose losses are compared with the CPU's
BOUNDS = {"fp32": 1e-3, "bf16": 5e-2}  # largest relative difference to the CPU's losses in fp32
NUM_STEPS = 4  # that are profiled, after as many that are not
NUM_KERNELS = 10
TIME_LIMIT = 240  # seconds for another process
SYNCHRONISES = "called a synchronizing CUDA operation"  # torch's warning
MARK = "pytest.mark.gpu"


def benchmark(options: BenchmarkOptions) -> Iterator[tuple[str, Report]]:
    """Yield the title and report of each part, the slowest last. A part that fails ends itself only.

    Raises:
        ValueError: some parts failed, at the end.
    """
    failed = []
    for title, part in PARTS.items():
        began = time.monotonic()
        try:
            text, figures = part(options)
        except Exception as error:  # whatever a card does wrong, the other parts are wanted
            failed.append(title)
            reason = f"{type(error).__name__}: {error}"
            text, figures = f"**Failed**: {reason}", {"error": reason}
        seconds = time.monotonic() - began
        yield title, (f"{text}\n\n{seconds:.0f} s", figures | {"seconds": seconds})
    if failed:
        raise ValueError(f"failed on {options.device}: {', '.join(failed)}; the report has the reasons")


def ceilings(options: BenchmarkOptions) -> Report:
    """Measure the rates of a matrix product and of a copy within the device's memory."""
    side, length = SIDE[options.device.type]
    rows: list[dict[str, Any]] = []
    for name in ("bf16", "fp32"):
        rate = matrix_rate(options.device, bf16=name == "bf16", side=side)
        rows.append({"what": f"matrix product, {name}, side {side}", "TFLOP/s": rate / 1e12})
    source = torch.zeros(length, device=options.device)
    target = torch.empty_like(source)
    seconds = side_by_side({"copy": lambda: target.copy_(source)}, repeats=9)["copy"]
    rows.append({"what": "copy, bytes read and written", "GB/s": 2 * source.nbytes / seconds / 1e9})
    return report([rows], _card(options.device), "ipsam", "torch", "sam2", "accelerate", "peft", options=options)


def gpu_tests(options: BenchmarkOptions) -> Report:
    """Run the tests marked ``gpu`` in a process of their own.

    Raises:
        RuntimeError: one failed, or was left out although there is a GPU.
    """
    root = CONFIGS.parent
    files = [str(file) for file in sorted((root / "tests").rglob("test_*.py")) if MARK in file.read_text("utf-8")]
    if not files:
        return report([], "There are no tests here: run this in a clone of the repository.", options=options)
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = ("-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", f"--junitxml={results}", *files)
        output = _python(*command, cwd=root).stdout
        cases = list(ElementTree.parse(results).iter("testcase")) if results.is_file() else []  # noqa: S314 (our own)
    rows = [{"test": case.get("name"), "result": next((child.tag for child in case), "passed")} for case in cases]
    wanted = {"passed"} if options.device.type == "cuda" else {"passed", "skipped"}
    if not rows or any(row["result"] not in wanted for row in rows):
        raise RuntimeError(f"tests marked gpu: {rows}\n{output[-3000:]}")
    return report([rows], "pytest -m gpu", options=options)


def losses(options: BenchmarkOptions) -> Report:
    """Compare the losses of three steps with those of the CPU in fp32.

    Raises:
        RuntimeError: they differ by more than ``BOUNDS``.
    """
    size = COMPARED[options.device.type]
    how = {"warmup_steps": 0, "log_every": 1}
    with tempfile.TemporaryDirectory() as folder:
        on_cpu = train.prepared(replace(options, device=torch.device("cpu")), size, 1, Path(folder))
        expected = [loss for _, loss in on_cpu.ours(train.NUM_COMPARED, **how, precision="fp32")]
        here = train.prepared(options, size, 1, Path(folder))
        rows = []
        for precision, bound in BOUNDS.items():
            found = [loss for _, loss in here.ours(train.NUM_COMPARED, **how, precision=precision)]
            most = max(abs(one - other) / abs(other) for one, other in zip(found, expected, strict=True))
            rows.append({"precision": precision, "largest relative difference": f"{most:.1e}", "bound": f"{bound:.0e}"})
            if not most <= bound:
                raise RuntimeError(f"losses in {precision}: {found}; on the CPU in fp32: {expected}")
    return report([rows], f"{train.NUM_COMPARED} steps at {size} px beside the CPU's in fp32", options=options)


def first_step(options: BenchmarkOptions) -> Report:
    """Measure the seconds from starting ``ipsam train`` to the loss of its first step."""
    size = max(options.sizes)
    with tempfile.TemporaryDirectory() as folder:
        keys = [
            f"experiment={EXPERIMENT}",
            "data=synthetic",
            "model.backbone.checkpoint=null",
            *model_keys(options.variant, size),
        ]
        keys += ["data.synthetic.num_train=1", "data.synthetic.num_test=1", "engine.epochs=1", "engine.log_every=1"]
        keys += [f"run_dir={folder}/run", f"engine.cpu={options.device.type == 'cpu'}".lower()]
        began = time.time()
        _python("-m", "ipsam", "train", *keys, cwd=Path(folder), check=True)
        events = EventAccumulator(f"{folder}/run/tensorboard").Reload().Scalars("loss/total")
    rows = [{"input": size, "seconds to the first loss": events[0].wall_time - began}]
    return report([rows], "ipsam train in a new process, one synthetic image", options=options)


def costs(options: BenchmarkOptions) -> Report:
    """List the kernels that take most of a training step, and every wait for the device in it."""
    size, on_gpu = max(options.sizes), options.device.type == "cuda"
    with tempfile.TemporaryDirectory() as folder:
        task = train.prepared(options, size, 1, Path(folder))
        task.ours(NUM_STEPS, log_every=NUM_STEPS)
        with profile() as profiled:
            task.ours(NUM_STEPS, log_every=NUM_STEPS)
        with _recorded_waits(on_gpu) as waits:
            task.ours(NUM_STEPS, log_every=NUM_STEPS)
    found = [each for each in profiled.key_averages() if not on_gpu or str(each.device_type).endswith("CUDA")]

    def taken(each: Any) -> float:
        return float(each.self_device_time_total if on_gpu else each.self_cpu_time_total)

    total = sum(map(taken, found))
    kernels = [
        {"kernel": each.key[:80], "calls": each.count, "ms": taken(each) / 1000, "share": taken(each) / total}
        for each in sorted(found, key=taken, reverse=True)[:NUM_KERNELS]
    ]
    tables: list[list[dict[str, Any]]] = [kernels]
    if waits:
        tables.append([{"waits for the device at": place, "times": times} for place, times in waits.most_common()])
    notes = f"{NUM_STEPS} steps of training at {size} px with what begins and ends a run; {sum(waits.values())} waits"
    return report(tables, notes, options=options)


def compiled(options: BenchmarkOptions) -> Report:
    """Time training and inference with ``torch.compile``, at the largest size."""
    chosen = replace(options, compile=True, sizes=(max(options.sizes),), batches=(1,), repeats=1)
    (first, of_train), (second, of_inference) = train.benchmark(chosen), inference.benchmark(chosen)
    return f"{first}\n\n{second}", {"train": of_train, "inference": of_inference}


PARTS: dict[str, Callable[[BenchmarkOptions], Report]] = {
    "Ceilings": ceilings,
    "Tests": gpu_tests,
    "Losses": losses,
    "Training": lambda options: train.benchmark(replace(options, batches=(1,))),
    "Inference": inference.benchmark,
    "Evaluation": lambda options: evaluation.benchmark(
        replace(options, sizes=(max(options.sizes),), batches=(max(options.batches),), repeats=1)
    ),
    "First step": first_step,
    "Costs of a step": costs,
    "Compiled": compiled,
}


def _python(*arguments: str, cwd: Path, check: bool = False) -> "subprocess.CompletedProcess[str]":
    """Run Python with this package, in another process.

    Raises:
        RuntimeError: it failed and ``check`` is set, or took too long.
    """
    path = os.pathsep.join([str(CONFIGS.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    try:
        done = subprocess.run(  # noqa: S603 (this Python)
            [sys.executable, *arguments],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{' '.join(arguments)} took more than {TIME_LIMIT} s") from error
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done


@contextlib.contextmanager
def _recorded_waits(on_gpu: bool) -> Iterator[Counter[str]]:
    """Record the lines that make the host wait for the device, as torch warns of them."""
    found: Counter[str] = Counter()
    if not on_gpu:
        yield found
        return
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    lines = [(Path(each.filename), each.lineno) for each in warned if SYNCHRONISES in str(each.message)]
    found.update(f"{'/'.join(path.parts[-3:])}:{number}" for path, number in lines)


def _card(device: torch.device) -> str:
    """Describe the card and its driver."""
    if device.type != "cuda":
        return "A rehearsal on the CPU with a tiny model: its figures say nothing about a GPU."
    card, driver = torch.cuda.get_device_properties(device), "unknown"
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=30)  # noqa: S603 (a fixed command)
        driver = found.stdout.partition("\n")[0]
    memory, capability = card.total_memory / 2**30, f"{card.major}.{card.minor}"
    return f"{card.name}, {memory:.0f} GB, capability {capability}, driver {driver}."
