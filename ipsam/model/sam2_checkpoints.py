"""SAM 2.1's official checkpoints: the list of files, and strict loading of a file in their format."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ipsam.utils.untrusted import check_archive
from ipsam.utils.weights import key_difference, sha256_of

URL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"

# Parts of a SAM 2.1 checkpoint that a model may leave out: the video memory and SAM's own decoder.
OPTIONAL_PARTS = (
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
        """Download address."""
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


def load_sam2_checkpoint(path: Path, parts: Mapping[str, nn.Module | nn.Parameter]) -> str:
    """Load a checkpoint in SAM2's format, ``{"model": state_dict}``, strictly into the named parts.

    Args:
        path: the checkpoint. A file with an official name must have the official SHA-256.
        parts: modules by their prefix in the state dict, such as ``{"image_encoder": ..., "sam_prompt_encoder": ...}``,
            and single parameters by their key.

    Returns:
        The file's SHA-256.

    Raises:
        FileNotFoundError: there is no such file; the message says where to download an official one.
        ValueError: the file is damaged, has another format, or its keys or shapes do not fit the parts.
    """
    official = OFFICIAL_FILES.get(path.name)
    if not path.is_file():
        source = f"download it with: curl -L --create-dirs -o {path} {official.url}\n" if official else ""
        raise FileNotFoundError(
            f"no SAM2 checkpoint at {path}\n{source}"
            "name another file with checkpoint=..., or take random weights with checkpoint=None"
        )
    digest = sha256_of(path)
    if official and digest != official.sha256:
        raise ValueError(
            f"{path} is not the official {official.name}: sha256 {digest} ({path.stat().st_size:,} bytes) instead of "
            f"{official.sha256} ({official.num_bytes:,} bytes). Download it again from {official.url}; give weights of "
            "your own another file name"
        )
    state = _read_state_dict(path)
    wanted: dict[str, Tensor] = {}
    for name, part in parts.items():
        tensors = {"": part.data} if isinstance(part, nn.Parameter) else part.state_dict(prefix=".")
        wanted |= {f"{name}{key}": tensor for key, tensor in tensors.items()}
    found = {key: tensor for key, tensor in state.items() if key in wanted or not key.startswith(OPTIONAL_PARTS)}
    if difference := key_difference(wanted, found):
        raise ValueError(f"{path} does not fit the model (is variant the right one?)\n{difference}")
    for key, tensor in wanted.items():
        tensor.copy_(state[key])
    return digest


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # on arbitrary bytes the unpickler raises any exception, IndexError included
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} is damaged or not a PyTorch checkpoint of plain tensors: {first_line}") from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise ValueError(f'{path} is not in SAM2\'s checkpoint format: it must hold {{"model": state_dict}}')
    return state
