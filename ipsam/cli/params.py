"""Count the parameters of experiments beside the paper's."""

from omegaconf import DictConfig

from ipsam.tools.paper.costs import costs_table
from ipsam.tools.paper.ledger import ledger, ledger_table, paper_experiments, rows_of_others
from ipsam.utils.console import show
from ipsam.utils.resources import CONFIGS


def main(config: DictConfig) -> None:
    """Build the models, count their parameters, or estimate what they cost to train, and print the table."""
    names = [config.experiments] if isinstance(config.experiments, str) else config.experiments
    if config.plan:
        show(costs_table(CONFIGS, names or paper_experiments(CONFIGS)))
        return
    entries = ledger(CONFIGS, names or paper_experiments(CONFIGS))
    show(ledger_table(entries if names else [*entries, *rows_of_others(entries)]))
