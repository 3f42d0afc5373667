"""What a training step takes in memory, told without running it."""

import logging
from collections import defaultdict
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from ipsam.engine.runs.configuration import settings_of
from ipsam.engine.runs.settings import LossWeights, Settings
from ipsam.engine.train.losses import ipsam_loss
from ipsam.model import Segmenter
from ipsam.model.activation_checkpointing import encoder_blocks, recompute_blocks

GB = 1 << 30
OUTSIDE = -1  # of every block
MARGIN = 1.1  # for what the backward pass holds for a moment

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step on one device.

    Attributes:
        fixed: weights, and gradient and AdamW's two moments of what trains; of several processes, their buckets of
            gradients.
        outside: what the forward pass keeps for the backward pass outside of the encoder's blocks.
        blocks: what it keeps in each block.
        inputs: of each block, its input.
    """

    fixed: int
    outside: int
    blocks: list[int]
    inputs: list[int]

    def peak(self, num_recomputed: int) -> int:
        """With the first blocks recomputed: their inputs stay, and one at a time is there whole."""
        recomputed, rest = self.blocks[:num_recomputed], self.blocks[num_recomputed:]
        kept = self.outside + sum(rest) + sum(self.inputs[:num_recomputed])
        return self.fixed + int(MARGIN * (kept + max(recomputed, default=0)))

    def num_recomputed(self, budget: int) -> int | None:
        """The smallest number of recomputed blocks whose peak is within a budget of bytes; None if there is none."""
        return next((count for count in range(len(self.blocks) + 1) if self.peak(count) <= budget), None)


def save_memory(model: Segmenter, settings: Settings) -> None:
    """Have as many of the encoder's blocks computed again in the backward pass as the settings ask for, in place.

    Raises:
        ValueError: a step takes more than ``engine.memory_gb`` even so.
    """
    if settings.memory_gb is None:
        if settings.activation_checkpointing:
            recompute_blocks(model)
        return
    memory = step_memory(model, batch_size=settings.batch_size, device=settings.device, bf16=settings.bf16)
    num_blocks, count = len(memory.blocks), memory.num_recomputed(int(settings.memory_gb * GB))
    if count is None:
        raise ValueError(
            f"engine.memory_gb={settings.memory_gb} is too little: with all blocks computed again a step takes about "
            f"{memory.peak(num_blocks) / GB:.2f} GB; raise it, or lower engine.batch_size, or data.image_size"
        )
    logger.info("%d of %d blocks computed again: about %.2f GB a step", count, num_blocks, memory.peak(count) / GB)
    recompute_blocks(model, count)


def step_memory(model: Segmenter, *, batch_size: int, device: torch.device, bf16: bool) -> StepMemory:
    """Of one forward and backward pass and the optimiser's step; nothing is computed.

    Args:
        model: before ``recompute_blocks``; copied, as some of its modules keep what they have met.
        batch_size: images of the forward pass.
        device: where it is to train.
        bf16: whether under autocast in bf16.
    """
    model = deepcopy(model).train()
    trains = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    times = 3 if PartialState().num_processes == 1 else 4
    fixed = times * trains + sum(tensor.nbytes for tensor in model.state_dict().values())
    kept: dict[int, dict[int, Tensor]] = defaultdict(dict)  # by block and storage
    inputs: dict[int, int] = {}
    inside = [OUTSIDE]

    def keep(tensor: Tensor) -> Tensor:
        storage = id_of(tensor)
        if storage not in weights and not any(storage in others for others in kept.values()):
            kept[inside[0]][storage] = tensor
        return tensor

    def enter(index: int, given: tuple[Any, ...]) -> None:
        inside[0] = index
        inputs[index] = given[0].nbytes

    def leave() -> None:
        inside[0] = OUTSIDE

    for index, block in enumerate(encoder_blocks(model)):
        block.register_forward_pre_hook(lambda _, given, index=index: enter(index, given))
        block.register_forward_hook(lambda *_: leave())
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    side: Any = model.backbone.image_size
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    try:
        with fake:
            state = {name: _on(device, fake, tensor) for name, tensor in named}
            weights = {id_of(tensor) for tensor in state.values()}
            image = torch.empty(batch_size, 3, side, side, device=device)
            mask = torch.empty(batch_size, 1, side, side, device=device)
            with (
                torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
                torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16),
            ):
                loss_weights = settings_of(LossWeights, {}, "engine.loss")
                output = functional_call(model, state, (image,))
                total = ipsam_loss(output, mask, loss_weights)["total"]
            blocks = [_bytes(kept[index]) for index in sorted(inputs)]
            outside = _bytes(kept[OUTSIDE])
            del total, output
    except RuntimeError as error:  # its forward pass looks at values, of which there are none
        raise ValueError(
            f"engine.memory_gb: what a step of {type(model).__name__} takes can't be told ({error!s:.99}); choose by "
            "engine.activation_checkpointing"
        ) from error
    return StepMemory(fixed, outside, blocks, [inputs[index] for index in sorted(inputs)])


def id_of(tensor: Tensor) -> int:
    """Of the memory that a tensor lies in."""
    address: int = tensor.untyped_storage()._cdata
    return address


def _on(device: torch.device, fake: FakeTensorMode, tensor: Tensor) -> Tensor:
    moved = torch.empty_like(fake.from_tensor(tensor), device=device)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def _bytes(kept: dict[int, Tensor]) -> int:
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
