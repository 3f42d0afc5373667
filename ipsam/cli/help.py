"""Help of the commands: the comments of their configuration files."""

import re
from textwrap import fill
from typing import Any

import yaml

from ipsam.utils.resources import CONFIGS

END = re.compile(r"^(defaults|hydra):", re.M)  # of the keys that a user sets


def help_of(command: str) -> str:
    """Return what ``configs/<command>.yaml`` says: its opening comment and each key with default and explanation."""
    content = (CONFIGS / f"{command}.yaml").read_text(encoding="utf-8")
    explained = END.split(content, maxsplit=1)[0].rstrip().splitlines()
    num_lines = next(number for number, line in enumerate(explained) if not line.startswith("#"))
    about = [line.removeprefix("#").removeprefix(" ") for line in explained[:num_lines]]
    files = "\n".join(_files_to_choose(yaml.safe_load(content)["defaults"]))
    return "\n".join(
        [
            *about,
            "\nOptions, as KEY=VALUE with the default (???: it must be given):\n",
            *explained[num_lines:],
            *(["\nFiles to choose, as GROUP=NAME, with the default first:\n", files] if files else []),
            "\n--cfg job prints all values that a command line results in. The files that explain them are in",
            f"{CONFIGS}.",
        ]
    )


def names_in(group: str) -> list[str]:
    """Return the names of a group's files, sorted."""
    folder = CONFIGS / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def _files_to_choose(defaults: list[Any]) -> list[str]:
    chosen = {group: name for entry in defaults if isinstance(entry, dict) for group, name in entry.items()}
    lines = []
    for group, default in chosen.items():
        others = sorted(set(names_in(group)) - {default, "base"})  # base only holds what the others share
        if others:
            lines.append(fill(f"{group}: {', '.join([default, *others])}", width=120, subsequent_indent="  "))
    return lines
