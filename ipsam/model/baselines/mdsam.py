"""MDSAM: SAM's ViT with multi-scale adapters, fusion of its levels, and a detail branch (Gao et al., ACM MM 2024)."""

from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.baselines.mdsam_parts import DetailEnhancement, MultiLevelFusion, MultiScaleAdapter, conv_block
from ipsam.model.baselines.sam import SAM
from ipsam.model.layers import upsample
from ipsam.model.segmenter import IPSAMOutput, Segmenter

NUM_LEVELS = 4


class SingleMaskDecoder(nn.Module):
    """SAM's mask decoder without prompts, with one new mask token and its hypernetwork.

    Args:
        decoder: transformers' ``SamMaskDecoder``; its transformer, IoU token and upscaling are reused.
        static_filter: the hypernetwork reads the token before the transformer, so that its filter is the same for all
            images; otherwise after, as in SAM.
    """

    def __init__(self, decoder: Any, *, static_filter: bool = False) -> None:
        super().__init__()
        self.static_filter = static_filter
        dim = decoder.hidden_size
        self.iou_token, self.transformer = decoder.iou_token, decoder.transformer
        self.mask_token = nn.Embedding(1, dim)
        self.upscaling = nn.Sequential(
            decoder.upscale_conv1, decoder.upscale_layer_norm, nn.GELU(), decoder.upscale_conv2, nn.GELU()
        )
        self.hypernetwork = nn.Sequential(
            nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim // 8)
        )

    def forward(
        self, embedding: Float[Tensor, "b c h w"], position: Float[Tensor, "1 c h w"]
    ) -> tuple[Float[Tensor, "b 1 4*h 4*w"], Float[Tensor, "b c_up 4*h 4*w"]]:
        """Predict mask logits (b, 1, 4h, 4w); return the upscaled features (b, c/8, 4h, 4w) with them."""
        tokens = torch.cat([self.iou_token.weight, self.mask_token.weight])[None, None]  # (1, 1, 2, c)
        before = tokens.expand(embedding.shape[0], -1, -1, -1)
        after, image = self.transformer(
            point_embeddings=before,
            image_embeddings=embedding,
            image_positional_embeddings=position.expand(embedding.shape[0], -1, -1, -1),
            attention_similarity=None,
        )  # (b, 1, 2, c), (b, 1, hw, c)
        features = self.upscaling(image[:, 0].transpose(1, 2).reshape(embedding.shape))
        weights = self.hypernetwork((before if self.static_filter else after)[:, 0, 1])  # (b, c/8)
        return torch.einsum("bc,bchw->bhw", weights, features)[:, None], features


class MDSAM(Segmenter):
    """Frozen ViT with an adapter before each block, four levels with a neck each, and a trained decoder.

    Args:
        backbone: frozen SAM. Its levels are the outputs of four evenly spaced blocks, each through a copy of its neck.
        image_dim: channels of the detail branch.
        static_filter: make the mask's filter from the mask token before the transformer, as in the authors' released
            code; the paper's text, like SAM, takes it after.
        own_gates: weight each level by a gate from the level itself, as in the released code, where the fused features
            are unused; in the paper's text, each gate reads the fused features.

    Raises:
        ValueError: the backbone has trainable parameters, or its own scaling of the input.
    """

    def __init__(
        self, backbone: SAM, *, image_dim: int = 32, static_filter: bool = False, own_gates: bool = False
    ) -> None:
        super().__init__()
        if any(parameter.requires_grad for parameter in backbone.parameters()):
            raise ValueError(
                "MDSAM needs a frozen backbone: set train_encoder=False, train_decoder=False and adapter=None"
            )
        if backbone.min_max:
            raise ValueError("MDSAM reads images normalised by ImageNet's mean: set min_max=False")
        self.backbone: SAM = backbone
        encoder, decoder = backbone.model.vision_encoder, backbone.model.mask_decoder
        width, dim, depth = encoder.config.hidden_size, decoder.hidden_size, len(encoder.layers)
        self.ends = {depth * (level + 1) // NUM_LEVELS - 1 for level in range(NUM_LEVELS)}
        self.adapters = nn.ModuleList(MultiScaleAdapter(width, hidden=width // 3) for _ in range(depth))
        self.necks = nn.ModuleList(deepcopy(encoder.neck) for _ in range(NUM_LEVELS))
        self.decoder = SingleMaskDecoder(decoder, static_filter=static_filter)
        self.necks.requires_grad_()
        self.decoder.requires_grad_()
        if static_filter:  # the transformer's last step only changes the tokens
            self.decoder.transformer.final_attn_token_to_image.requires_grad_(False)
            self.decoder.transformer.layer_norm_final_attn.requires_grad_(False)
        del encoder.neck, backbone.model.mask_decoder, backbone.model.prompt_encoder  # unused
        self.fusion = MultiLevelFusion(dim, num_levels=NUM_LEVELS, own_gates=own_gates)
        self.deep = nn.Sequential(
            upsample(2),
            conv_block(dim, dim // 4, 3, nn.ReLU),
            upsample(2),
            conv_block(dim // 4, dim // 8, 3, nn.ReLU),
        )
        self.detail = DetailEnhancement(dim // 8, image_dim=image_dim)

    def forward(self, image: Float[Tensor, "b 3 H W"]) -> IPSAMOutput:
        """Return the decoder's mask (b, 1, H/4, W/4) as coarse and the detail branch's (b, 1, H, W) as refined."""
        levels = self.levels(image)
        position = self.backbone.model.get_image_wide_positional_embeddings()
        coarse, features = self.decoder(self.fusion(levels), position)
        refined = self.detail(image, features, self.deep(levels[-1]))
        return IPSAMOutput(coarse, coarse, refined)

    def levels(self, image: Float[Tensor, "b 3 H W"]) -> list[Float[Tensor, "b c h w"]]:
        """Encode an image to four levels (b, c, H/16, W/16), shallow to deep."""
        encoder = self.backbone.model.vision_encoder
        x = encoder.patch_embed(image) + encoder.pos_embed  # (b, h, w, width)
        ends = []
        for index, (layer, adapter) in enumerate(zip(encoder.layers, self.adapters, strict=True)):
            x = layer(adapter(x))
            if index in self.ends:
                ends.append(x)
        return [neck(end) for neck, end in zip(self.necks, ends, strict=True)]
