"""Report of scores as a single HTML file that any browser opens without other files.

Names come from file names and may hold anything. Jinja2 and ``visible`` escape them, and the page's content security
policy allows no script but the template's.
"""

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from ipsam.engine.evaluate.plots import line_style, png
from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics.tables import num_images
from ipsam.tools.compare.curves import KINDS, draw_curve, draw_histogram
from ipsam.tools.compare.examples import FALSE_POSITIVE, MISSED, OBJECT, Example
from ipsam.utils.console import visible

HISTOGRAMS = {"sm": "S-measure of an image", "fw": "weighted F-measure of an image", "mae": "MAE of an image"}
EXAMPLE_METRICS = ("sm", "mae", "fw", "em", "mdice", "miou")
PICTURES = ("image", "truth", "map", "error")
ERROR_COLOURS = {FALSE_POSITIVE: "false positive", MISSED: "missed", (OBJECT,) * 3: "object, found"}
BORDERS = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "double"}  # of CSS, by the curves' line style
CURVE_DPI = 120

Examples = Mapping[tuple[str, str], Sequence[Example]]  # by method and dataset


def render(methods: Mapping[str, Evaluation], examples: Examples) -> str:
    """Render the report as HTML.

    Args:
        methods: at least one, by name, all under one protocol.
        examples: best and worst images by method and dataset, worst first.
    """
    datasets = list(dict.fromkeys(name for evaluation in methods.values() for name in evaluation.datasets))
    scored_methods = next(iter(methods)) if len(methods) == 1 else f"{len(methods)} methods"
    environment = Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, finalize=_visible
    )
    environment.filters |= {"num_images": num_images, "number": _number, "data_uri": _data_uri, "sha256": _sha256}
    metrics = next(iter(methods.values())).protocol.metrics
    template = environment.from_string(files(__package__).joinpath("report.html").read_text(encoding="utf-8"))
    return template.render(
        title=f"{scored_methods} on {datasets[0] if len(datasets) == 1 else f'{len(datasets)} datasets'}",
        protocol=next(iter(methods.values())).protocol,
        metrics=metrics,
        example_metrics=EXAMPLE_METRICS,
        errors=" and ".join(metric.label for metric in metrics.values() if not metric.higher_is_better),
        notes=notes(methods),
        rows=[row for dataset in datasets for row in _score_rows(dataset, methods)],
        datasets=[_dataset(dataset, methods, examples) for dataset in datasets],
        error_colours=ERROR_COLOURS,
    )


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


def _dataset(name: str, methods: Mapping[str, Evaluation], examples: Examples) -> dict[str, Any]:
    """Draw a dataset's plots, and list its methods for the legend and its examples with their kinds of pictures."""
    curves = {method: one.curves.get(name) for method, one in methods.items()}
    plots = [(title, png(draw_curve(kind, curves), CURVE_DPI)) for kind, title in KINDS.items()]
    for metric, label in HISTOGRAMS.items():
        values = {method: one.images[name].of(metric) if name in one.images else [] for method, one in methods.items()}
        plots.append((f"histogram: {label}", png(draw_histogram(label, values), CURVE_DPI)))
    styles = [(method, *line_style(line)) for line, method in enumerate(methods) if name in methods[method].datasets]
    shown = [
        {
            "method": method,
            "examples": found,
            "pictures": [kind for kind in PICTURES if any(getattr(example, kind) for example in found)],
            "total": num_images(one.datasets[name]),
        }
        for method, one in methods.items()
        if (found := examples.get((method, name)))
    ]
    legend = [(method, colour, BORDERS[style]) for method, colour, style in styles] if len(methods) > 1 else []
    return {"name": name, "plots": plots, "legend": legend, "shown": shown, "open": len(methods) == 1}


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
