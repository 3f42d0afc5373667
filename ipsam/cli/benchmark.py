"""Measure speed and memory against other implementations."""

import argparse

from ipsam.cli.errors import user_errors
from ipsam.tools.benchmark.commands import add_parsers, reports
from ipsam.utils.console import show
from ipsam.utils.files import write_json


def main() -> None:
    """Run one benchmark and print its tables."""
    parser = argparse.ArgumentParser(description="Speed as ratios of things timed side by side in one run.")
    add_parsers(parser)
    options = vars(parser.parse_args())
    with user_errors():
        for text, figures in reports(options.pop("command"), options):
            show(text)
            if options["out"] is not None:
                write_json(options["out"], figures)
