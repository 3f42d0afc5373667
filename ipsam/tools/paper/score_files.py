"""``metrics.json`` read as untrusted data: it may be broken, half-written or scored by another protocol."""

import json
import math
from pathlib import Path
from typing import Any

from ipsam.data.benchmarks import KNOWN, benchmark
from ipsam.engine.metrics import METRICS, Protocol
from ipsam.utils.untrusted import bounded_text

PROTOCOL = "default"

Scores = dict[str, dict[str, float]]  # by dataset, then metric; num_images is one of them


def read_score_file(path: Path) -> dict[str, Any]:
    """Read a file whose protocol's name and options are those of the default protocol.

    Raises:
        ValueError: the file is broken, holds something else, or was scored by another protocol.
    """
    try:
        content = json.loads(bounded_text(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is broken or half-written: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no scores")
    given = content.get("protocol")
    protocol = given if isinstance(given, dict) else {} if given is None else {"name": given}
    name = protocol.get("name", PROTOCOL)
    others = [f"{k}={protocol[k]!r}" for k, v in Protocol().model_dump().items() if k in protocol and protocol[k] != v]
    if name != PROTOCOL or others:
        used = repr(name) if name != PROTOCOL else f"with {', '.join(others)}"
        raise ValueError(
            f"{path}: scored by the protocol {used}; the tables take {PROTOCOL!r} alone: "
            f"score again with protocol={PROTOCOL}"
        )
    return content


def checked_scores(datasets: object, path: Path) -> Scores:
    """Check the scores of each dataset, and name known datasets as ``benchmarks`` does.

    Args:
        datasets: content of the file by dataset.
        path: of the file, for messages.

    Raises:
        ValueError: there are no scores, or a value cannot be a score.
    """
    if not isinstance(datasets, dict) or not datasets:
        raise ValueError(f"{path} holds no scores of any dataset")
    found: Scores = {}
    for given, values in datasets.items():
        name = benchmark_name(str(given)) or str(given)
        if name in found:
            raise ValueError(f"{path} has scores of {name} twice, under two names")
        if not isinstance(values, dict):
            raise ValueError(f"{path}: {given} holds no scores")
        found[name] = {key: values[key] for key in ("num_images", *METRICS) if key in values}
        for key, value in found[name].items():
            if not is_number(value) or value < 0 or (value > 1 and key != "num_images"):
                limits = "0 or above" if key == "num_images" else "from 0 to 1"
                raise ValueError(f"{path}: {key} of {given} must be a number {limits}, not {value!r}")
    return found


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def other_sizes(scores: Scores) -> tuple[str, ...]:
    """Name the benchmarks of which another number of images was scored than is published."""
    found = []
    for name, values in scores.items():
        published = KNOWN[name].num_pairs.get("test", ()) if name in KNOWN else ()
        number = values.get("num_images")
        if published and number is not None and number not in published:
            found.append(f"{number:.0f} images of {name} (published: {' or '.join(map(str, published))})")
    return tuple(found)


def benchmark_name(name: str) -> str | None:
    """Return the name under which a benchmark is known, None for other datasets."""
    try:
        return benchmark(name).name
    except ValueError:
        return None
