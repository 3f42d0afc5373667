"""Shares of a list: of machines that run a command each, and of the processes of a launcher such as torchrun."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
PATIENCE = 7 * 86_400  # seconds that a process waits for the others, one of which may have all the long videos


@dataclass(frozen=True)
class Shard:
    """Share ``index``, counted from 0, of ``count``."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        """Return the share as on the command line, counted from 1: ``3/16``."""
        return f"{self.index + 1}/{self.count}"

    @classmethod
    def parse(cls, text: object) -> "Shard":
        """Read a share such as ``3/16``; None is the whole.

        Raises:
            ValueError: it is not a share.
        """
        if text is None:
            return WHOLE
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", str(text))
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"shard must be a share such as 3/16, from 1/16 to 16/16, not {text!r:.99}")
        return cls(int(found[1]) - 1, int(found[2]))

    def of(self, items: Sequence[T], batch_size: int = 1) -> Sequence[T]:
        """Return every ``count``-th batch of a list, so that a batch holds what it holds without shards.

        Together the shares hold each item once; one may be empty.
        """
        if self == WHOLE:
            return items
        return [item for number, item in enumerate(items) if number // batch_size % self.count == self.index]


WHOLE = Shard()


def ranks(*, cpu: bool) -> Shard:
    """Join the processes that a launcher started, if any, and return this one's share."""
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return WHOLE
    from ipsam.utils.device import processes  # imports torch, which scoring does not need

    state = processes(cpu=cpu, timeout=PATIENCE)
    return Shard(state.process_index, state.num_processes)


def gather(one: T, share: Shard) -> list[T]:
    """Return what each process of ``ranks`` passes, in their order."""
    if share.count == 1:
        return [one]
    from accelerate.utils import gather_object

    gathered: list[T] = gather_object([one])
    return gathered
