"""A report of scores for people: one HTML file that needs nothing else, to be opened in any browser.

Names come from file names, which may hold anything: all of them are escaped, and the page's own policy lets no script
run but the template's.
"""

import base64
import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.engine.metrics import METRICS
from ipsam.tools.compare.curves import KINDS, draw_curve, draw_histogram, line_style, png
from ipsam.tools.compare.examples import FALSE_POSITIVE, MISSED, OBJECT, Case

HISTOGRAMS = {"sm": "S-measure of an image", "fw": "weighted F-measure of an image", "mae": "MAE of an image"}
CASE_METRICS = ("sm", "mae", "fw", "em", "mdice", "miou")
CURVE_DPI = 120

Cases = Mapping[tuple[str, str], Sequence[Case]]  # of a method on a dataset


def render(methods: Mapping[str, Evaluation], cases: Cases) -> str:
    """The report as HTML.

    Args:
        methods: by name, each with its datasets; at least one, all under one protocol.
        cases: best and worst cases by method and dataset, from the worst up.
    """
    protocol = next(iter(methods.values())).protocol
    datasets = list(dict.fromkeys(name for evaluation in methods.values() for name in evaluation.datasets))
    of_methods = next(iter(methods)) if len(methods) == 1 else f"{len(methods)} methods"
    title = f"{of_methods} on {datasets[0] if len(datasets) == 1 else f'{len(datasets)} datasets'}"
    lines = protocol.describe()
    errors = " and ".join(metric.label for metric in METRICS.values() if not metric.higher_is_better)
    body = [
        f"<h1>{_name(title)}</h1>",
        f"<p>{escape(str(protocol))}.</p>",
        _scores_table(methods, datasets),
        f'<p class="muted">A click on a heading sorts. Lower is better for {errors} only; '
        "the best of several methods on a dataset is marked.</p>",
        f"<details><summary>What the columns are</summary><dl>{_definitions(lines)}</dl></details>",
        *(_dataset(name, methods, cases) for name in datasets),
    ]
    template = files("ipsam.tools.compare").joinpath("report_template.html").read_text(encoding="utf-8")
    script = re.findall(r"<script>(.*?)</script>", template, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return Template(template).substitute(title=escape(title), script_hash=f"sha256-{digest}", body="\n".join(body))


def _scores_table(methods: Mapping[str, Evaluation], datasets: Sequence[str]) -> str:
    rows = []
    for dataset in datasets:
        scored = {name: one.datasets[dataset] for name, one in methods.items() if dataset in one.datasets}
        best = {
            name: metric.best(round(scores[name], 4) for scores in scored.values()) for name, metric in METRICS.items()
        }
        # Over different images, as with missing=exclude, no method is the better one.
        comparable = len(scored) > 1 and len({scores["num_images"] for scores in scored.values()}) == 1
        for method, scores in scored.items():
            cells = [_text_cell(dataset), _text_cell(method), _number_cell(scores["num_images"], "0f")]
            for metric in METRICS:
                marked = comparable and round(scores[metric], 4) == best[metric]
                cells.append(_number_cell(scores[metric], "4f", "best" if marked else ""))
            rows.append(cells)
    heads = [
        _header("dataset", text=True),
        _header("method", text=True),
        _header("images"),
        *map(_metric_header, METRICS),
    ]
    return _table(heads, rows, "Scores")


def _dataset(name: str, methods: Mapping[str, Evaluation], cases: Cases) -> str:
    curves = {method: evaluation.curves.get(name) for method, evaluation in methods.items()}
    plots = [_img(png(draw_curve(kind, curves), CURVE_DPI), title) for kind, title in KINDS.items()]
    for metric, label in HISTOGRAMS.items():
        values = {
            method: [float(row[metric]) for row in evaluation.per_image if row["dataset"] == name]
            for method, evaluation in methods.items()
        }
        plots.append(_img(png(draw_histogram(label, values), CURVE_DPI), f"histogram: {label}"))
    parts = [f"<h2>{_name(name)}</h2>"]
    if len(methods) > 1:
        parts.append(_methods_legend({method: name in one.datasets for method, one in methods.items()}))
    parts.append(f'<div class="plots">{"".join(plots)}</div>')
    shown = [(method, found) for method in methods if (found := cases.get((method, name)))]
    if shown:
        parts += ["<h3>Best and worst images by S-measure</h3>", _error_legend()]
    for method, found in shown:
        total = methods[method].datasets[name]["num_images"]
        summary = f"{_name(method)}: {len(found)} of {total:.0f} images, the worst first"
        opened = " open" if len(methods) == 1 else ""
        parts.append(f"<details{opened}><summary>{summary}</summary>{_cases_table(found, name)}</details>")
    return f"<section>{''.join(parts)}</section>"


def _cases_table(cases: Sequence[Case], dataset: str) -> str:
    kinds = [kind for kind in ("image", "truth", "map", "error") if any(getattr(case, kind) for case in cases)]
    rows = [
        [
            _number_cell(case.rank, "0f"),
            _text_cell(case.name),
            *(_picture_cell(getattr(case, kind), f"{kind} of {case.name}") for kind in kinds),
            *(_number_cell(case.scores[metric], "4f") for metric in CASE_METRICS),
        ]
        for case in cases
    ]
    heads = [_header("rank", sorted_now="descending"), _header("name", text=True)]
    heads += [f'<th class="plain" scope="col">{kind}</th>' for kind in kinds]
    return _table([*heads, *map(_metric_header, CASE_METRICS)], rows, f"Best and worst images of {dataset}")


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]], label: str) -> str:
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    # Focusable, so that it can be scrolled by keyboard.
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(label)}"><table class="sortable">'
        f"<thead><tr>{''.join(heads)}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _metric_header(metric: str) -> str:
    return _header(METRICS[metric].label, "descending" if METRICS[metric].higher_is_better else "ascending")


