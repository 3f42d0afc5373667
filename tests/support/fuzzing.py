"""Helpers of the fuzz tests: mutations of bytes, limits on time and memory, and a check that errors are clear."""

import re
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

GIGABYTE = 1 << 30
MOST_LINES, MOST_CHARACTERS = 12, 2500  # of an error; one that lists keys has a few lines

Mutation = Callable[[bytes, np.random.Generator], bytes]


class TooLongError(BaseException):
    """Timeout that no ``except Exception`` in the code under test can swallow."""


@contextmanager
def bounded(*, seconds: float = 10, megabytes: int = 400) -> Iterator[None]:
    """Fail if the block takes longer, or adds more than this to the process's peak of resident memory.

    The limit on the address space protects the machine; an allocation that it refuses would look like a broken file.
    """

    def stop(*_: object) -> None:
        raise TooLongError(f"longer than {seconds} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    former = signal.signal(signal.SIGALRM, stop)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _memory("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + 8 * GIGABYTE, hard))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    added = (_memory("VmHWM") - before) >> 20
    assert added <= megabytes, f"{added} MB more than before, where {megabytes} are allowed"


def _memory(kind: str) -> int:
    """Bytes of this process: resident (VmRSS), address space (VmSize) or the peak of the former (VmHWM)."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) << 10


def clear(error: BaseException, *names: str) -> str:
    """Check that an error is for users (its class, a short message with one of the names); return the message."""
    message = str(error)
    num_lines = len(message.splitlines())
    assert isinstance(error, ValueError | OSError), f"{type(error).__name__} escapes: {message[:500]}"
    assert not isinstance(error, UnicodeError), f"not said in words for users: {error!r}"
    assert 1 <= num_lines <= MOST_LINES, f"{num_lines} lines: {message[:500]}"
    assert len(message) <= MOST_CHARACTERS, f"{len(message)} characters: {message[:500]}"
    assert not re.search(r"[Mm]emory(?!_gb)|alloc|Traceback|object at 0x|\x1b", message), message
    assert any(name in message for name in names), f"names none of {names}: {message}"
    return message


class Tally(Counter[str]):
    """Number of inputs by their outcome."""

    def check(self, what: str, capsys: pytest.CaptureFixture[str], *, least: int, of_each: int) -> None:
        """Print the tally and check the numbers of inputs and of each outcome; skip if only some tests were run."""
        with capsys.disabled():
            sys.stdout.write(f"\n{what}: {self}\n")
        if self.total() < least:
            pytest.skip("not all of the cases were run")
        assert min(self.values()) >= of_each

    def __str__(self) -> str:
        parts = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.items()))
        return f"{self.total():,} inputs: {parts}"


def _flip(content: bytes, rng: np.random.Generator, number: int, end: int | None = None) -> bytes:
    changed = bytearray(content)
    for bit in rng.integers(0, 8 * len(content[:end]), number).tolist():
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _splice(content: bytes, rng: np.random.Generator, change: Callable[[bytes], bytes]) -> bytes:
    start = int(rng.integers(0, max(1, len(content) - 16)))
    return content[:start] + change(content[start : start + 16]) + content[start + 16 :]


MUTATIONS: dict[str, Mutation] = {
    "cut": lambda content, rng: content[: rng.integers(0, len(content))],
    "one-bit": lambda content, rng: _flip(content, rng, 1),
    "sixteen-bits": lambda content, rng: _flip(content, rng, 16),
    "bits-of-the-header": lambda content, rng: _flip(content, rng, 3, end=64),
    "zeros": lambda content, rng: _splice(content, rng, lambda part: bytes(len(part))),
    "noise": lambda content, rng: _splice(content, rng, lambda part: rng.bytes(len(part))),
    "bytes-lost": lambda content, rng: _splice(content, rng, lambda part: b""),
    "bytes-twice": lambda content, rng: _splice(content, rng, lambda part: part * 2),
    "a-tail": lambda content, rng: content + rng.bytes(100),
}


def mutations(num_seeds: int) -> dict[str, Callable[[bytes], bytes]]:
    """Every mutation with several seeds, by its name."""
    return {
        f"{name} {seed}": lambda content, name=name, seed=seed: MUTATIONS[name](
            content, np.random.default_rng([seed, *name.encode()])
        )
        for name in MUTATIONS
        for seed in range(num_seeds)
    }
