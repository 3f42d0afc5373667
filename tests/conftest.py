"""Fixtures that all tests share."""

import os
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from support.builders import micro_backbone, save_official_format

# Files that take longest, begun first: one begun last would leave the other worker idle.
LONGEST = ("test_chaos.py", "test_killed_runs.py", "test_processes.py", "test_every_experiment.py", "test_full_size.py")

pytest_plugins = ["support.browser", "support.fixtures", "support.map_files", "support.small_run"]

# Micro models are too small to share between threads: on two busy cores, a second thread makes the tests seven times
# slower. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, alone or in any order."""
    torch.manual_seed(0)


@pytest.fixture
def openvino() -> None:
    """Skip without OpenVINO; keep absl, which it imports, from holding pytest's stderr: Hydra would close it."""
    pytest.importorskip("openvino")
    from absl import logging

    logging.get_absl_handler().python_handler.stream = sys.__stderr__


@pytest.fixture
def micro_checkpoint(tmp_path: Path) -> Path:
    """Random weights of the micro backbone (64 px) in a file like SAM2's."""
    return save_official_format(tmp_path / "random_micro.pt", micro_backbone())


@pytest.fixture
def server() -> Iterator[Any]:
    """Starts a server on the loopback that answers as it is told; gives its address."""
    running: list[ThreadingHTTPServer] = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        handler.log_message = lambda *_: None  # type: ignore[method-assign]
        running.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
        Thread(target=running[-1].serve_forever, args=(0.01,), daemon=True).start()  # asks so often whether to end
        return f"http://127.0.0.1:{running[-1].server_port}"

    yield start
    for one in running:
        one.shutdown()
        one.server_close()
