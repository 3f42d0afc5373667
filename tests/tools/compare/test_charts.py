import re

import numpy as np
import pytest

from ipsam.engine.metrics import CURVES
from ipsam.tools.compare.charts import HEIGHT, WIDTH, Chart, curve_chart, group_chart, histogram, where_different


def points(chart: Chart, line: int = 0) -> np.ndarray:
    return np.array([one.split() for one in re.split("[ML]", chart.lines[line][1])[1:]], float)


def test_curves_are_drawn_in_the_units_of_their_axes() -> None:
    curves = dict.fromkeys(CURVES, np.linspace(0, 0.5, 256))
    chart = curve_chart("f", [None, curves])
    assert [number for number, _ in chart.lines] == [1]  # a method without curves keeps its number
    assert points(chart)[0].tolist() == [WIDTH, HEIGHT]  # threshold 255 on the right, F = 0 below
    assert points(chart)[-1].tolist() == [0, HEIGHT / 2]
    assert chart.y_ticks[0] == (HEIGHT, "0")
    assert chart.y_ticks[-1] == (0, "1")


def test_zoom_shows_where_the_methods_differ() -> None:
    x = np.linspace(0, 1, 256)
    bump = np.where(np.abs(x - 0.8) < 0.05, 0.02, 0)
    lines = {0: (x, 0.9 - 0.1 * x), 1: (x, 0.9 - 0.1 * x + bump)}
    (left, right), (low, high) = where_different(lines)
    assert (left, right) == pytest.approx((0.75, 0.85), abs=0.02)
    assert (low, high) == pytest.approx((0.815, 0.845), abs=0.01)
    assert where_different({0: lines[0], 1: lines[0]}) == ((0, 1), pytest.approx((0.795, 0.905)))


@pytest.mark.parametrize("values", [[0.2, 0.9, 1.0], [0.5, float("nan")], [0.0], [1.5, -0.2]])
def test_histogram_counts_every_image(values: list[float]) -> None:
    chart = histogram("S-measure", [values, []])
    heights = (HEIGHT - points(chart)[1::2, 1]) / HEIGHT * 1.05  # of the left ends of the bins, and 0
    most = max(1, round(np.isfinite(values).sum() / heights.sum()))
    assert heights.sum() * most == pytest.approx(np.isfinite(values).sum(), abs=0.02)
    assert chart.filled


def test_groups_that_a_method_lacks_have_no_dot() -> None:
    chart = group_chart(
        "size", "Sm", {"under 1%": 4, "1 to 5%": 9}, [{"under 1%": 0.5, "1 to 5%": 0.7}, {"1 to 5%": 0.6}]
    )
    assert [path.count("M") for _, path in chart.dots] == [2, 1]
    assert points(chart)[:, 0].tolist() == [WIDTH / 4, 3 * WIDTH / 4]
    assert [text for _, text in chart.x_ticks] == ["under 1%\nn = 4", "1 to 5%\nn = 9"]
