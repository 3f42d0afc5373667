"""Prompt-Space Gating (PSG): the background prompt suppresses false positives (paper section 3.3)."""

from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ipsam.model.fusion import Fusion
from ipsam.model.layers import PaddingMode, check_choice, conv3x3, conv3x3_block, logit_head, zero_init

CONTEXTS = ("positive", "negative")
PADDING_MODES = get_args(PaddingMode)


class PromptSpaceGating(Fusion):
    """Asymmetric gate in prompt space (equation 2), with a residual anchored to the unsuppressed prompt (section 3.3).

    g = sigmoid(predictor(E-)); purified = E+ * (1 - g); result = E+ + out(fuse([purified, context])). The last
    projection starts at zero, so an untrained gate returns E+ unchanged.

    The formula of what is concatenated is lost in the paper's text (section 3.3). The context E+ follows its words: the
    negative branch forms the gate "exclusively". The text does not name the convolutions' padding either. Each choice
    has the same number of parameters.

    Args:
        dim: embedding width c.
        hidden: width inside the gate predictor.
        context: what the fusion block reads beside the purified prompt: E+ (``positive``) or E- (``negative``).
        padding_mode: padding of the 3x3 convolutions, ``zeros`` or ``replicate``.

    Raises:
        ValueError: ``context`` or ``padding_mode`` has another value.
    """

    def __init__(
        self, dim: int = 256, *, hidden: int = 64, context: str = "positive", padding_mode: str = "zeros"
    ) -> None:
        super().__init__()
        check_choice("context", context, CONTEXTS)
        check_choice("padding_mode", padding_mode, PADDING_MODES)
        self.context = context
        mode: PaddingMode = "replicate" if padding_mode == "replicate" else "zeros"
        self.predictor = logit_head(dim, hidden, mode)
        self.fuse = nn.Sequential(conv3x3_block(2 * dim, dim, mode), conv3x3(dim, dim, mode))
        self.out = zero_init(nn.Conv2d(dim, dim, kernel_size=1))

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"]]:
        """Combine E+ and E-, (b, c, h, w) each, to a dense prompt (b, c, h, w); return the gate (b, 1, h, w) with it.

        The gate lies in (0, 1). Where it is 1 the foreground prompt is suppressed.
        """
        _, correction, gate = self.suppress(fg_dense, bg_dense)
        return fg_dense + correction, gate

    def suppress(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"]]:
        """Compute the purified prompt and its correction, (b, c, h, w) each, and the gate (b, 1, h, w)."""
        gate = self.predictor(bg_dense).sigmoid()
        purified = fg_dense * (1 - gate)
        context = fg_dense if self.context == "positive" else bg_dense
        return purified, self.out(self.fuse(torch.cat([purified, context], dim=1))), gate


class PurifiedAnchorGating(PromptSpaceGating):
    """PSG with its residual anchored to the purified prompt (Table 3, part II, "Anchor to purified E+").

    The result is purified + out(fuse([purified, context])). Untrained, it is the purified prompt, not E+.
    """

    def forward(
        self, fg_dense: Float[Tensor, "b c h w"], bg_dense: Float[Tensor, "b c h w"]
    ) -> tuple[Float[Tensor, "b c h w"], Float[Tensor, "b 1 h w"]]:
        """Combine E+ and E-, (b, c, h, w) each, to a dense prompt; return the gate (b, 1, h, w) in (0, 1) with it."""
        purified, correction, gate = self.suppress(fg_dense, bg_dense)
        return purified + correction, gate
