"""Report of scores as a single HTML file that any browser opens without other files.

Names come from file names and may hold anything. Jinja2 and ``visible`` escape them, and the page's content security
policy allows no script but the template's. Charts are drawn in the page itself, so that they follow its colours.
"""

import base64
import hashlib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemBytecodeCache, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket

from ipsam.engine.evaluate.plots import COLOURS
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import ALL_METRICS
from ipsam.engine.metrics.tables import num_images
from ipsam.tools.compare.breakdown import HEADINGS
from ipsam.tools.compare.charts import HEIGHT, KINDS, WIDTH, Chart, curve_chart, group_chart, histogram
from ipsam.tools.compare.examples import FALSE_POSITIVE, MISSED, OBJECT, Example, Rivalry
from ipsam.tools.compare.significance import NUM_DRAWS, Difference
from ipsam.utils.console import visible

HISTOGRAMS = {"sm": "S-measure of an image", "fw": "weighted F-measure of an image", "mae": "MAE of an image"}
EXAMPLE_METRICS = ("sm", "mae", "fw", "em", "mdice", "miou")
PICTURES = ("image", "truth", "map", "error")
ERROR_COLOURS = {FALSE_POSITIVE: "false positive", MISSED: "missed", (OBJECT,) * 3: "object, found"}
DARK_COLOURS = ("#3d9be0", "#f0813a", "#22b98c", "#dd9cc2", "#f0b429", "#a5d8f7")  # COLOURS, on a dark page
DASHES = ("none", "7 4", "2 3", "8 3 2 3")  # of lines, the next one once all colours are used
MAX_GROUPS = 12  # of a chart; more are only listed


@dataclass(frozen=True)
class Details:
    """Parts of the report beside the scores.

    Attributes:
        examples: best and worst images by method and dataset, worst first.
        rivalries: images by dataset on which methods differ most.
        differences: comparisons of two methods each.
        groups: rows of ``breakdown.csv``.
    """

    examples: Mapping[tuple[str, str], Sequence[Example]] = field(default_factory=dict)
    rivalries: Mapping[str, Sequence[Rivalry]] = field(default_factory=dict)
    differences: Sequence[Difference] = ()
    groups: Sequence[Mapping[str, Any]] = ()


def render(methods: Mapping[str, Evaluation], details: Details) -> str:
    """Render the report as HTML.

    Args:
        methods: at least one, by name, all under one protocol.
        details: other parts, each shown if it has entries.
    """
    datasets = list(dict.fromkeys(name for evaluation in methods.values() for name in evaluation.datasets))
    scored_methods = next(iter(methods)) if len(methods) == 1 else f"{len(methods)} methods"
    metrics = next(iter(methods.values())).protocol.metrics
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=f"{scored_methods} on {datasets[0] if len(datasets) == 1 else f'{len(datasets)} datasets'}",
            protocol=next(iter(methods.values())).protocol,
            methods=list(methods),
            dataset_names=datasets,
            metrics=metrics,
            example_metrics=EXAMPLE_METRICS,
            errors=" and ".join(metric.label for metric in metrics.values() if not metric.higher_is_better),
            notes=notes(methods),
            rows=[row for dataset in datasets for row in _score_rows(dataset, methods)],
            datasets=[_dataset(dataset, methods, details) for dataset in datasets],
            num_draws=f"{NUM_DRAWS:,}",
            error_colours=ERROR_COLOURS,
        )
    )


def curve_files(methods: Mapping[str, Evaluation]) -> dict[str, bytes]:
    """Draw ``<dataset>_pr.svg``, ``_f.svg`` and ``_em.svg`` for each dataset that has curves."""
    template, files = _environment().get_template("curves.svg.j2"), {}
    for dataset in dict.fromkeys(name for one in methods.values() for name in one.curves):
        curves = [one.curves.get(dataset) for one in methods.values()]
        for kind in KINDS:
            chart = curve_chart(kind, curves)
            lines = [number for number, _ in chart.lines]
            title = f"{dataset}: {chart.title}"
            page = template.render(title=title, chart=chart, lines=lines, methods=list(methods))
            files[f"{dataset}_{kind}.svg"] = page.encode("utf-8", "replace")
    return files


