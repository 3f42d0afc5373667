"""The paper's tables with our runs in them: python scripts/tables.py runs=outputs (--help tells what can be set)."""

from ipsam.cli.tables import main

if __name__ == "__main__":
    main()
