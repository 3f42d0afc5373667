"""The command ``ipsam``: ``ipsam NAME ...`` does the same as ``python scripts/NAME.py ...``."""

import sys
from difflib import get_close_matches
from pathlib import Path

from ipsam import __version__
from ipsam.utils.console import prepare_streams, show

COMMANDS = {
    "train": "train a model, then evaluate it",
    "eval": "evaluate a trained model",
    "predict": "predict masks for your own images and videos",
    "demo": "serve a web page that shows a model's predictions",
    "serve": "serve a model over HTTP: image in, mask out",
    "export": "export a model to ONNX, OpenVINO or torch.export",
    "release": "pack a trained model to publish it",
    "download": "download SAM2's weights, install datasets",
    "check_data": "check the files of a run's data",
    "score": "score saved maps of any method",
    "tables": "print the paper's tables with your runs in them",
    "params": "count the parameters of experiments beside the paper's",
    "visualize": "draw the paper's Fig. 3 and Fig. 4 of a run",
    "benchmark": "measure speed and memory against other implementations",
}
HELP = "\n".join(
    [
        "usage: ipsam COMMAND [KEY=VALUE ...]\n",
        *(f"  {name:<10}  {about}" for name, about in COMMANDS.items()),
        "\nipsam COMMAND --help explains a command.",
    ]
)


def main() -> None:
    """Run the command that the first argument names."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        show(HELP)
    elif name == "--version":
        show(__version__)
    elif name in COMMANDS:
        program = "python -m ipsam" if Path(sys.argv[0]).name == "__main__.py" else "ipsam"
        sys.argv = [f"{program} {name}", *sys.argv[2:]]
        run(name)
    else:
        close = get_close_matches(name, COMMANDS, n=1)
        sys.exit(f"error: no command {name!r}" + (f"; did you mean ipsam {close[0]}?" if close else "") + f"\n\n{HELP}")


def run(name: str) -> None:
    """Run a command with the arguments of ``sys.argv``."""
    prepare_streams()
    if name == "benchmark":  # the only one without a configuration file
        from ipsam.cli.benchmark import main as benchmark

        benchmark()
    else:
        from ipsam.cli.command import run as run_configured

        run_configured(name)


if __name__ == "__main__":
    main()