def _header(label: str, first: str = "ascending", *, text: bool = False, sorted_now: str | None = None) -> str:
    """A heading that sorts; the first click in the order ``first``, every other the other way round."""
    kind = ' class="name" data-kind="text"' if text else ' data-kind="number"'
    order = f' aria-sort="{sorted_now}"' if sorted_now else ""
    return f'<th scope="col"{kind} data-first="{first}"{order}><button type="button">{label}</button></th>'


def _text_cell(text: str) -> str:
    return f'<td class="name">{_name(text)}</td>'


def _number_cell(value: float, digits: str, kind: str = "") -> str:
    shown = f"{value:.{digits}}" if math.isfinite(value) else "–"  # noqa: RUF001 (a dash)
    return f'<td{f" class={kind!r}" if kind else ""} data-value="{float(value)!r}">{shown}</td>'


def _picture_cell(content: bytes | None, text: str) -> str:
    return f'<td class="picture">{"" if content is None else _img(content, text)}</td>'


def _img(content: bytes, text: str) -> str:
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f'<img src="data:image/{kind};base64,{base64.b64encode(content).decode()}" alt="{escape(text)}">'


def _methods_legend(present: Mapping[str, bool]) -> str:
    borders = {"-": "solid", "--": "dashed", ":": "dotted", "-.": "double"}
    items = []
    for line, (method, is_drawn) in enumerate(present.items()):
        colour, style = line_style(line)
        swatch = f'<span class="line" style="border-top: 3px {borders[style]} {colour}"></span>'
        items.append(f"<li>{swatch}{_name(method)}</li>" if is_drawn else "")
    return f'<ul class="legend">{"".join(items)}</ul>'


def _error_legend() -> str:
    meanings = {FALSE_POSITIVE: "false positive", MISSED: "missed", (OBJECT,) * 3: "object, found"}
    items = (
        f'<li><span class="patch" style="background: rgb{colour}"></span>{meaning}</li>'
        for colour, meaning in meanings.items()
    )
    return f'<ul class="legend" aria-label="Colours of the error">{"".join(items)}</ul>'


def _definitions(lines: Mapping[str, object]) -> str:
    return "".join(f"<dt>{escape(key)}</dt><dd>{escape(str(value))}</dd>" for key, value in lines.items())


def _name(text: str) -> str:
    """A name escaped, and kept from turning the text around it where it is written from right to left."""
    return f"<bdi>{escape(text)}</bdi>"
