"""``metrics.json`` read as untrusted data: it may be broken, half-written or scored by another protocol."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipsam.data.benchmarks import KNOWN, benchmark
from ipsam.engine.evaluate.scoring import TOLERANCE
from ipsam.engine.metrics import ALL_METRICS, METRICS, PRESETS, Protocol
from ipsam.engine.metrics.tables import num_images
from ipsam.utils.untrusted import bounded_text

PROTOCOL = "default"
COUNTS = ("num_images", "num_left_out")

Scores = dict[str, dict[str, float]]  # by dataset, then metric; num_images is one of them


def read_score_file(path: Path, *, any_protocol: bool = False) -> dict[str, Any]:
    """Read a file whose protocol's name and options are those of the default protocol, or of any.

    Raises:
        ValueError: the file is broken, holds something else, or was scored by another protocol.
    """
    try:
        content = json.loads(bounded_text(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is broken or half-written: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no scores")
    if (used := protocol_of(content)) and not any_protocol:
        raise ValueError(
            f"{path}: scored by {used}; the tables take {PROTOCOL!r} alone: score again with protocol={PROTOCOL}"
        )
    return content


def rules_of(content: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the name of the protocol that a file's scores follow, and its options."""
    given = content.get("protocol")
    protocol = given if isinstance(given, dict) else {} if given is None else {"name": given}
    name = protocol.get("name", PROTOCOL)
    options = PRESETS.get(str(name), Protocol()).model_dump()
    return name, options | {key: protocol[key] for key in options if key in protocol}


def protocol_of(content: Mapping[str, Any]) -> str:
    """Describe the protocol that a file's scores follow; an empty text for the default one."""
    name, options = rules_of(content)
    default = Protocol().model_dump()
    others = [f"{key}={value!r}" for key, value in options.items() if value != default[key]]
    return f"the protocol with {', '.join(others)}" if others and name == PROTOCOL else named_protocol(name)


def named_protocol(name: object) -> str:
    """Describe a protocol by its name; an empty text for the default one."""
    return "" if name == PROTOCOL else f"the protocol {name!r:.99}"


def checked_scores(datasets: object, path: Path) -> Scores:
    """Check the scores of each dataset, and name known datasets as ``benchmarks`` does.

    Args:
        datasets: content of the file by dataset. A selection, such as CVC-ClinicDB-62, gets the name of the whole set,
            CVC-ClinicDB; ``num_images`` says which it is.
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
        found[name] = {key: values[key] for key in (*COUNTS, *ALL_METRICS) if key in values}
        for key, value in found[name].items():
            highest = math.inf if key in COUNTS else ALL_METRICS[key].highest
            if not is_number(value) or not 0 <= value <= highest:
                limits = "0 or above" if highest == math.inf else f"from 0 to {highest:g}"
                raise ValueError(f"{path}: {key} of {given} must be a number {limits}, not {value!r}")
    return _as_printed(found)


def _as_printed(scores: Scores) -> Scores:
    """Name a selection of a set's images as the set, whose name papers print; of several the one with most images."""
    names = {name: name for name in scores}
    for name in sorted(scores, key=lambda name: -len(KNOWN[name].only.get("test", ())) if name in KNOWN else 0):
        printed = KNOWN[name].selection_of if name in KNOWN else ""
        if printed and printed not in names.values():
            names[name] = printed
    return {names[name]: values for name, values in scores.items()}


def shares_of_remarks(remarks: object, scores: Scores) -> dict[str, dict[str, float]]:
    """Divide the counts of each remark by the dataset's number of images; anything that is no such count is ignored."""
    return {
        name: {str(text): count / scores[name]["num_images"] for text, count in counts.items() if is_number(count)}
        for name, counts in (remarks.items() if isinstance(remarks, dict) else ())
        if isinstance(counts, dict) and scores.get(name, {}).get("num_images")
    }


def is_number(value: object) -> bool:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def remarks_on(scores: Scores, protocol: str) -> tuple[str, ...]:
    """Name the protocol, and datasets of which images are missing or not as many as published, or with E above 1."""
    found = [f"scored by {protocol}"] if protocol else []
    for name, values in scores.items():
        published = KNOWN[name].num_pairs.get("test", ()) if name in KNOWN else ()
        number = values.get("num_images")
        if number is not None and (values.get("num_left_out") or (published and number not in published)):
            size = f" (published: {' or '.join(map(str, published))})" if published else ""
            found.append(f"{num_images(values)} images of {name}{size}")
        if any(score > 1 + TOLERANCE for key, score in values.items() if key in METRICS):
            found.append(f"scores above 1 on {name}, whose images have few pixels")
    return tuple(found)


def benchmark_name(name: str) -> str | None:
    """Return the name under which a benchmark is known, None for other datasets."""
    try:
        return benchmark(name).name
    except ValueError:
        return None
