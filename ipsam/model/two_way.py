"""SAM's two-way transformer: tokens and image attend to each other. Names and results are those of sam2's module."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with ReLU between them.

    Args:
        in_dim, hidden_dim, out_dim: widths.
        num_layers: number of linear layers.
    """

    def __init__(self, in_dim: int, hidden_dim: int, out_dim: int, num_layers: int) -> None:
        super().__init__()
        widths = [in_dim, *[hidden_dim] * (num_layers - 1), out_dim]
        self.layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))

    def forward(self, features: Float[Tensor, "... c"]) -> Float[Tensor, "... d"]:
        """Apply the layers to the last dimension."""
        *hidden, last = self.layers
        for layer in hidden:
            features = F.relu(layer(features))
        projected: Tensor = last(features)
        return projected


class Attention(nn.Module):
    """Multi-head attention at a fraction of the width.

    Args:
        dim: width of queries, keys and values.
        num_heads: number of heads.
        downsample: the width inside is dim / downsample.
    """

    def __init__(self, dim: int, num_heads: int, *, downsample: int = 1) -> None:
        super().__init__()
        self.num_heads = num_heads
        inside = dim // downsample
        assert inside % num_heads == 0, "num_heads must divide the width"
        self.q_proj = nn.Linear(dim, inside)
        self.k_proj = nn.Linear(dim, inside)
        self.v_proj = nn.Linear(dim, inside)
        self.out_proj = nn.Linear(inside, dim)

    def forward(
        self, q: Float[Tensor, "b n c"], k: Float[Tensor, "b m c"], v: Float[Tensor, "b m c"]
    ) -> Float[Tensor, "b n c"]:
        """Attend from n queries to m keys."""
        attended = F.scaled_dot_product_attention(
            self._heads(self.q_proj(q)), self._heads(self.k_proj(k)), self._heads(self.v_proj(v))
        ).transpose(1, 2)
        b, n, heads, c = attended.shape
        output: Tensor = self.out_proj(attended.reshape(b, n, heads * c))
        return output

    def _heads(self, tokens: Tensor) -> Tensor:
        b, n, c = tokens.shape
        return tokens.reshape(b, n, self.num_heads, c // self.num_heads).transpose(1, 2)


class TwoWayAttentionBlock(nn.Module):
    """Self-attention of tokens, attention from tokens to image, MLP on tokens, attention from image to tokens."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, *, is_first: bool) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, num_heads, downsample=2)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp_dim, dim, 2)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, num_heads, downsample=2)
        self.is_first = is_first

    def forward(
        self,
        tokens: Float[Tensor, "b n c"],
        image: Float[Tensor, "b hw c"],
        token_position: Float[Tensor, "b n c"],
        image_position: Float[Tensor, "b hw c"],
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b hw c"]]:
        """Update tokens and image; positions are added to queries and keys."""
        if self.is_first:  # its tokens are their own positions
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            query = tokens + token_position
            tokens = tokens + self.self_attn(query, query, tokens)
        tokens = self.norm1(tokens)
        query, key = tokens + token_position, image + image_position
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(query, key, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        # Again, so that gradients are summed as in sam2.
        query, key = tokens + token_position, image + image_position
        image = self.norm4(image + self.cross_attn_image_to_token(key, query, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Blocks of two-way attention, and a last attention from tokens to image.

    Args:
        depth: number of blocks.
        embedding_dim, num_heads, mlp_dim: of each block.
    """

    def __init__(self, depth: int, embedding_dim: int, num_heads: int, mlp_dim: int) -> None:
        super().__init__()
        self.depth, self.embedding_dim, self.num_heads, self.mlp_dim = depth, embedding_dim, num_heads, mlp_dim
        self.layers = nn.ModuleList(
            TwoWayAttentionBlock(embedding_dim, num_heads, mlp_dim, is_first=index == 0) for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(embedding_dim, num_heads, downsample=2)
        self.norm_final_attn = nn.LayerNorm(embedding_dim)

    def forward(
        self, features: Float[Tensor, "b c h w"], position: Float[Tensor, "b c h w"], queries: Float[Tensor, "b n c"]
    ) -> tuple[Float[Tensor, "b n c"], Float[Tensor, "b h*w c"]]:
        """Attend tokens and image features to each other; return both as tokens."""
        image = features.flatten(2).permute(0, 2, 1)
        image_position = position.flatten(2).permute(0, 2, 1)
        tokens = queries
        for block in self.layers:
            tokens, image = block(tokens, image, queries, image_position)
        attended = self.final_attn_token_to_image(tokens + queries, image + image_position, image)
        return self.norm_final_attn(tokens + attended), image
