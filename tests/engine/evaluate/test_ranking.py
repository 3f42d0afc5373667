from math import inf, nan

import pytest

from ipsam.engine.evaluate.scores import ranking


@pytest.mark.parametrize(("metric", "order"), [("sm", [2, 0, 3, 1]), ("mae", [1, 3, 0, 2])])
def test_ranking_is_from_best_to_worst(metric: str, order: list[int]) -> None:
    assert ranking([0.5, 0.1, 0.9, 0.3], metric) == order


@pytest.mark.parametrize("metric", ["sm", "mae"])
def test_not_finite_scores_rank_last_and_ties_keep_their_order(metric: str) -> None:
    assert ranking([nan, 0.5, inf, 0.5], metric) == [1, 3, 0, 2]
