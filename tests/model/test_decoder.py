"""The task-specific mask decoder is SAM's: on null prompts it computes what sam2's own modules compute."""

import pytest
import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder as SAM2MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from support.builders import DIM, TRANSFORMER, micro_model

from ipsam.model import IPSAM, MaskDecoder, SAM2Backbone


def micro() -> IPSAM:
    return micro_model(self_prompt=False, lateral=False, refine=False)


def full_width() -> IPSAM:
    return IPSAM(SAM2Backbone("tiny", image_size=64), decoder=MaskDecoder(own_mask_tokens=True))


@pytest.mark.parametrize("build", [micro, full_width], ids=["micro", "dim256"])
def test_null_prompt_baseline_equals_sam2(build) -> None:
    ours = build().eval()
    dim, transformer = ours.backbone.dim, ours.decoder.transformer
    prompt_encoder = PromptEncoder(dim, image_embedding_size=(4, 4), input_image_size=(64, 64), mask_in_chans=16).eval()
    prompt_encoder.load_state_dict(ours.backbone.prompt_encoder.state_dict())
    decoder = SAM2MaskDecoder(
        transformer_dim=dim,
        transformer=TwoWayTransformer(
            depth=transformer.depth,
            embedding_dim=dim,
            num_heads=transformer.num_heads,
            mlp_dim=transformer.mlp_dim,
        ),
        iou_head_hidden_dim=dim,
        use_high_res_features=False,
    ).eval()
    missing, unexpected = decoder.load_state_dict(ours.decoder.state_dict(), strict=False)
    assert {key.split(".")[0] for key in missing} == {"iou_prediction_head"}
    assert not unexpected

    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        sparse, dense = prompt_encoder(points=None, boxes=None, masks=torch.zeros(2, 1, 16, 16))
        expected, *_ = decoder.predict_masks(
            image_embeddings=ours.backbone(image)[-1],
            image_pe=prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
        )
        mask_logits = ours(image).mask_logits
    assert sparse.shape == (2, 0, dim)
    assert expected.std() > 1e-3  # not trivially equal
    torch.testing.assert_close(mask_logits, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("num_mask_tokens", [1, 4])
@pytest.mark.parametrize("num_sparse", [0, 3])
def test_one_mask_a_token(num_mask_tokens: int, num_sparse: int) -> None:
    decoder = MaskDecoder(DIM, num_mask_tokens=num_mask_tokens, own_mask_tokens=True, **TRANSFORMER)
    features = torch.randn(2, DIM, 4, 5)
    mask_logits = decoder(
        features, position=features[:1], dense=torch.zeros_like(features), sparse=torch.randn(2, num_sparse, DIM)
    )
    assert mask_logits.shape == (2, num_mask_tokens, 16, 20)


def test_each_mask_has_its_own_token_and_hypernetwork() -> None:
    decoder = MaskDecoder(DIM, **TRANSFORMER)
    features = torch.randn(1, DIM, 4, 4)

    def decode() -> torch.Tensor:
        return decoder(features, position=features, dense=features, sparse=features[:, :, 0, :2].mT, mask_tokens=tokens)

    tokens = torch.randn(1, 4, DIM)
    before = decode()
    torch.nn.init.zeros_(decoder.output_hypernetworks_mlps[2].layers[2].weight)
    torch.nn.init.zeros_(decoder.output_hypernetworks_mlps[2].layers[2].bias)
    after = decode()
    assert after[:, 2].abs().max() == 0
    assert torch.equal(after[:, [0, 1, 3]], before[:, [0, 1, 3]])
