"""Training step on fake tensors, which have shapes but no values: nothing is computed, and no memory is needed."""

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from ipsam.engine.runs.configuration import settings_of
from ipsam.engine.runs.settings import LossWeights
from ipsam.engine.train.losses import ipsam_loss
from ipsam.model import Segmenter

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copy_without_weights(model: ModuleT) -> ModuleT:
    """Copy a model's modules, not its parameters and buffers, which both then share."""
    return deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})


def fake_step(
    model: Segmenter,
    *,
    batch_size: int,
    device: torch.device,
    bf16: bool,
    counter: FlopCounterMode | None = None,
    on_save: Callable[[Tensor], None] = lambda _: None,
) -> None:
    """Run the forward pass and loss of a training step on fake tensors.

    Args:
        model: a ``copy_without_weights``, because some modules cache tensors.
        batch_size: images in the forward pass.
        device: device of the fake tensors, which this machine need not have.
        bf16: whether it trains under bf16 autocast.
        counter: counts the operations. With it the backward pass runs too.
        on_save: called with each tensor that is saved for the backward pass, but for parameters and buffers.

    Raises:
        ValueError: the forward pass depends on values, which fake tensors lack.
    """
    step = _Step(model)
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    side: Any = model.backbone.image_size
    named = [*step.named_parameters(remove_duplicate=False), *step.named_buffers(remove_duplicate=False)]

    def save(tensor: Tensor) -> Tensor:
        if storage_id(tensor) not in weights:
            on_save(tensor)
        return tensor

    try:
        with fake:
            state = {name: _fake_on(device, fake, tensor) for name, tensor in named}
            weights = {storage_id(tensor) for tensor in state.values()}
            image = torch.empty(batch_size, 3, side, side, device=device)
            mask = torch.empty(batch_size, 1, side, side, device=device)
            with counter or nullcontext(), torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
                functional_call(step, state, (image, mask), {"bf16": bf16, "backward": counter is not None})
    except RuntimeError as error:
        raise ValueError(f"cannot estimate a step of {type(model).__name__} ({error!s:.99})") from error


def storage_id(tensor: Tensor) -> int:
    """Return a number that identifies a tensor's storage while it lives."""
    address: int = tensor.untyped_storage()._cdata
    return address


class _Step(nn.Module):
    """Whole step as a module, so that the backward pass recomputes blocks with the fake weights too."""

    def __init__(self, model: Segmenter) -> None:
        super().__init__()
        self.model = model.train()

    def forward(self, image: Tensor, mask: Tensor, *, bf16: bool, backward: bool) -> None:
        with torch.autocast(image.device.type, dtype=torch.bfloat16, enabled=bf16):
            output = self.model(image)
            total = ipsam_loss(output, mask, settings_of(LossWeights, {}, "engine.loss"))["total"]
        if backward:
            torch.autograd.backward(total)


def _fake_on(device: torch.device, fake: FakeTensorMode, tensor: Tensor) -> Tensor:
    moved = torch.empty_like(fake.from_tensor(tensor), device=device)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved
