"""The task-specific mask decoder is SAM's: on null prompts it computes what sam2's own modules compute."""

from functools import partial

import pytest
import torch
from sam2.modeling.sam.mask_decoder import MaskDecoder as SAM2MaskDecoder
from sam2.modeling.sam.prompt_encoder import PromptEncoder
from sam2.modeling.sam.transformer import TwoWayTransformer
from support.builders import micro_model

from ipsam.model import IPSAM, MaskDecoder, SAM2Backbone


def micro() -> IPSAM:
    return micro_model(self_prompt=False, lateral=False, refine=False)


def full_width(*, high_res_features: bool = False) -> IPSAM:
    decoder = MaskDecoder(own_mask_tokens=True, high_res_features=high_res_features)
    return IPSAM(SAM2Backbone("tiny", image_size=64), decoder=decoder)


@pytest.mark.parametrize(
    "build", [micro, full_width, partial(full_width, high_res_features=True)], ids=["micro", "dim256", "high_res"]
)
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
        use_high_res_features=ours.decoder.high_res_features,
    ).eval()
    missing, unexpected = decoder.load_state_dict(ours.decoder.state_dict(), strict=False)
    assert {key.split(".")[0] for key in missing} == {"iou_prediction_head"}
    assert not unexpected

    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        *finer, features = ours.backbone(image)
        high_res = None
        if ours.decoder.high_res_features:
            high_res = [decoder.conv_s0(finer[0]), decoder.conv_s1(finer[1])]  # as sam2's forward_image does
        sparse, dense = prompt_encoder(points=None, boxes=None, masks=torch.zeros(2, 1, 16, 16))
        expected, *_ = decoder.predict_masks(
            image_embeddings=features,
            image_pe=prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            repeat_image=False,
            high_res_features=high_res,
        )
        mask_logits = ours(image).mask_logits
    assert sparse.shape == (2, 0, dim)
    assert expected.std() > 1e-3  # not trivially equal
    torch.testing.assert_close(mask_logits, expected, rtol=1e-5, atol=1e-5)
