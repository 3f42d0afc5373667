"""The command ``ipsam params``: count the parameters of experiments beside the paper's."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("params")
