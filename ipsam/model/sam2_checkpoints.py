"""SAM2's official checkpoints, of 2.1 and 2.0: the list of files, and strict loading of a file in their format."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ipsam.utils.untrusted import check_archive
from ipsam.utils.weights import key_difference, sha256_of

URL = "https://dl.fbaipublicfiles.com/segment_anything_2/092824"  # 2.1
URL_2_0 = "https://dl.fbaipublicfiles.com/segment_anything_2/072824"

logger = logging.getLogger(__name__)

DECODER = "sam_mask_decoder."
# Parts of a SAM2 checkpoint that a model may leave out: the video memory and SAM's own decoder. Files of 2.0 differ
# from those of 2.1 in such parts only: they lack ``obj_ptr_tpos_proj`` and ``no_obj_embed_spatial``.
OPTIONAL_PARTS = (
    DECODER,
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
        return f"{URL_2_0 if self.name.startswith('sam2_') else URL}/{self.name}"


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
        OfficialFile(
            "sam2_hiera_tiny.pt", "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125", 155_906_050
        ),
        OfficialFile(
            "sam2_hiera_small.pt", "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3", 184_309_650
        ),
        OfficialFile(
            "sam2_hiera_base_plus.pt", "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071", 323_493_298
        ),
        OfficialFile(
            "sam2_hiera_large.pt", "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b", 897_952_466
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


def load_sam2_decoder(path: Path, decoder: nn.Module) -> None:
    """Initialise a mask decoder from SAM2's own in a checkpoint, and log which of its parts were left out.

    Raises:
        ValueError: the decoder has tensors that the file lacks or holds in another shape.
    """
    state = _read_state_dict(path, mmap=True)  # the backbone has read and checked the whole file
    stored = {key: tensor for key, tensor in state.items() if key.startswith(DECODER)}
    wanted = decoder.state_dict(prefix=DECODER)
    if difference := key_difference(wanted, {key: tensor for key, tensor in stored.items() if key in wanted}):
        raise ValueError(f"the mask decoder in {path} does not fit the model's\n{difference}")
    decoder.load_state_dict({key.removeprefix(DECODER): stored[key] for key in wanted})
    left_out = sorted({key.removeprefix(DECODER).partition(".")[0] for key in stored.keys() - wanted.keys()})
    logger.info("decoder initialised from %s, without %s", path, ", ".join(left_out) or "leaving anything out")


def _read_state_dict(path: Path, *, mmap: bool = False) -> dict[str, Tensor]:
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # on arbitrary bytes the unpickler raises any exception, IndexError included
        first_line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"{path} is damaged or not a PyTorch checkpoint of plain tensors: {first_line}") from error
    state = content.get("model") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise ValueError(f'{path} is not in SAM2\'s checkpoint format: it must hold {{"model": state_dict}}')
    return state
