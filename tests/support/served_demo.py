"""scripts/demo.py in its own process, with a record of its connections."""

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

OPTIONS = ["none", False, 0.5, "", "", ""]  # of a fresh page
SCRIPT = Path(__file__).parents[2] / "scripts" / "demo.py"

# Python runs this first in the server's process; it records every host that the process looks up or connects to.
AUDIT = """
import os, sys

def record(event, arguments):
    if event == "socket.connect" and arguments[0].family.name.startswith("AF_INET"):
        where = arguments[1][0]
    elif event == "socket.getaddrinfo":
        where = arguments[0]
    else:
        return
    with open(os.environ["CONTACTS"], "a") as file:
        print(where.decode() if isinstance(where, bytes) else where, file=file)

sys.addaudithook(record)
"""


@dataclass(frozen=True)
class Served:
    """A running demo: its address, process, temporary folder, and file of contacted hosts."""

    address: str
    process: subprocess.Popen[str]
    temporary: Path
    contacts: Path


@contextmanager
def serve_demo(model: Path, folder: Path) -> Iterator[Served]:
    """Serve a model on a free port, with all files of the process in a folder."""
    for name in ("temporary", "audit", "elsewhere"):
        (folder / name).mkdir()
    (folder / "audit" / "sitecustomize.py").write_text(AUDIT)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(folder / "audit"), os.environ.get("PYTHONPATH")])),
        "TMPDIR": str(folder / "temporary"),
        "CONTACTS": str(folder / "contacts"),
        "HTTP_PROXY": "http://192.0.2.1:9",  # nobody's, so that using a proxy fails
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
    printed = re.fullmatch(r"IP-SAM: small is served at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", line)
    try:
        assert printed is not None, line + process.stdout.read()
        yield Served(printed[1], process, folder / "temporary", folder / "contacts")
        assert not list((folder / "elsewhere").iterdir())
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def functions(address: str) -> dict[str, int]:
    """Return the page's function numbers by event."""
    config = requests.get(f"{address}config", timeout=10).json()
    return {target[1]: one["id"] for one in config["dependencies"] for target in one["targets"]}


def ask(address: str, function: int, *files: Any, **more: Any) -> dict[str, Any]:
    """Call a page function; return its last message, or the refusal."""
    session = uuid4().hex
    data = [*files, None, *OPTIONS] if files else []
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
