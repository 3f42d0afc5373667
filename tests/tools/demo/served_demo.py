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
from uuid import uuid4

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


def functions(address: str) -> dict[str, int]:
    """Return the numbers of the page's functions by the event that calls them."""
    config = requests.get(f"{address}config", timeout=10).json()
    return {target[1]: one["id"] for one in config["dependencies"] for target in one["targets"]}


def ask(address: str, function: int, *files: Any, **more: Any) -> dict[str, Any]:
    """Call a function of the page about a file and return the last answer, or the refusal."""
    session = uuid4().hex
    data = [*files, None] if files else []
    question = {"data": data, "fn_index": function, "session_hash": session} | more
    reply = requests.post(f"{address}gradio_api/queue/join", json=question, timeout=10)
    if reply.status_code != 200:
        return {"success": False, "output": reply.json()}
    with requests.get(f"{address}gradio_api/queue/data?session_hash={session}", stream=True, timeout=60) as stream:
        for line in filter(None, stream.iter_lines()):
            message: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            if message["msg"] == "process_completed":
                return message
    raise AssertionError("no end")
