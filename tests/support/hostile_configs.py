"""Configurations that somebody broke, or made to do harm."""

from collections.abc import Callable
from typing import Any

import yaml

# What may be called to leave a file behind, and what it is called with.
CALLS: dict[str, Callable[[str], list[Any]]] = {
    "os.system": lambda canary: [f"touch {canary}"],
    "os.mkdir": lambda canary: [canary],
    "os.mknod": lambda canary: [canary],
    "builtins.eval": lambda canary: [f"__import__('pathlib').Path({canary!r}).touch()"],
    "builtins.exec": lambda canary: [f"__import__('pathlib').Path({canary!r}).touch()"],
    "subprocess.call": lambda canary: [["touch", canary]],
    "pathlib.Path.touch": lambda canary: [{"_target_": "pathlib.Path", "_args_": [canary]}],
    "shutil.copy": lambda canary: ["/etc/hostname", canary],
    "numpy.savetxt": lambda canary: [canary, [1, 2]],
    "runpy.run_path": lambda canary: [f"{canary}.py"],
    "ipsam.engine.runs.checkpoint.os.system": lambda canary: [f"touch {canary}"],
    "ipsam.model.backbone.torch.os.system": lambda canary: [f"touch {canary}"],
    "ipsam.model.IPSAM.__init__.__globals__": lambda canary: [canary],
    "hydra.utils.instantiate": lambda canary: [{"_target_": "os.mkdir", "_args_": [canary]}],
}
# Where in a run's configuration a call may stand.
PLACES: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "the model": lambda config, call: config.update(model=call),
    "the decoder": lambda config, call: config["model"].update(decoder=call),
    "an argument": lambda config, call: config["model"]["decoder"].update(dim=call),
    "a list": lambda config, call: config["model"]["self_prompt"].update(head_channels=[call, [call]]),
    "positional arguments": lambda config, call: config["model"].update(_args_=[call]),
    "an argument that nobody has": lambda config, call: config["model"].update(extra={"deep": [{"deeper": call}]}),
    "a partial call": lambda config, call: config["model"].update(gating=call | {"_partial_": True}),
    "a call not entered": lambda config, call: config["model"].update(_recursive_=False, gating=call),
    "a call kept as it is": lambda config, call: config["model"].update(_convert_="object", gating=call),
    "the data": lambda config, call: config["data"].update(call),
    "the test sets": lambda config, call: config["data"].update(test=[call]),
    "the folder": lambda config, call: config["data"].update(root=call),
    "the engine": lambda config, call: config["engine"].update(lr=call),
    "the top": lambda config, call: config.update(call),
    "hydra's section": lambda config, call: config.update(
        hydra={"job_logging": call, "callbacks": {"a": call}, "run": {"dir": "/"}, "searchpath": ["file:///"]}
    ),
    "paths": lambda config, call: config.update(paths=call, run_dir=call, name=call),
}


def with_call(text: str, place: str, target: str, canary: str) -> str:
    """A configuration that calls something in one of the ``PLACES``."""
    config = yaml.safe_load(text)
    PLACES[place](config, {"_target_": target, "_args_": CALLS[target](canary)})
    return yaml.safe_dump(deepcopied(config))


def deepcopied(node: Any) -> Any:
    """Without parts that are one and the same, which YAML would write as aliases."""
    if isinstance(node, dict):
        return {key: deepcopied(child) for key, child in node.items()}
    return [deepcopied(child) for child in node] if isinstance(node, list) else node


