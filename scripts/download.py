"""SAM2's weights and datasets: python scripts/download.py sam2=[large] (--help tells what can be set)."""

from ipsam.cli.download import main

if __name__ == "__main__":
    main()
