"""Scores as a table for people."""

from collections.abc import Mapping, Sequence

LABELS = {
    **{"mae": "MAE", "fw": "Fw", "sm": "Sm", "em": "Em", "em_adp": "Em adp", "em_max": "Em max"},
    **{"f": "F", "f_adp": "F adp", "f_max": "F max", "mdice": "mDice", "miou": "mIoU"},
    **{"dice_50": "Dice .5", "iou_50": "IoU .5"},
}
SHOWN = ("mae", "fw", "sm", "em", "em_adp", "em_max", "mdice", "miou")  # of all metrics, in the table of scores


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its columns aligned to be read as plain text too."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        aligned = [first.ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(others, widths[1:], strict=True))]
        return f"| {' | '.join(aligned)} |"

    rule = "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths))
    return "\n".join([line(header), f"|{rule}|", *map(line, rows)])


def scores_table(methods: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """A row for each method and dataset: number of images, then the metrics (E-measure: the mean)."""
    rows = [
        [dataset, method, f"{scores['num_images']:.0f}", *(f"{scores[metric]:.4f}" for metric in SHOWN)]
        for method, datasets in methods.items()
        for dataset, scores in datasets.items()
    ]
    order = list(dict.fromkeys(dataset for datasets in methods.values() for dataset in datasets))
    rows.sort(key=lambda row: order.index(row[0]))  # by dataset, else as given; not every method has every dataset
    return markdown(["dataset", "method", "images", *(LABELS[metric] for metric in SHOWN)], rows)
