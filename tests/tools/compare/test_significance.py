import numpy as np
import pytest
from scipy import stats
from support.saved_maps import scored

from ipsam.engine.evaluate.scores import Evaluation
from ipsam.tools.compare.significance import bootstrap, differences, differences_table, reference_on, wilcoxon_p


def evaluation(scores: dict[str, float]) -> Evaluation:
    images = scored({name: {"sm": score, "mae": 1 - score} for name, score in scores.items()})
    return Evaluation({"CAMO": {"num_images": len(scores), "sm": float(np.mean([*scores.values()]))}}, {"CAMO": images})


def test_bootstrap_and_wilcoxon_equal_scipys_on_200_pairs() -> None:
    rng = np.random.default_rng(0)
    for seed in range(200):
        pairs = rng.beta(5, 2, (2, rng.integers(14, 90)))
        if seed % 2:
            pairs = pairs.round(1)  # ties
        values = pairs[0] - pairs[1]
        options = {"n_resamples": 199, "method": "percentile", "rng": np.random.default_rng(seed)}
        expected = stats.bootstrap((values,), np.mean, **options).confidence_interval
        limits = bootstrap(np.stack([values, -values], 1), num_draws=199, seed=seed)
        np.testing.assert_allclose(limits[:, 0], expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(limits[:, 1], -limits[::-1, 0], rtol=0, atol=1e-12)
        if values.any():
            assert wilcoxon_p(values) == pytest.approx(stats.wilcoxon(*pairs).pvalue, rel=1e-12)
    assert wilcoxon_p(np.zeros(9)) == 1


def test_bootstrap_draws_do_not_depend_on_the_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(40, 3))
    whole = bootstrap(values)
    monkeypatch.setattr("ipsam.tools.compare.significance.CELLS", 1000)
    np.testing.assert_allclose(bootstrap(values), whole, rtol=0, atol=1e-12)


def test_methods_are_compared_on_their_common_images_in_each_direction() -> None:
    one = evaluation({"a": 0.5, "b": 0.6, "c": 0.7, "only": 0.1})
    two = evaluation({"c": 0.9, "b": 0.8, "a": 0.4})
    found = {found.metric: found for found in differences({"One": one, "Two": two}, against="Two")}
    better, error = found["sm"], found["mae"]
    assert (better.method, better.reference, better.num_images) == ("One", "Two", 3)
    assert better.difference == pytest.approx(-0.1)
    assert error.difference == pytest.approx(0.1)
    assert better.num_better == error.num_better == 1
    assert better.low < better.difference < better.high
    assert not better.is_better
    table = differences_table([*found.values()])
    assert "Sm |    -0.1000 | [-0.2000, +0.1000] | 0.5000 | " in table
    assert "1 of 3 images |" in table
    assert "em_max" not in found
    few = evaluation({"a": 0.95})  # the best, but on a single image
    assert reference_on("CAMO", {"Few": few, "Two": two, "Other": two}, None) == "Two"
    assert differences({"One": one}) == []


def test_undefined_scores_are_left_out_of_a_comparison() -> None:
    one = evaluation({"a": 0.5, "b": float("nan"), "c": 0.7})
    two = evaluation({"a": 0.4, "b": 0.6, "c": 0.5})
    found = {one.metric: one for one in differences({"One": one, "Two": two}, against="Two")}
    assert (found["sm"].num_images, found["fw"].num_images) == (2, 3)
    assert (found["sm"].difference, found["sm"].low) == pytest.approx((0.15, 0.1))
    assert found["sm"].is_better
    assert found["mae"].is_better
    assert reference_on("CAMO", {"One": one}, "Two") is None
