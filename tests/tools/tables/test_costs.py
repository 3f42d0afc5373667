"""The table of costs in configs/README.md is what ``ipsam params plan=true`` prints today."""

import pytest
from support.experiments import CONFIGS

from ipsam.engine.train.plan import CARDS, UTILISATION, notes
from ipsam.tools.tables import costs
from ipsam.tools.tables.ledger import paper_experiments

SECTION = (
    (CONFIGS / "README.md").read_text(encoding="utf-8").partition("ipsam params plan=true")[2].partition("\n## ")[0]
)
TABLE = [[cell.strip() for cell in line.split("|")[1:-1]] for line in SECTION.splitlines() if line.startswith("|")]
ROWS = {name: cells for name, *cells in TABLE[2:]}


def test_every_experiment_of_the_paper_has_a_row() -> None:
    assert tuple(TABLE[0]) == costs.HEADER
    assert list(ROWS) == paper_experiments(CONFIGS)
    assert notes() in SECTION


def test_hours_fit_the_rates_of_today() -> None:
    for name, (_, _, steps, gflops, _, *hours, _, _) in ROWS.items():
        for card, printed in zip(costs.CARDS, hours, strict=True):
            if printed:
                flops = float(steps.replace(",", "")) * float(gflops.replace(",", "")) * 1e9
                expected = flops / UTILISATION / CARDS[card] / 3600
                assert float(printed) == pytest.approx(expected, abs=0.06), name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cod_t_r32", "kvasir/mdsam"])
def test_row_is_what_the_code_gives(name: str) -> None:
    assert [name, *ROWS[name]] == costs.costs_row(CONFIGS, name)


def test_row_of_a_system_that_is_not_trained_is_blank() -> None:
    assert costs.costs_row(CONFIGS, "baseline/sam_oracle") == ["baseline/sam_oracle", "1", *[""] * 8]