def notes(methods: Mapping[str, Evaluation]) -> list[str]:
    """Return the notes on all scores, with the method's name if there are several."""
    several = len(methods) > 1
    return [f"{name}, {note}" if several else note for name, one in methods.items() for note in one.notes()]


def _score_rows(dataset: str, methods: Mapping[str, Evaluation]) -> Iterator[dict[str, Any]]:
    """Yield each method's scores on a dataset, with the metrics in which it is the best."""
    scored = {name: one.datasets[dataset] for name, one in methods.items() if dataset in one.datasets}
    # Scores over different images, as with missing=exclude, cannot be ranked.
    images = [(scores["num_images"], _left_out(methods[name], dataset)) for name, scores in scored.items()]
    comparable = len(scored) > 1 and all(one == images[0] for one in images)
    for method, scores in scored.items():
        best = [
            name
            for name, metric in methods[method].protocol.metrics.items()
            if comparable and round(scores[name], 4) == metric.best(round(other[name], 4) for other in scored.values())
        ]
        yield {"dataset": dataset, "method": method, "scores": scores, "best": best}


def _left_out(evaluation: Evaluation, dataset: str) -> set[str]:
    return {name for names in evaluation.left_out.get(dataset, {}).values() for name in names}


def _dataset(name: str, methods: Mapping[str, Evaluation], details: Details) -> dict[str, Any]:
    """Collect a dataset's charts, comparisons, groups and examples."""
    curves = [one.curves.get(name) for one in methods.values()]
    images = [one.images.get(name) for one in methods.values()]
    zoomed = sum(one is not None for one in curves) > 1
    charts = [curve_chart("pr", curves, zoom=True)] if zoomed else []
    charts += [curve_chart(kind, curves) for kind in KINDS]
    charts += [histogram(label, [one.of(kind) if one else [] for one in images]) for kind, label in HISTOGRAMS.items()]
    shown = [
        {
            "method": method,
            "examples": found,
            "pictures": [kind for kind in PICTURES if any(getattr(example, kind) for example in found)],
            "total": num_images(one.datasets[name]),
        }
        for method, one in methods.items()
        if (found := details.examples.get((method, name)))
    ]
    groups = [row for row in details.groups if row["dataset"] == name]
    return {
        "name": name,
        "charts": charts,
        "methods": [method for method, one in methods.items() if name in one.datasets],
        "differences": [one for one in details.differences if one.dataset == name],
        "rivalries": details.rivalries.get(name, ()),
        "groups": groups,
        "group_charts": _group_charts(groups, list(methods)),
        "shown": shown,
        "open": len(methods) == 1,
    }


def _group_charts(rows: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> list[Chart]:
    charts = []
    for by, title in HEADINGS.items():
        of_all = [row for row in rows if row["by"] == by]
        groups = {row["group"]: row["images"] for row in of_all}
        if 1 < len(groups) <= MAX_GROUPS:
            scores = [{row["group"]: row["sm"] for row in of_all if row["method"] == method} for method in methods]
            charts.append(group_chart(title, ALL_METRICS["sm"].label, groups, scores))
    return charts


class _Cache(FileSystemBytecodeCache):
    """Compiled templates beside the compiled modules; compiling takes a fifth of a second."""

    def load_bytecode(self, bucket: Bucket) -> None:
        """Load a template if it is there and whole."""
        with suppress(Exception):  # pickle raises what it likes on a damaged file
            super().load_bytecode(bucket)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Save a template where Python saves modules."""
        if not sys.dont_write_bytecode:
            with suppress(OSError):
                super().dump_bytecode(bucket)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(__package__),
        bytecode_cache=_Cache(str(Path(cache_from_source(__file__)).parent), "%s.jinja"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
        finalize=_visible,
    )
    environment.globals |= {"palettes": (COLOURS, DARK_COLOURS), "dashes": DASHES, "width": WIDTH, "height": HEIGHT}
    environment.filters |= {"num_images": num_images, "number": _number, "data_uri": _data_uri, "sha256": _sha256}
    return environment


def _visible(value: Any) -> Any:
    """Escape the control characters of a text, but not in what is HTML already."""
    return visible(value) if type(value) is str else value


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"  # noqa: RUF001 (a dash)


def _data_uri(content: bytes) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
