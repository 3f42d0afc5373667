"""The command ``ipsam eval``: evaluate a trained model."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("eval")
