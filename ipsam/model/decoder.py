"""The task-specific mask decoder: SAM's design, trained from scratch (paper section 3.4, equation 3)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.layers import LayerNorm2d
from ipsam.model.two_way import MLP, TwoWayTransformer


class MaskDecoder(nn.Module):
    """SAM's mask decoder without the IoU head, and by default without SAM2's high-resolution skips.

    Parameter names and the order of operations are those of sam2's ``MaskDecoder``, so their weights can be compared.
    The printed T-Param leave no room for the skips (24,672 parameters), which the paper does not mention.

    Args:
        dim: embedding width c.
        num_mask_tokens: number of masks, one for each token.
        own_mask_tokens: learn mask tokens here, and withhold SPG's propagated tokens T if it makes any.
        depth, num_heads, mlp_dim: of the two-way transformer.
        high_res_features: add 1x1 convolutions of the pyramid's two finer levels while upscaling, as SAM2 does.
    """

    def __init__(
        self,
        dim: int = 256,
        *,
        num_mask_tokens: int = 4,
        own_mask_tokens: bool = False,
        depth: int = 2,
        num_heads: int = 8,
        mlp_dim: int = 2048,
        high_res_features: bool = False,
    ) -> None:
        super().__init__()
        self.dim = dim
        self.num_mask_tokens = num_mask_tokens
        self.transformer = TwoWayTransformer(depth=depth, embedding_dim=dim, num_heads=num_heads, mlp_dim=mlp_dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(num_mask_tokens, dim) if own_mask_tokens else None
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, dim // 8, 3) for _ in range(num_mask_tokens))
        self.high_res_features = high_res_features
        if high_res_features:
            self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
            self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)

    def forward(
        self,
        features: Float[Tensor, "b c h w"],
        *,
        position: Float[Tensor, "1 c h w"],
        dense: Float[Tensor, "b c h w"],
        sparse: Float[Tensor, "b n c"],
        mask_tokens: Float[Tensor, "b m c"] | None = None,
        finer: Sequence[Float[Tensor, "b c _ _"]] = (),
    ) -> Float[Tensor, "b m 4*h 4*w"]:
        """Predict mask logits (b, num_mask_tokens, 4h, 4w).

        Args:
            features: image embedding (b, c, h, w).
            position: its position encoding (1, c, h, w).
            dense: dense prompt embedding (b, c, h, w), added to the image embedding.
            sparse: sparse prompt embeddings (b, n, c); n may be 0.
            mask_tokens: SPG's output tokens T (b, num_mask_tokens, c); not used with ``own_mask_tokens``.
            finer: the pyramid's levels (b, c, 4h, 4w) and (b, c, 2h, 2w), for ``high_res_features``.
        """
        b = features.shape[0]
        if self.mask_tokens is not None:
            mask_tokens = self.mask_tokens.weight.expand(b, -1, -1)
        assert mask_tokens is not None, "the decoder needs its own mask tokens or SPG's"
        tokens = torch.cat([self.iou_token.weight.expand(b, -1, -1), mask_tokens, sparse], dim=1)  # (b, 1 + m + n, c)
        tokens, image = self.transformer(features + dense, position.expand(b, -1, -1, -1), tokens)
        upscaled = self.upscale(image.transpose(1, 2).reshape(features.shape), finer)  # (b, c/8, 4h, 4w)
        weights = torch.stack(
            [mlp(tokens[:, 1 + index]) for index, mlp in enumerate(self.output_hypernetworks_mlps)], dim=1
        )  # (b, m, c/8)
        return torch.einsum("bmc,bchw->bmhw", weights, upscaled)

    def upscale(
        self, image: Float[Tensor, "b c h w"], finer: Sequence[Float[Tensor, "b c _ _"]]
    ) -> Float[Tensor, "b c_up 4*h 4*w"]:
        """Upscale the attended image (b, c, h, w) to (b, c/8, 4h, 4w)."""
        if not self.high_res_features:
            upscaled: Tensor = self.output_upscaling(image)
            return upscaled
        first, norm, activate, second, activate_last = self.output_upscaling
        quarter, eighth = finer
        halfway = activate(norm(first(image) + self.conv_s1(eighth)))
        finest: Tensor = activate_last(second(halfway) + self.conv_s0(quarter))
        return finest
