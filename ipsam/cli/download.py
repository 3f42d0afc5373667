"""SAM2's weights and datasets: python scripts/download.py sam2=[large] (--help tells what can be set)."""

import sys

from omegaconf import DictConfig

from ipsam.cli.command import command
from ipsam.tools.prepare.data_check import as_text
from ipsam.tools.prepare.download import Download


@command("download")
def main(config: DictConfig) -> None:
    """Fetch the files, put the datasets in their place and examine them; exit status 1 if a run would stop at them."""
    download = Download.of(config)
    for path in download.weights():
        print(path)
    diagnosis = download.data()
    if diagnosis is not None:
        print(as_text(diagnosis))
        sys.exit(int(diagnosis.would_stop))
    if download.datasets:
        print(download.instructions())
