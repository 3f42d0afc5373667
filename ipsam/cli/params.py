"""The parameter ledger beside the paper's: python scripts/params.py (--help tells what can be set)."""

from omegaconf import DictConfig

from ipsam.cli.command import command
from ipsam.tools.paper.ledger import ledger, ledger_table, paper_experiments, rows_of_others
from ipsam.utils.resources import CONFIGS


@command("params")
def main(config: DictConfig) -> None:
    """Build every model, count, print."""
    names = [config.experiments] if isinstance(config.experiments, str) else config.experiments
    entries = ledger(CONFIGS, names or paper_experiments(CONFIGS))
    print(ledger_table(entries if names else [*entries, *rows_of_others(entries)]))
