"""Speed as ratios of things timed side by side: python scripts/benchmark.py metrics (--help tells what there is)."""

import argparse
from pathlib import Path

from ipsam.engine.benchmark.metrics import benchmark_metrics
from ipsam.engine.cli import user_errors
from ipsam.engine.evaluation import write_json

BENCHMARKS = {"metrics": benchmark_metrics}


def main() -> None:
    """Run one benchmark, print its table."""
    parser = argparse.ArgumentParser(description="Speed as ratios of things timed side by side in one run.")
    commands = parser.add_subparsers(dest="benchmark", required=True)
    metrics = commands.add_parser("metrics", help="the fused metrics against PySODMetrics; one process against two")
    metrics.add_argument("--repeats", type=int, default=9, help="of each timing; medians are printed (default 9)")
    for command in (metrics,):
        command.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = vars(parser.parse_args())
    benchmark, out = BENCHMARKS[arguments.pop("benchmark")], arguments.pop("out")
    with user_errors():
        table, content = benchmark(**arguments)
        print(table)
        if out is not None:
            write_json(out, content)


if __name__ == "__main__":
    main()
