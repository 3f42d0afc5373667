"""Download pretrained weights and install datasets."""

import sys

from omegaconf import DictConfig

from ipsam.tools.prepare.data_check import as_text
from ipsam.tools.prepare.download import Download
from ipsam.utils.console import show


def main(config: DictConfig) -> None:
    """Download the weights, install and check the datasets; exit with status 1 if a run would stop at them."""
    download = Download.of(config)
    for path in download.weights():
        show(path)
    diagnosis = download.data()
    if diagnosis is not None:
        show(as_text(diagnosis))
        sys.exit(int(diagnosis.would_stop))
    if download.datasets:
        show(download.instructions())
