"""Measure speed and memory against other implementations."""

import argparse

from ipsam.cli.errors import user_errors
from ipsam.tools.benchmark.commands import ALL, add_parsers, reports
from ipsam.tools.tables.printed import statements
from ipsam.utils.console import show
from ipsam.utils.files import write_json, write_text


def main() -> None:
    """Run one benchmark and print its tables, and the paper's own figures of speed, if there are any."""
    parser = argparse.ArgumentParser(description="Speed as ratios of things timed side by side in one run.")
    add_parsers(parser)
    options = vars(parser.parse_args())
    command, page = options.pop("command"), ""
    with user_errors():
        for text, figures in reports(command, options):
            show(text)
            page += text
            if (out := options["out"]) is not None:
                write_json(out, figures)
                write_text(out.with_suffix(".md"), page)
        for one in statements():
            if one.benchmark and command in (one.benchmark, ALL):
                show(f"The paper (section {one.section}), {one.claim}: {one.paper}. {one.remark}")
