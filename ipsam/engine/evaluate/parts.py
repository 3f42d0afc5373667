"""Scores of shards: each command with ``shard=K/N`` leaves a file, and the one that finds all files unites them."""

import hashlib
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipsam.engine.evaluate.scores import Scored
from ipsam.engine.metrics import CurveSum
from ipsam.utils.files import write_bytes
from ipsam.utils.shards import Shard
from ipsam.utils.untrusted import bounded_json

FOLDER = "shards"  # in the folder of the results
MAX_BYTES = 1 << 30  # of a shard's file, for three million images
OTHER = "of another model, other images or options"


class ShardsMissingError(Exception):
    """Scores of this shard that are saved, while other shards have none yet."""


@dataclass(frozen=True)
class Parts:
    """Files of the shards of one evaluation.

    Attributes:
        folder: of the files.
        shard: this command's.
        work: fingerprint of what is evaluated and how; files of other work count as missing.
        reuse: take this shard's own scores from its file, too, instead of scoring again.
    """

    folder: Path
    shard: Shard
    work: str
    reuse: bool = False

    @classmethod
    def of(cls, out: Path, shard: Shard, *, reuse: bool = False, **work: Any) -> "Parts":
        """Return the parts of an evaluation into ``out``; ``work`` is all that its scores depend on, for JSON."""
        described = json.dumps([work, shard.count], sort_keys=True, default=str)
        return cls(out / FOLDER, shard, hashlib.sha256(described.encode()).hexdigest(), reuse)

    def saved(self, names: Iterable[str], metrics: Sequence[str]) -> dict[str, Scored]:
        """Return this shard's scores of sets from its file; nothing if they are to be made, or not there."""
        return self._read(self.shard, {name: Scored(metrics=metrics) for name in names}) if self.reuse else {}

    def exchange(self, scored: Mapping[str, Scored], batch_size: int = 1) -> dict[str, Scored]:
        """Save the scores of this shard, by set, and return those of all shards.

        Two shards that end at the same time may both return, and then write the same results.

        Raises:
            ShardsMissingError: other shards have no scores yet.
            ValueError: a shard's file is damaged.
        """
        sets = {name: _plain(images) for name, images in scored.items()}
        write_bytes(self._path(self.shard), json.dumps({"work": self.work, "sets": sets}).encode())
        shards = [Shard(index, self.shard.count) for index in range(self.shard.count)]
        found = {shard: self._read(shard, scored) for shard in shards}
        if missing := [f"{shard}{f' ({OTHER})' * self._path(shard).exists()}" for shard in shards if not found[shard]]:
            raise ShardsMissingError(
                f"shard {self.shard} is scored: {self._path(self.shard)}. The last shard unites all of them; "
                f"without scores: {', '.join(missing)}"
            )
        return {name: Scored.united([found[shard][name] for shard in shards], batch_size) for name in scored}

    def _path(self, shard: Shard) -> Path:
        return self.folder / f"{shard.index + 1}of{shard.count}.json"

    def _read(self, shard: Shard, own: Mapping[str, Scored]) -> dict[str, Scored]:
        """Read a shard's scores of sets; return an empty dictionary where they are absent, or belong to other work."""
        try:
            content = bounded_json(self._path(shard), MAX_BYTES)
            if content["work"] != self.work:
                return {}
            return {name: _from_plain(content["sets"][name], one.metrics) for name, one in own.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self._path(shard)}: no scores of a shard; remove it and run shard={shard} again"
            ) from error


def _plain(images: Scored) -> dict[str, Any]:
    values, curves = images.values.tolist(), images.curves.digits()
    return {"names": images.names, "values": values, "curves": curves, "remarks": images.remarks}


def _from_plain(content: Mapping[str, Any], metrics: Sequence[str]) -> Scored:
    names, values = list(map(str, content["names"])), array("d", content["values"])
    if len(values) != len(metrics) * len(names):
        raise ValueError(f"{len(values)} scores of {len(names)} images")
    return Scored(names, values, CurveSum.of_digits(content["curves"]), Counter(content["remarks"]), metrics)
