"""Overrides of the command line (KEY=VALUE): texts kept as typed, and Hydra's errors as one sentence each."""

import re
import shlex
from collections.abc import Sequence
from typing import Any

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ipsam.cli.errors import keys_of, written_value
from ipsam.cli.help import names_in
from ipsam.utils.options import close_to, quoted
from ipsam.utils.resources import CONFIGS

# Keys of paths and names. Hydra would read 2024_02_20 as a whole number, 1e3 as 1000.0, and = or ( as its own grammar.
TEXTS = r"ckpt|init|input|output|out|baseline|maps|masks|images|archive|sha256|run|run_dir|examples|paths\.\w+"
TEXTS += r"|data\.(root|cache)|model\.(\w+\.)*(checkpoint|pretrained)"
TEXTS += r"|colour|background|name|terms|base_model|repo_id"
LISTS = r"base|runs|stems|tags|experiments|plugins|data\.(exclude|train|test|val)"  # or mappings; of texts
ELEMENT = re.compile(  # quoted, or else in the group
    r"""(?s:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')"""
    r"""|(?:(?<=[\[,])|(?<=:\s))\s*([^\[\]{},:"'\s][^\[\]{},:"']*?)\s*(?=[\],}])"""
)


def as_typed(argument: str, file: DictConfig) -> str:
    """Quote the value of an override whose key takes a text, so that Hydra reads what was typed.

    Args:
        argument: KEY=VALUE, or any other argument.
        file: the command's own in configs/. A key that holds a number or a switch there is no text.
    """
    key, _, value = argument.partition("=")
    name = key.lstrip("+")
    is_list = re.fullmatch(LISTS, name)
    if not (is_list or re.fullmatch(TEXTS, name)) or isinstance(written_value(file, name), bool | int | float):
        return argument
    if value in ("", "null") or "${" in value or (len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"):
        return argument
    if is_list and value[0] + value[-1] in ("[]", "{}"):
        return f"{key}={ELEMENT.sub(_element, value)}"
    return f"{key}={quoted(value)}"


def _element(found: re.Match[str]) -> str:
    return found[0].replace(found[1], quoted(found[1])) if found[1] else found[0]


def in_one_sentence(error: HydraException, arguments: Sequence[str], file: DictConfig) -> str:
    """Say what is wrong with an override and what to write instead.

    Args:
        error: as Hydra raised it.
        arguments: of the command line.
        file: the command's own in configs/.
    """
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, arguments, file)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.partition("/")
        known = names_in(group)
        meant = close_to(name, known)
        return f"{group}={name}: no such file; " + (
            f"did you mean {group}={meant}?" if meant else f"there are {', '.join(known)}"
        )
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        key = str(cause.full_key or cause.key)
        value = next((one.partition("=")[2] for one in arguments if one.lstrip("+").partition("=")[0] == key), "")
        parent, _, name = key.rpartition(".")
        if parent and not isinstance(written_value(file, parent), DictConfig | None):
            return f"{key}: {parent} holds one value; write {shlex.quote(f'{parent}={{{name}: {value}}}')}"
        return unknown_key(key, value, cause.parent_node._get_root())
    if group := re.match(r"Could not override '(.+)'. No match in the defaults list", str(error)):
        given = next((one for one in arguments if one.startswith(group[1])), group[1])
        return f"{given}: this group is chosen only where it is added; write +{given}"
    if argument := re.match(r"Ambiguous value for argument '(.+)'", str(error)):
        key, _, value = argument[1].partition("=")
        return f"{argument[1]}: commas separate the runs of a sweep (-m); for one list write '{key}=[{value}]'"
    return re.sub(r"\s*\n\s*", "; ", str(error).strip())


def unknown_key(key: str, value: str, root: Any) -> str:
    """Say that a configuration has no such key, and which one is meant."""
    name = key.rpartition(".")[2]
    known = [one for one in keys_of(root) if not one.startswith("hydra.")]
    groups = [path.name for path in CONFIGS.iterdir() if path.is_dir()] if "run_dir" in root else []
    same_name = [one for one in known if one.rpartition(".")[2] == name]
    meant = same_name[0] if len(same_name) == 1 else close_to(key, [*known, *groups])
    corrected = f"{meant}={value}" if value else meant
    return f"{key}: unknown key{f'; did you mean {shlex.quote(corrected)}?' if meant else ''} (--help lists all keys)"


def _unreadable(override: str, arguments: Sequence[str], file: DictConfig) -> str:
    key, equals, value = override.partition("=")
    if not equals:
        missing = [str(name) for name in file if OmegaConf.is_missing(file, name)]
        example = f"{missing[0]}={override}" if missing and not override.startswith("-") else "KEY=VALUE"
        return f"{override}: not of the form KEY=VALUE; did you mean {shlex.quote(example)}?"
    if (opening := value[:1]) in "[{" and not _is_closed(value):
        words = [override, *arguments[arguments.index(override) + 1 :]] if override in arguments else [override]
        for number in range(2, len(words) + 1):
            if _is_closed(joined := " ".join(words[:number])):
                return f"{override}: the shell split this value at its spaces; write {shlex.quote(joined)}"
        return f"{override}: {opening} is not closed; write {shlex.quote(override + {'[': ']', '{': '}'}[opening])}"
    return f"{override}: this value cannot be read; write {shlex.quote(f'{key}={quoted(value)}')}"


def _is_closed(text: str) -> bool:
    return all(text.count(opening) <= text.count(closing) for opening, closing in ("[]", "{}"))
