"""Reading ``metrics.json`` as what it is to others: data that may be broken, half-written or of another protocol."""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ipsam.data.benchmarks import KNOWN, benchmark
from ipsam.engine.metrics import METRICS, Protocol
from ipsam.utils.untrusted import bounded_text

PROTOCOL = "default"

Scores = dict[str, dict[str, float]]  # dataset, then metric; num_images is one of them


def read_score_file(path: Path) -> dict[str, Any]:
    """The content, if it was scored by the default protocol: by its name and by those options that the file tells.

    Raises:
        ValueError: if it is broken, no such file, or scored otherwise.
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
    others = [f"{k}={protocol[k]!r}" for k, v in asdict(Protocol()).items() if k in protocol and protocol[k] != v]
    if name != PROTOCOL or others:
        told = repr(name) if name != PROTOCOL else f"with {', '.join(others)}"
        raise ValueError(
            f"{path}: scored by the protocol {told}; the tables take {PROTOCOL!r} alone: "
            f"score again with protocol={PROTOCOL}"
        )
    return content


def checked_scores(datasets: object, path: Path) -> Scores:
    """The scores of each dataset, under the names of the benchmarks where they are some.

    Args:
        datasets: what the file holds, by dataset.
        path: of the file, for messages.

    Raises:
        ValueError: if there are none, or one is no number that it could be.
    """
    if not isinstance(datasets, dict) or not datasets:
        raise ValueError(f"{path} holds no scores of any dataset")
    found: Scores = {}
    for given, values in datasets.items():
        name = _benchmark_name(str(given))
        if name in found:
            raise ValueError(f"{path} has scores of {name} twice, under two names")
        if not isinstance(values, dict):
            raise ValueError(f"{path}: {given} holds no scores")
        found[name] = {key: values[key] for key in ("num_images", *METRICS) if key in values}
        for key, value in found[name].items():
            if not is_number(value) or value < 0 or (value > 1 and key != "num_images"):
                raise ValueError(f"{path}: {key} of {given} is {value!r}, no number that it could be")
    return found


def is_number(value: object) -> bool:
    """Whether it is one to reckon with."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def other_sizes(scores: Scores) -> tuple[str, ...]:
    """Benchmarks of which another number of images was scored than is published."""
    found = []
    for name, values in scores.items():
        published = KNOWN[name].num_pairs.get("test", ()) if name in KNOWN else ()
        number = values.get("num_images")
        if published and number is not None and number not in published:
            found.append(f"{number:.0f} images of {name} (published: {' or '.join(map(str, published))})")
    return tuple(found)


def _benchmark_name(name: str) -> str:
    try:
        return benchmark(name).name
    except ValueError:
        return name
