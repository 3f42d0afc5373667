"""The command ``ipsam download``: download SAM2's weights, install datasets."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("download")
