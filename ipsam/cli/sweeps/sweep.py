"""A sweep from its command line to its table."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra.core.override_parser.types import Glob
from hydra.core.plugins import Plugins

from ipsam.cli.help import names_in
from ipsam.cli.sweeps.cluster import ClusterLauncher
from ipsam.cli.sweeps.launcher import LocalLauncher, SweepLauncher
from ipsam.cli.sweeps.runs import Sweep, parsed
from ipsam.cli.sweeps.search import Search
from ipsam.utils.console import show

PACKAGE = "hydra_plugins.ipsam"  # Hydra takes launchers and sweepers from the package hydra_plugins only
OURS = (LocalLauncher, ClusterLauncher, Search)


@contextmanager
def sweeping(sweep: Sweep) -> Iterator[None]:
    """Have Hydra run a sweep by the launchers of this folder; print and write its table at the end.

    Raises:
        ValueError: a run has failed; or torchrun started this process.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError("torchrun starts one run, and -m starts each of its runs itself: leave one of them out")
    SweepLauncher.sweep = sweep
    # Plugins.register would take the classes' own module for their name.
    Plugins.instance().class_name_to_class.update({f"{PACKAGE}.{one.__name__}": one for one in OURS})
    try:
        yield
    finally:
        if sweep.runs:
            from ipsam.cli.sweeps.table import write_table  # takes seconds

            show(*write_table(sweep.runs, sweep.folder))
    if failed := [f"run {run.number}" for run in sweep.runs if run.status]:
        raise ValueError(
            f"{len(failed)} of {len(sweep.runs)} runs failed: {', '.join(failed[:9])}. Mend what their messages say "
            "and start the sweep again, with resume=true"
        )


def expanded(argument: str) -> str:
    """Replace a home folder, and ``GROUP=glob(FOLDER/*)``, which Hydra does not look for in folders of a group.

    Raises:
        ValueError: no file matches.
    """
    key, _, value = argument.partition("=")
    if value.startswith("~/"):
        return f"{key}={Path(value).expanduser()}"
    if not re.match(r"glob\(.*/", value):
        return argument
    (override,) = parsed([argument])
    pattern, group = override.value(), key.lstrip("+")
    found = pattern.filter(names_in(group)) if isinstance(pattern, Glob) else []
    if not found:
        raise ValueError(f"{argument}: no file of configs/{group} matches; there are {', '.join(names_in(group))}")
    return f"{key}={','.join(found)}"
