"""Speed as ratios of things timed side by side: python scripts/benchmark.py metrics (--help tells what there is)."""

import argparse
from pathlib import Path

from ipsam.engine.benchmark.commands import COMMANDS, add_arguments, run
from ipsam.engine.cli import user_errors
from ipsam.engine.evaluation import write_json

CONFIGS = Path(__file__).parents[1] / "configs"


def main() -> None:
    """Run one benchmark, print its tables."""
    parser = argparse.ArgumentParser(description="Speed as ratios of things timed side by side in one run.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        add_arguments(commands.add_parser(name, help=command.help), command)
    options = vars(parser.parse_args())
    with user_errors():
        text, content = run(COMMANDS[options.pop("command")], options, configs=CONFIGS)
        print(text)
        if options["out"] is not None:
            write_json(options["out"], content)


if __name__ == "__main__":
    main()
