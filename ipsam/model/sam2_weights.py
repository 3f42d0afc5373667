"""SAM 2.1's official checkpoints: which files there are, and how one is checked and loaded."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ipsam.utils.untrusted import check_archive

URL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"

FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}

# Parts of a SAM 2.1 checkpoint that not everybody wants: video memory and SAM's own decoder.
OTHER_PARTS = (
    "sam_mask_decoder.",
    "memory_attention.",
    "memory_encoder.",
    "obj_ptr_proj.",
    "obj_ptr_tpos_proj.",
    "mask_downsample.",
    "maskmem_tpos_enc",
    "no_mem_embed",
    "no_mem_pos_enc",
    "no_obj_ptr",
    "no_obj_embed_spatial",
)


@dataclass(frozen=True)
class OfficialFile:
    """One of Meta's released files."""

    name: str
    sha256: str
    num_bytes: int

    @property
    def url(self) -> str:
        """Where it is published."""
        return f"{URL}/{self.name}"


OFFICIAL_FILES = {
    file.name: file
    for file in (
        OfficialFile(
            "sam2.1_hiera_tiny.pt", "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69", 156_008_466
        ),
        OfficialFile(
            "sam2.1_hiera_small.pt", "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38", 184_416_285
        ),
        OfficialFile(
            "sam2.1_hiera_base_plus.pt", "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5", 323_606_802
        ),
        OfficialFile(
            "sam2.1_hiera_large.pt", "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318", 898_083_611
        ),
    )
}


def sha256_of(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def load_sam2_weights(path: Path, parts: Mapping[str, nn.Module | nn.Parameter]) -> str:
    """Load a checkpoint in SAM2's format, ``{"model": state_dict}``, strictly into the named parts.

    Args:
        path: the checkpoint. One that bears an official file's name must have that file's sha256.
        parts: modules by their prefix in the state dict, such as ``{"image_encoder": ..., "sam_prompt_encoder": ...}``,
            and single parameters by their name there.

    Returns:
        The file's sha256.

    Raises:
        FileNotFoundError: if there is no such file; the message tells where to get an official one.
        ValueError: if the file is damaged, not in the format, or its keys or shapes don't fit the parts.
    """
    official = OFFICIAL_FILES.get(path.name)
    if not path.is_file():
        where = f"\nget it with: curl -L --create-dirs -o {path} {official.url}" if official else ""
        raise FileNotFoundError(
            f"no SAM2 checkpoint at {path}{where}\n"
            "name another with model.backbone.checkpoint=... (eval.py: base=...), or train from random weights with "
            "model.backbone.checkpoint=null"
        )
    digest = sha256_of(path)
    if official and digest != official.sha256:
        raise ValueError(
            f"{path} is not the official {official.name}: sha256 {digest} ({path.stat().st_size:,} bytes) instead of "
            f"{official.sha256} ({official.num_bytes:,} bytes). Download it again from {official.url}; weights of your "
            "own belong in a file of another name"
        )
    state = _read_state_dict(path)
    wanted: dict[str, Tensor] = {}
    for name, part in parts.items():
        tensors = {"": part.data} if isinstance(part, nn.Parameter) else part.state_dict(prefix=".")
        wanted |= {f"{name}{key}": tensor for key, tensor in tensors.items()}
    found = {key: tensor for key, tensor in state.items() if key in wanted or not key.startswith(OTHER_PARTS)}
    difference = key_difference(wanted, found)
    if difference:
        raise ValueError(f"{path} does not fit the model (is model.backbone.variant the right one?)\n{difference}")
    for key, tensor in wanted.items():
        tensor.copy_(state[key])
    return digest


def key_difference(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], *, most: int = 8) -> str:
    """Lines that tell missing and unexpected keys, other shapes and types; at most ``most`` of each, empty for none.

    Floats may be of any precision.
    """
    missing = sorted(wanted.keys() - found.keys())
    unexpected = [f"{key!r:.99}"[1:-1] for key in sorted(found.keys() - wanted.keys())]  # as the file spells it
    common = [(key, found[key], wanted[key]) for key in sorted(wanted.keys() & found.keys())]
    shapes = [
        f"{key} {tuple(one.shape)!s:.99} instead of {tuple(other.shape)}"
        for key, one, other in common
        if one.shape != other.shape
    ]
    types = [
        f"{key} {one.dtype} instead of {other.dtype}"
        for key, one, other in common
        if one.dtype != other.dtype and not {one.dtype, other.dtype} <= FLOATS
    ]
    lines = []
    for title, entries in (
        ("missing", missing),
        ("unexpected", unexpected),
        ("of another shape", shapes),
        ("of another type", types),
    ):
        if entries:
            more = f" ... and {len(entries) - most} more" if len(entries) > most else ""
            lines.append(f"  {len(entries)} {title}: {', '.join(entries[:most])}{more}")
    return "\n".join(lines)


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no checkpoint make the unpickler fail in any way, IndexError included
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is damaged or not a PyTorch checkpoint of plain tensors: {first_line}") from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise ValueError(f'{path} is not in SAM2\'s checkpoint format: it must hold {{"model": state_dict}}')
    return state
