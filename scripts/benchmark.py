"""Speed as ratios of things timed side by side: python scripts/benchmark.py metrics (--help tells what there is)."""

from ipsam.cli.benchmark import main

if __name__ == "__main__":
    main()
