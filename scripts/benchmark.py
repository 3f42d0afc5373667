"""Speed as ratios of things timed side by side: python scripts/benchmark.py metrics (--help tells what there is)."""

import argparse
from pathlib import Path

from ipsam.engine.benchmark.data import benchmark_data
from ipsam.engine.benchmark.metrics import benchmark_metrics
from ipsam.engine.cli import user_errors
from ipsam.engine.evaluation import write_json

COMMANDS = {
    "data": (benchmark_data, "reading training pairs against Pillow and torchvision"),
    "metrics": (benchmark_metrics, "the fused metrics against PySODMetrics; one process against two"),
}


def main() -> None:
    """Run one benchmark, print its table."""
    parser = argparse.ArgumentParser(description="Speed as ratios of things timed side by side in one run.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, what) in COMMANDS.items():
        command = commands.add_parser(name, help=what)
        command.add_argument("--repeats", type=int, default=9, help="of each timing; medians are printed (default 9)")
        command.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    benchmark, _ = COMMANDS[arguments.command]
    with user_errors():
        table, content = benchmark(repeats=arguments.repeats)
        print(table)
        if arguments.out is not None:
            write_json(arguments.out, content)


if __name__ == "__main__":
    main()
