"""Broken and hostile configurations, made of a good one."""

import json
from collections.abc import Callable
from typing import Any

import yaml

# Functions that would leave a file behind, with their arguments.
CALLS: dict[str, Callable[[str], list[Any]]] = {
    "os.system": lambda canary: [f"touch {canary}"],
    "os.mkdir": lambda canary: [canary],
    "os.mknod": lambda canary: [canary],
    "builtins.eval": lambda canary: [f"__import__('pathlib').Path({canary!r}).touch()"],
    "builtins.exec": lambda canary: [f"__import__('pathlib').Path({canary!r}).touch()"],
    "subprocess.call": lambda canary: [["touch", canary]],
    "pathlib.Path.touch": lambda canary: [{"_target_": "pathlib.Path", "_args_": [canary]}],
    "ipsam.engine.runs.checkpoint.os.system": lambda canary: [f"touch {canary}"],
    "ipsam.model.backbones.sam2.torch.os.system": lambda canary: [f"touch {canary}"],
}
# Ways to put a call into a run's configuration.
CALL_SITES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "the model": lambda config, call: config.update(model=call),
    "the decoder": lambda config, call: config["model"].update(decoder=call),
    "a list": lambda config, call: config["model"]["self_prompt"].update(head_channels=[call, [call]]),
    "positional arguments": lambda config, call: config["model"].update(_args_=[call]),
    "an unknown argument": lambda config, call: config["model"].update(extra={"deep": [{"deeper": call}]}),
    "a partial call": lambda config, call: config["model"].update(gating=call | {"_partial_": True}),
    "the data": lambda config, call: config["data"].update(call),
    "the test sets": lambda config, call: config["data"].update(test=[call]),
    "the data's folder": lambda config, call: config["data"].update(root=call),
    "the engine": lambda config, call: config["engine"].update(lr=call),
    "the top": lambda config, call: config.update(call),
    "hydra's section": lambda config, call: config.update(hydra={"callbacks": {"a": call}, "searchpath": ["file:///"]}),
    "paths": lambda config, call: config.update(paths=call, run_dir=call, name=call),
}


def with_call(text: str, site: str, target: str, canary: str) -> str:
    """Put a call into a configuration at one of the ``CALL_SITES``."""
    config = yaml.safe_load(text)
    CALL_SITES[site](config, {"_target_": target, "_args_": CALLS[target](canary)})
    return yaml.safe_dump(json.loads(json.dumps(config)))  # parts of their own, as aliases are refused


# Objects that YAML's tags would make where they are trusted.
TAGS: dict[str, Callable[[str], str]] = {
    "apply os.system": lambda canary: f"!!python/object/apply:os.system ['touch {canary}']",
    "apply eval": lambda canary: f'!!python/object/apply:builtins.eval [\'open("{canary}", "w").close()\']',
    "extended by exec": lambda canary: (
        f"!!python/object/new:type {{args: [z, !!python/tuple [], {{extend: !!python/name:exec }}], "
        f"listitems: \"open('{canary}', 'w').close()\"}}"
    ),
}

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
MERGES = "m0: &m0 {k: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}], k{i}: 1}}\n" for i in range(1, 60))

# Texts that are appended to a good configuration.
TAILS: dict[str, str] = {
    "a billion laughs": LAUGHS,
    "merged keys": MERGES,
    "an alias": "a: &a [1]\nb: *a\n",
    "100,000 levels": "a: " + "[" * 100_000,
    "40 levels": "a: " + "[" * 40 + "]" * 40,
    "a megabyte": "a: '" + "x" * 1_000_000 + "'",
    "a long key": "x" * 1000 + ": 1",
    "5,000 digits": "a: " + "1" * 5000,
    "a time of 50,000 parts": "a: " + "1:" * 50_000 + "1",
    "the 99th of May": "a: 2001-05-99",
    "a date": "a: 2001-05-09",
    "an unknown tag": "a: !thing 1",
    "a null key": "~: 1",
    "a number as key": "1: 1",
    "NaN": "a: .nan",
    "infinity": "a: .inf",
    "an environment variable": "a: ${oc.env:HOME}",
    "an interpolation": "a: ${model.decoder.dim}",
    "an open value": "a: ???",
    "an open bracket": "a: [",
}
# Texts that replace a good configuration.
TEXTS: dict[str, str] = {
    "nothing": "",
    "zeros": "\0" * 100,
    "a list": "[model, data, engine]",
    "empty sections": "model: {}\ndata: {}\nengine: {}\n",
}

# Values that replace a single value.
VALUES: dict[str, Any] = {
    **{str(number): number for number in (10**30, 10**15, 10**6, 8192, -1, 0, 1e308, float("inf"), float("nan"))},
    **{repr(value): value for value in ("text", "../../canary", "/etc/passwd", "a\0b", None, True)},
    **{repr(value): value for value in ([], [[[1]]], {"a": {"b": 1}})},
    "300 letters": "x" * 300,
}


def value_paths(node: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all values that are not dictionaries, as tuples of keys and positions."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path for key, child in entries for path in value_paths(child, (*before, key))] or [before]


def replaced(content: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Replace one value, in place."""
    node = content
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return content
