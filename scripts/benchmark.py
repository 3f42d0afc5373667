"""The command ``ipsam benchmark``: measure speed and memory against other implementations."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("benchmark")
