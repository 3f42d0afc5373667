"""The parameter ledger beside the paper's: python scripts/params.py (--help tells what can be set)."""

from ipsam.cli.params import main

if __name__ == "__main__":
    main()
