"""What the fuzz tests share: mutations of bytes, limits on time and memory, and what counts as a clear error."""

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
    """Out of time; no ``except Exception`` in the code under test may swallow it."""


@contextmanager
def bounded(*, seconds: float = 10, megabytes: int = 400) -> Iterator[None]:
    """Fails what takes longer, or adds more than this to the memory of the process.

    Memory is what is really used, at its peak: an allocation that is refused looks like a broken file from outside. The
    limit on the address space is there for the machine's sake.
    """

    def stop(*_: object) -> None:
        raise TooLongError(f"longer than {seconds} s")

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    former = signal.signal(signal.SIGALRM, stop)
    _forget_peak()
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
    """Bytes that this process has now (VmRSS), may have touched (VmSize) or has had at its peak (VmHWM)."""
    found = re.search(rf"^{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.M)
    assert found is not None
    return int(found[1]) << 10


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def clear(error: BaseException, *names: str) -> str:
    """An error's message, if it is one for users: of the right class, short, and with one of the names in it."""
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
    """How many inputs were tried, and to what they came."""

    def check(self, what: str, capsys: pytest.CaptureFixture[str], *, least: int, of_each: int) -> None:
        """Print it; see that so many were tried, unless only some tests of the file were run, and of each outcome."""
        with capsys.disabled():
            sys.stdout.write(f"\n{what}: {self}\n")
        if self.total() < least:
            pytest.skip("not all of the cases were run")
        assert min(self.values()) >= of_each

    def __str__(self) -> str:
        parts = ", ".join(f"{number:,} {kind}" for kind, number in sorted(self.items()))
        return f"{self.total():,} inputs: {parts}"


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(0, len(content))]


def _flip(content: bytes, rng: np.random.Generator, number: int, end: int | None = None) -> bytes:
    changed = bytearray(content)
    for bit in rng.integers(0, 8 * len(content[:end]), number).tolist():
        changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _middle(content: bytes, rng: np.random.Generator) -> tuple[bytes, bytes, bytes]:
    start = int(rng.integers(0, max(1, len(content) - 16)))
    return content[:start], content[start : start + 16], content[start + 16 :]


def _zeros(content: bytes, rng: np.random.Generator) -> bytes:
    before, middle, after = _middle(content, rng)
    return before + bytes(len(middle)) + after


def _noise(content: bytes, rng: np.random.Generator) -> bytes:
    before, middle, after = _middle(content, rng)
    return before + rng.bytes(len(middle)) + after


def _loss(content: bytes, rng: np.random.Generator) -> bytes:
    before, _, after = _middle(content, rng)
    return before + after


def _repeat(content: bytes, rng: np.random.Generator) -> bytes:
    before, middle, after = _middle(content, rng)
    return before + middle + middle + after


MUTATIONS: dict[str, Mutation] = {
    "cut": _cut,
    "one-bit": lambda content, rng: _flip(content, rng, 1),
    "sixteen-bits": lambda content, rng: _flip(content, rng, 16),
    "bits-of-the-header": lambda content, rng: _flip(content, rng, 3, end=64),
    "zeros": _zeros,
    "noise": _noise,
    "bytes-lost": _loss,
    "bytes-twice": _repeat,
    "a-tail": lambda content, rng: content + rng.bytes(100),
}
