"""The command ``ipsam train``: train a model, then evaluate it."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("train")
