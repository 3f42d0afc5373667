"""The command ``ipsam check_data``: check the files of a run's data."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("check_data")
