"""FeatAdd: P+ added to the image embedding."""

import torch
import torch.nn.functional as F
from support.builders import DIM, micro_model, randomise

from ipsam.model import FeatureAddition


def test_every_pixel_of_the_prompt_reaches_its_cell() -> None:
    module = FeatureAddition(DIM)
    randomise(module)
    features, logits = torch.randn(2, DIM, 4, 5), torch.randn(2, 1, 16, 20)
    cells = F.pixel_unshuffle(logits, 4)  # (2, 16, 4, 5)
    expected = torch.einsum("bphw,cp->bchw", cells, module.proj.weight.flatten(1)) + module.proj.bias[:, None, None]
    torch.testing.assert_close(module(features, logits), features + expected, rtol=1e-4, atol=1e-5)


def test_decoder_and_refinement_see_it_and_the_null_prompt() -> None:
    model = micro_model(gating=False, feature_addition=FeatureAddition(DIM)).eval()
    randomise(model.feature_addition)
    image = torch.randn(2, 3, 64, 64)
    decoder, refine = [], []
    model.decoder.register_forward_pre_hook(lambda _, args, kwargs: decoder.append((args, kwargs)), with_kwargs=True)
    model.refine.register_forward_pre_hook(lambda _, args: refine.append(args))
    output = model(image)
    [((features,), conditions)], [(_, dense, refined_features)] = decoder, refine
    *finer, embedding = model.backbone(image)
    null = model.backbone.null_prompts(2)[1]
    assert torch.equal(features, model.feature_addition(embedding, output.fg_logits))
    assert torch.equal(refined_features, model.lateral([*finer, features], output.coarse)[-1])
    assert not torch.equal(features, embedding)
    assert torch.equal(conditions["dense"], null)
    assert torch.equal(dense, null)
    prompts = model.self_prompt(embedding, model.backbone.position())  # of the embedding before the injection
    assert torch.equal(conditions["mask_tokens"], prompts.mask_tokens)
    assert conditions["sparse"].shape == (2, 4, DIM)
    assert output.gate is None
