"""Self-Prompt Generator (equation 1)."""

import pytest
import torch
from support.builders import DIM, TRANSFORMER

from ipsam.model import SelfPromptGenerator


def generator(**overrides: object) -> SelfPromptGenerator:
    return SelfPromptGenerator(DIM, **{"head_channels": (32, 32, 16, 16), **TRANSFORMER, **overrides})


@pytest.mark.parametrize(("num_sparse", "num_mask_tokens"), [(2, 4), (1, 3), (3, 1)])
def test_shapes_follow_the_numbers_of_tokens(num_sparse: int, num_mask_tokens: int) -> None:
    prompts = generator(num_sparse=num_sparse, num_mask_tokens=num_mask_tokens)(
        torch.randn(2, DIM, 4, 5), torch.randn(1, DIM, 4, 5)
    )
    assert prompts.fg_logits.shape == prompts.bg_logits.shape == (2, 1, 16, 20)
    assert prompts.fg_tokens.shape == prompts.bg_tokens.shape == (2, num_sparse, DIM)
    assert prompts.mask_tokens.shape == (2, num_mask_tokens, DIM)


def test_positive_branch_alone_makes_mask_tokens() -> None:
    spg = generator()
    assert spg.positive.queries.shape == (6, DIM)
    assert spg.negative.queries.shape == (2, DIM)
    assert spg.negative.mask_token_proj is None


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
