"""The command ``ipsam score``: score saved maps of any method."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("score")
