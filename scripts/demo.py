"""The command ``ipsam demo``: serve a web page that shows a model's predictions."""

from ipsam.__main__ import run

if __name__ == "__main__":
    run("demo")
