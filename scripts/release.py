"""The command ``ipsam release``: pack a trained model to publish it."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("release")
