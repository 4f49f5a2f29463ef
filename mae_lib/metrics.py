"""How good a reconstruction or a representation is.

Images are float tensors (B, C, H, W) with values in [0, 1]; `mask_img` is (B, 1, H, W) with
1 = masked. Image metrics return one number per image, (B,), so that intervals can be computed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mae_lib import losses
from mae_lib.runtime.checks import check_shape, check_value


def composite(pred_img: Tensor, tgt_img: Tensor, mask_img: Tensor) -> Tensor:
    """The prediction where masked, the true pixels where visible: (B, C, H, W)."""
    return torch.where(mask_img > 0, pred_img, tgt_img)


def masked_psnr(pred_img: Tensor, tgt_img: Tensor, mask_img: Tensor) -> Tensor:
    """Peak signal-to-noise ratio on masked pixels, in dB, (B,): −10·log₁₀ of the squared error.

    Predictions are clipped to [0, 1], as any screen does. 100 dB is the highest value: of equal
    images, or where no pixel is masked.

    Raises ValueError if the shapes do not fit.
    """
    losses.check_image_pair(pred_img, tgt_img, mask_img)
    error = (pred_img.clamp(0, 1) - tgt_img).square().mean(dim=1, keepdim=True) * mask_img
    mse = error.sum(dim=(1, 2, 3)) / mask_img.sum(dim=(1, 2, 3)).clamp(min=1)
    return -10 * mse.clamp(min=1e-10).log10()


def masked_hf_error(pred_img: Tensor, tgt_img: Tensor, mask_img: Tensor) -> Tensor:
    """High-frequency error, (B,): mean L1 distance of the Laplacians on masked pixels.

    Measured on the composite, so that seams at mask boundaries count; see
    `losses.laplacian_loss_masked`. It can reward smoothness: compare it with trivial references.
    """
    losses.check_image_pair(pred_img, tgt_img, mask_img)
    difference = composite(pred_img.clamp(0, 1), tgt_img, mask_img) - tgt_img
    error, count = losses.laplacian_error_per_image(difference, mask_img)
    return error / count.clamp(min=1)


def effective_rank(features: Tensor) -> float:
    """How many directions features (N, D) really use: exp of the entropy of the singular values.

    Singular values of the centred features, scaled to sum to 1 (Roy & Vetterli 2007, definition 1).
    Between 1, a line, and min(N − 1, D), a sphere; 0 when all rows are equal.

    Raises ValueError for another shape or fewer than two rows.
    """
    check_shape(features, "features", *"ND")
    check_value("N of the features (N, D)", len(features), int, at_least=2)
    x = features.double()
    singular = torch.linalg.svdvals(x - x.mean(dim=0))
    if singular[0] <= 1e-12 * float(x.norm()):
        return 0.0
    p = singular / singular.sum()
    return float(torch.special.entr(p).sum().exp())


def trivial_reconstructions(tgt_img: Tensor, mask_img: Tensor) -> dict[str, Tensor]:
    """Fills without a network, (B, C, H, W) by name: references that a reconstruction must beat.

    "masked mean": the mean colour of the visible pixels. "bilinear fill": visible pixels spread
    into the holes from coarser and coarser averages, joined smoothly. "blurred target": the target
    itself after a Gaussian blur of σ = 2 pixels, a cheat that shows what smoothness alone earns.
    """
    visible = 1 - mask_img
    count = visible.sum(dim=(2, 3), keepdim=True).clamp(min=1)
    mean = (tgt_img * visible).sum(dim=(2, 3), keepdim=True) / count
    known = tgt_img * visible, visible
    if tgt_img.device.type == "mps":  # where adaptive pooling cannot take 7 pixels to 3
        known = [x.cpu() for x in known]
    return {"masked mean": mean.expand_as(tgt_img),
            "bilinear fill": _pull_push(*known).to(tgt_img.device),
            "blurred target": losses.gaussian_blur(tgt_img, sigma=2.0)}


def _pull_push(weighted: Tensor, weight: Tensor) -> Tensor:
    """Fill pixels of weight 0 bilinearly from a pyramid of averages (Gortler et al. 1996)."""
    known = weighted / weight.clamp(min=1e-6)
    if max(weight.shape[-2:]) == 1 or bool((weight > 0).all()):
        return known
    size = weight.shape[-2:]
    half = [max(s // 2, 1) for s in size]
    coarse = _pull_push(F.adaptive_avg_pool2d(weighted, half), F.adaptive_avg_pool2d(weight, half))
    fill = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return torch.where(weight > 0, known, fill)
