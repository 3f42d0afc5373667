"""Minimal-SPG: Table 3, part I."""

import torch
from support.builders import DIM, TRANSFORMER, micro_backbone, micro_parts

from ipsam.model import IPSAM, MaskDecoder, MinimalSelfPromptGenerator


def minimal_model() -> IPSAM:
    parts = micro_parts(
        self_prompt=MinimalSelfPromptGenerator(DIM, hidden=16),
        decoder=MaskDecoder(DIM, own_mask_tokens=True, **TRANSFORMER),
    )
    return IPSAM(micro_backbone(), **parts)


def test_dense_prompts_and_no_tokens() -> None:
    spg = MinimalSelfPromptGenerator(DIM, hidden=16)
    prompts = spg(torch.randn(2, DIM, 4, 5), torch.randn(1, DIM, 4, 5))
    assert prompts.fg_logits.shape == prompts.bg_logits.shape == (2, 1, 16, 20)
    assert prompts.fg_tokens.shape == prompts.bg_tokens.shape == (2, 0, DIM)
    assert prompts.mask_tokens is None
    assert not torch.equal(prompts.fg_logits, prompts.bg_logits)  # each branch has weights of its own


def test_a_branch_is_three_convolutions_and_one_to_a_logit() -> None:
    branch = MinimalSelfPromptGenerator(DIM, hidden=16).positive
    convolutions = [module for module in branch.modules() if isinstance(module, torch.nn.Conv2d)]
    shapes = [tuple(module.weight.shape) for module in convolutions]
    assert shapes == [(16, DIM, 3, 3), (16, 16, 3, 3), (16, 16, 3, 3), (1, 16, 1, 1)]


def test_the_decoder_gets_its_dense_prompt_alone() -> None:
    model = minimal_model().eval()
    calls = []
    model.decoder.register_forward_pre_hook(lambda _, args, kwargs: calls.append(kwargs), with_kwargs=True)
    output = model(torch.randn(2, 3, 64, 64))
    [conditions] = calls
    assert conditions["sparse"].shape == (2, 0, DIM)
    assert conditions["mask_tokens"] is None
    assert torch.equal(conditions["dense"], model.backbone.encode_dense(output.fg_logits))  # as PSG starts
    assert output.logits.shape == (2, 1, 16, 16)
