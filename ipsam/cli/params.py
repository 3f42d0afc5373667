"""The parameter ledger beside the paper's: python scripts/params.py (--help tells what can be set)."""

import hydra
from omegaconf import DictConfig

from ipsam.cli import CONFIGS
from ipsam.cli.errors import user_errors
from ipsam.tools.paper.ledger import ledger, ledger_table, paper_experiments, rows_of_others


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="params")
def main(config: DictConfig) -> None:
    """Build every model, count, print."""
    with user_errors():
        names = [config.experiments] if isinstance(config.experiments, str) else config.experiments
        entries = ledger(CONFIGS, names or paper_experiments(CONFIGS))
        print(ledger_table(entries if names else [*entries, *rows_of_others(entries)]))
