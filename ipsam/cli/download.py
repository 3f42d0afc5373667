"""SAM2's weights and datasets: python scripts/download.py sam2=[large] (--help tells what can be set)."""

import sys

import hydra
from omegaconf import DictConfig

from ipsam.cli import CONFIGS
from ipsam.cli.errors import user_errors
from ipsam.tools.prepare.data_check import in_words
from ipsam.tools.prepare.download import Download


@hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name="download")
def main(config: DictConfig) -> None:
    """Fetch the files, put the datasets in their place and examine them; exit status 1 if a run would stop at them."""
    with user_errors():
        download = Download.of(config)
        for path in download.weights():
            print(path)
        diagnosis = download.data()
        if diagnosis is not None:
            print(in_words(diagnosis))
            sys.exit(int(diagnosis.would_stop))
        if download.datasets:
            print(download.instructions())
