"""Self-Prompt Generator (equation 1)."""

import pytest
import torch
from support.builders import DIM, TRANSFORMER, micro_backbone, micro_parts

from ipsam.model import IPSAM, MaskDecoder, MinimalSelfPromptGenerator, SelfPromptGenerator


def generator(**overrides: object) -> SelfPromptGenerator:
    return SelfPromptGenerator(DIM, **{"head_channels": (32, 32, 16, 16), **TRANSFORMER, **overrides})


@pytest.mark.parametrize(("num_sparse", "num_mask_tokens"), [(2, 4), (1, 3), (4, 1)])
def test_shapes_follow_the_numbers_of_tokens(num_sparse: int, num_mask_tokens: int) -> None:
    prompts = generator(num_sparse=num_sparse, num_mask_tokens=num_mask_tokens)(
        torch.randn(2, DIM, 4, 5), torch.randn(1, DIM, 4, 5)
    )
    assert prompts.fg_logits.shape == prompts.bg_logits.shape == (2, 1, 16, 20)
    assert prompts.fg_tokens.shape == prompts.bg_tokens.shape == (2, num_sparse, DIM)
    assert prompts.mask_tokens.shape == (2, num_mask_tokens, DIM)


def test_branches_share_nothing() -> None:
    spg = generator()
    features, position = torch.randn(1, DIM, 4, 4), torch.randn(1, DIM, 4, 4)
    before = spg(features, position)
    torch.nn.init.zeros_(spg.negative.queries)
    after = spg(features, position)
    assert torch.equal(before.fg_logits, after.fg_logits)
    assert torch.equal(before.mask_tokens, after.mask_tokens)
    assert not torch.allclose(before.bg_tokens, after.bg_tokens)
    assert not torch.allclose(before.bg_logits, after.bg_logits)


def test_sparse_and_mask_tokens_are_projections_of_the_attended_queries() -> None:
    branch = generator().positive
    features, position = torch.randn(1, DIM, 4, 4), torch.randn(1, DIM, 4, 4)
    tokens, image = branch.transformer(features, position, branch.queries[None])
    dense, sparse, mask_tokens = branch(features, position)
    assert torch.equal(sparse, branch.sparse_proj(tokens[:, :2]))
    assert torch.equal(mask_tokens, branch.mask_token_proj(tokens[:, 2:]))
    assert torch.equal(dense, branch.dense_head(image.transpose(1, 2).reshape(1, DIM, 4, 4)))


def test_decoder_gets_the_minimal_generators_dense_prompt_alone() -> None:
    """Minimal-SPG: Table 3, part I."""
    parts = micro_parts(
        self_prompt=MinimalSelfPromptGenerator(DIM, hidden=16),
        decoder=MaskDecoder(DIM, own_mask_tokens=True, **TRANSFORMER),
    )
    model = IPSAM(micro_backbone(), **parts).eval()
    calls = []
    model.decoder.register_forward_pre_hook(lambda _, args, kwargs: calls.append(kwargs), with_kwargs=True)
    output = model(torch.randn(2, 3, 64, 64))
    [conditions] = calls
    assert conditions["sparse"].shape == (2, 0, DIM)
    assert conditions["mask_tokens"] is None
    assert torch.equal(conditions["dense"], model.backbone.encode_dense(output.fg_logits))  # as PSG starts
    assert not torch.equal(output.fg_logits, output.bg_logits)  # each branch has weights of its own
    assert output.logits.shape == output.bg_logits.shape == (2, 1, 16, 16)
