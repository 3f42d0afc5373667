"""The command ``ipsam tables``: print the paper's tables with your runs in them."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("tables")
