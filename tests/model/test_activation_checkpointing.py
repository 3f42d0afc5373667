"""Activation checkpointing changes no gradient."""

from copy import deepcopy

import pytest
import torch
from support.builders import micro_model
from support.defaults import loss_weights_with
from torch import Tensor

from ipsam.engine.train.losses import ipsam_loss
from ipsam.model import IPSAM, LoRA
from ipsam.model.activation_checkpointing import encoder_blocks, recompute_blocks


def gradients(model: IPSAM, *, bf16: bool = False) -> tuple[float, dict[str, Tensor], int]:
    """Loss, gradients, and bytes that the forward pass keeps for the backward pass."""
    torch.manual_seed(0)
    image, mask = torch.randn(2, 3, 64, 64), torch.randint(2, (2, 1, 64, 64)).float()
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
    ):
        loss = ipsam_loss(model.train()(image), mask, loss_weights_with())["total"]
    num_bytes = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    loss.backward()
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    return loss.item(), found, num_bytes


@pytest.mark.parametrize("num_blocks", [None, 2])
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("lora", [None, LoRA(rank=4), LoRA(rank=4, dropout=0.5)], ids=["fine-tuned", "lora", "dropout"])
def test_gradients_are_equal_to_the_bit(lora: LoRA | None, bf16: bool, num_blocks: int | None) -> None:
    plain = micro_model(lora=lora)
    model = deepcopy(plain)
    recompute_blocks(model, num_blocks)
    loss, expected, most = gradients(plain, bf16=bf16)
    again, found, less = gradients(model, bf16=bf16)
    assert again == loss
    assert found.keys() == expected.keys()
    assert any("image_encoder" in name for name in found)
    assert all(torch.equal(found[name], gradient) for name, gradient in expected.items())
    assert less < 0.9 * most


def test_copy_computes_with_its_own_weights() -> None:
    model = micro_model(lora=LoRA(rank=4))
    recompute_blocks(model)
    copy = deepcopy(model)
    image = torch.randn(1, 3, 64, 64)
    before = model(image).logits
    with torch.no_grad():
        for block in encoder_blocks(copy):
            for parameter in block.parameters():
                parameter.zero_()
    assert torch.equal(model(image).logits, before)
    assert not torch.allclose(copy(image).logits, before)
    assert copy.state_dict().keys() == micro_model(lora=LoRA(rank=4)).state_dict().keys()
    with torch.inference_mode():  # where nothing is recomputed
        torch.testing.assert_close(model.eval()(image).logits, before)
