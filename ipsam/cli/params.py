"""Count the parameters of experiments beside the paper's."""

from omegaconf import DictConfig

from ipsam.engine.runs.configuration import config_folders
from ipsam.tools.tables.costs import costs_table
from ipsam.tools.tables.ledger import ledger, ledger_table, paper_experiments, rows_of_others
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Build the models, count their parameters, or estimate what they cost to train, and print the table."""
    names = [config.experiments] if isinstance(config.experiments, str) else config.experiments
    configs = config_folders()
    if config.plan:
        show(costs_table(configs, names or paper_experiments(configs)))
        return
    entries = ledger(configs, names or paper_experiments(configs))
    show(ledger_table(entries if names else [*entries, *rows_of_others(entries)]))