# Objects that YAML's tags would make, where they are trusted.
TAGS: dict[str, Callable[[str], str]] = {
    "apply os.system": lambda canary: f"!!python/object/apply:os.system ['touch {canary}']",
    "apply eval": lambda canary: f'!!python/object/apply:builtins.eval [\'open("{canary}", "w").close()\']',
    "apply os.mkdir": lambda canary: f"!!python/object/apply:os.mkdir ['{canary}']",
    "apply subprocess.call": lambda canary: f"!!python/object/apply:subprocess.call [[touch, '{canary}']]",
    "extended by exec": lambda canary: (
        f"!!python/object/new:type {{args: [z, !!python/tuple [], {{extend: !!python/name:exec }}], "
        f"listitems: \"open('{canary}', 'w').close()\"}}"
    ),
}

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 60))
MERGES = "m0: &m0 {k: 1}\n" + "".join(f"m{i}: &m{i} {{<<: [*m{i - 1}, *m{i - 1}], k{i}: 1}}\n" for i in range(1, 60))

# What a whole configuration is followed by, or, without a leading newline, replaced by.
TEXTS: dict[str, str] = {
    "nothing": "",
    "a billion laughs": "\n" + LAUGHS,
    "merged keys": "\n" + MERGES,
    "an alias": "\na: &a [1]\nb: *a\n",
    "a circle": "\na: &a [*a]\n",
    "100,000 levels": "\na: " + "[" * 100_000,
    "100,000 levels of keys": "\na: " + "{a: " * 25_000,
    "40 levels": "\na: " + "[" * 40 + "]" * 40,
    "60,000 values": "\na: [" + "1, " * 40_000 + "1]",
    "a megabyte": "\na: '" + "x" * 1_000_000 + "'",
    "a long text": "\na: '" + "x" * 5000 + "'",
    "a long key": "\n" + "x" * 1000 + ": 1",
    "5,000 digits": "\na: " + "1" * 5000,
    "100,000 hexadecimal digits": "\na: 0x" + "f" * 100_000,
    "a time of 50,000 parts": "\na: " + "1:" * 50_000 + "1",
    "the 99th of May": "\na: 2001-05-99",
    "a date": "\na: 2001-05-09",
    "bytes": "\na: !!binary aGVsbG8=",
    "a set": "\na: !!set {b}",
    "pairs": "\na: !!omap [b: 1]",
    "an unknown tag": "\na: !thing 1",
    "a key that is null": "\n~: 1",
    "a key that is a number": "\n1: 1",
    "a key that is a list": "\n? [a]\n: 1",
    "NaN": "\na: .nan",
    "infinity": "\na: .inf",
    "the environment": "\na: ${oc.env:HOME}",
    "the environment as a key": "\n'${oc.env:HOME}': 1",
    "another value": "\na: ${model.decoder.dim}",
    "code decoded": "\na: ${oc.decode:'1'}",
    "a value left open": "\na: ???",
    "two documents": "\n---\na: 1",
    "a tab": "\n\ta: 1",
    "an open bracket": "\na: [",
    "zeros": "\0" * 100,
    "a list": "[model, data, engine]",
    "sections that are lists": "model: [1]\ndata: [1]\nengine: [1]\n",
    "empty sections": "model: {}\ndata: {}\nengine: {}\n",
}

# What a single value may be replaced by.
VALUES: dict[str, Any] = {
    "10**30": 10**30,
    "10**15": 10**15,
    "10**6": 10**6,
    "8192": 8192,
    "-1": -1,
    "0": 0,
    "1e308": 1e308,
    "infinity": float("inf"),
    "NaN": float("nan"),
    "text": "text",
    "a path upwards": "../../canary",
    "a path": "/etc/passwd",
    "a zero byte": "a\0b",
    "5,000 letters": "x" * 5000,
    "300 letters": "x" * 300,
    "null": None,
    "an empty list": [],
    "a list of lists": [[[1]]],
    "a dictionary": {"a": {"b": 1}},
    "true": True,
}


def places_of(node: Any, before: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all values that are no dictionaries, as tuples of keys and positions."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, child in entries for place in places_of(child, (*before, key))] or [before]


def with_value(text: str, place: tuple[Any, ...], value: Any) -> str:
    """A configuration with another value in one place."""
    config = yaml.safe_load(text)
    node = config
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return yaml.safe_dump(config)
