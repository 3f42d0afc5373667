"""Read a run's data and say what is wrong: python scripts/check_data.py data=cod (--help tells what can be set)."""

from ipsam.cli.check_data import main

if __name__ == "__main__":
    main()
