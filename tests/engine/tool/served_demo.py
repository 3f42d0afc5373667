"""scripts/demo.py in a process of its own, watched."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

SCRIPT = Path(__file__).parents[3] / "scripts" / "demo.py"

# Python runs this in the server's process before anything else: it notes whom that process asks for, or connects to.
WATCH = """
import os, sys

def note(event, arguments):
    if event == "socket.connect" and arguments[0].family.name.startswith("AF_INET"):
        where = arguments[1][0]
    elif event == "socket.getaddrinfo":
        where = arguments[0]
    else:
        return
    with open(os.environ["WATCHED"], "a") as file:
        print(where.decode() if isinstance(where, bytes) else where, file=file)

sys.addaudithook(note)
"""


@dataclass(frozen=True)
class Served:
    """A demo that runs: its address, its process, where it keeps temporary files, whom it has contacted."""

    address: str
    process: subprocess.Popen[str]
    temporary: Path
    watched: Path


@contextmanager
def serve_demo(model: Path, folder: Path) -> Iterator[Served]:
    """Serve a model at any free port, with all that the process writes below a folder."""
    for name in ("temporary", "watch", "elsewhere"):
        (folder / name).mkdir()
    (folder / "watch" / "sitecustomize.py").write_text(WATCH)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "watch"), os.environ.get("PYTHONPATH")])),
        "TMPDIR": str(folder / "temporary"),
        "WATCHED": str(folder / "watched"),
        "HTTP_PROXY": "http://192.0.2.1:9",  # nobody's: who asks a proxy waits in vain
    }
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), f"ckpt={model}", "port=0", "device=cpu"],
        cwd=folder / "elsewhere",
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    told = re.fullmatch(r"IP-SAM: small is served at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
    try:
        assert told is not None, line + process.stdout.read()
        yield Served(told[1], process, folder / "temporary", folder / "watched")
        assert not list((folder / "elsewhere").iterdir())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(address: str, function: int, file: Path) -> dict[str, Any]:
    """What the server says at the end to a program that asks for a prediction of a file on its disk."""
    data = [{"path": str(file), "meta": {"_type": "gradio.FileData"}}, None]
    question = {"data": data, "fn_index": function, "session_hash": file.stem}
    requests.post(f"{address}gradio_api/queue/join", json=question, timeout=10).raise_for_status()
    with requests.get(f"{address}gradio_api/queue/data?session_hash={file.stem}", stream=True, timeout=60) as stream:
        for line in filter(None, stream.iter_lines()):
            message: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            if message["msg"] == "process_completed":
                return message
    raise AssertionError("no end")
