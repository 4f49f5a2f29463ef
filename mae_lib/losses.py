"""The three losses of the improved MAE, and their weighted sum.

All are computed in float32 or better: bfloat16 predictions are converted first.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional as filters

from mae_lib.masking import take_patches
from mae_lib.model import MAEOutput, MaskedAutoencoder, hidden_ids
from mae_lib.patches import patch_mask_to_pixels, patchify, unpatchify
from mae_lib.runtime import distributed
from mae_lib.runtime.checks import check_shape

NORM_PIX_EPS = 1e-6  # as in the official code


def at_least_float32(x: Tensor) -> Tensor:
    """Everything but float64 as float32."""
    return x if x.dtype == torch.float64 else x.float()


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each patch (B, L, V): two tensors (B, L, 1)."""
    mean = patches.mean(dim=-1, keepdim=True)
    # Unbiased, as in the official code; torch's own var is several times slower on a CPU.
    squares = torch.linalg.vector_norm(patches - mean, dim=-1, keepdim=True).square()
    return mean, (squares / (patches.shape[-1] - 1) + NORM_PIX_EPS).sqrt()


def normalise_patches(patches: Tensor) -> Tensor:
    """Each patch (B, L, V) minus its mean, over its standard deviation: see `patch_statistics`."""
    n = patches.shape[-1]
    # A LayerNorm in one pass over memory. It takes the biased variance: hence the two factors.
    weight = patches.new_full((n,), math.sqrt((n - 1) / n))
    return F.layer_norm(patches, (n,), weight, eps=NORM_PIX_EPS * (n - 1) / n)


def mae_loss(pred: Tensor, images: Tensor, mask: Tensor, patch_size: int, norm_pix: bool) -> Tensor:
    """Mean squared error on masked patches (He et al. 2022, section 3, "Reconstruction target").

    `pred` (B, L, p²·3), `images` (B, 3, H, W), `mask` (B, L) with 1 = masked. With `norm_pix` the
    target is each patch minus its mean, over its standard deviation. Returns a scalar.

    Raises ValueError if the shapes do not fit.
    """
    target = patchify(images, patch_size)
    check_shape(pred, "pred", *target.shape)
    check_shape(mask, "mask", *target.shape[:2])
    pred, target, mask = map(at_least_float32, (pred, target, mask))
    target = normalise_patches(target) if norm_pix else target
    error = F.mse_loss(pred, target, reduction="none").mean(dim=-1)  # (B, L)
    return (error * mask).sum() / mask.sum().clamp(min=1)


def predicted_images(pred: Tensor, images: Tensor, patch_size: int, norm_pix: bool) -> Tensor:
    """The prediction (B, L, p²·3) as images (B, 3, H, W) in the units of `images`.

    With `norm_pix` the prediction is in units of each patch's own mean and standard deviation. They
    are taken from the target, so what is measured on the result is optimistic: a real
    reconstruction would not know them.
    """
    pred = at_least_float32(pred)
    if norm_pix:
        mean, std = patch_statistics(patchify(at_least_float32(images), patch_size))
        pred = pred * std + mean
    return unpatchify(pred, patch_size, tuple(side // patch_size for side in images.shape[-2:]))


def laplacian(images: Tensor) -> Tensor:
    """Filter each channel with [[0,1,0],[1,−4,1],[0,1,0]]: (B, C, H, W) → (B, C, H−2, W−2).

    No padding: border pixels, whose neighbours would have to be invented, are left out, so that
    linear ramps give exactly 0.
    """
    return _Laplacian.apply(images)


class _Laplacian(torch.autograd.Function):
    """The filter as shifts. Its gradient is the filter again, spread instead of gathered.

    Written out because automatic differentiation makes a whole image of zeros for every shift:
    three times slower than this, and a convolution with one channel a group is slower still.
    """

    @staticmethod
    def shifts(x: Tensor) -> list[Tensor]:
        """The four neighbours of every inner pixel, as views."""
        return [x[..., :-2, 1:-1], x[..., 2:, 1:-1], x[..., 1:-1, :-2], x[..., 1:-1, 2:]]

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        result = x[..., 1:-1, 1:-1] * -4
        for neighbour in _Laplacian.shifts(x):
            result += neighbour
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        h, w = gradient.shape[-2:]
        x = gradient.new_zeros(*gradient.shape[:-2], h + 2, w + 2)
        x[..., 1:-1, 1:-1] = gradient * -4
        for neighbour in _Laplacian.shifts(x):
            neighbour += gradient
        return x


def laplacian_loss_masked(pred_img: Tensor, tgt_img: Tensor, mask_img: Tensor,
                          composite: bool = True) -> Tensor:
    """L1 distance between the Laplacians of prediction and target on masked pixels: a scalar.

    `pred_img` and `tgt_img` (B, C, H, W); `mask_img` (B, 1, H, W), 1 = masked. The denominator is
    the number of masked values, so neither the number of channels nor the masked area scales the
    loss. (Smooth errors, which show at the seams alone, still cost less at a high mask ratio.)

    With `composite`, true pixels replace the visible ones before filtering. Without it, the filter
    reads across mask boundaries into the prediction on visible patches, which nothing supervises.

    Raises ValueError if the shapes do not fit.
    """
    check_image_pair(pred_img, tgt_img, mask_img)
    difference = at_least_float32(pred_img) - at_least_float32(tgt_img)
    if composite:  # it equals the target where visible
        difference = difference * mask_img
    error, count = laplacian_error_per_image(difference, mask_img)
    return error.sum() / count.sum().clamp(min=1)


def check_image_pair(pred_img: Tensor, tgt_img: Tensor, mask_img: Tensor) -> None:
    """Raise ValueError unless the images have one shape (B, C, H, W), the mask (B, 1, H, W)."""
    check_shape(pred_img, "pred_img", *"BCHW")
    b, c, h, w = pred_img.shape
    check_shape(tgt_img, "tgt_img", b, c, h, w)
    check_shape(mask_img, "mask_img", b, 1, h, w)


def laplacian_error_per_image(difference: Tensor, mask_img: Tensor) -> tuple[Tensor, Tensor]:
    """The Laplacians' L1 distance on masked pixels and the number of these: two (B,).

    The distance is a mean over channels and a sum over pixels, without the image's border.
    `difference` is prediction minus target, (B, C, H, W). The filter is linear, so its Laplacian is
    the difference of the Laplacians.
    """
    inner = at_least_float32(mask_img[..., 1:-1, 1:-1])  # (B, 1, H−2, W−2)
    error = (laplacian(difference) * inner).abs().sum(dim=(1, 2, 3)) / difference.shape[1]
    return error, inner.sum(dim=(1, 2, 3))


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Images (B, C, H, W) after a Gaussian blur of σ pixels, mirrored at the borders.

    The kernel is cut off at 3 σ, or at the shorter side less one pixel if that is nearer.
    """
    radius = min(int(3 * sigma), min(images.shape[-2:]) - 1)
    return filters.gaussian_blur(images, 2 * radius + 1, sigma)


def uniformity_loss(z_tokens: Tensor, eps: float = 1e-8, t: float = 2.0, shared=False) -> Tensor:
    """log of the mean over pairs i ≠ j of exp(−t‖zᵢ − zⱼ‖²), a scalar ≤ 0; t = 2 is specified.

    `z_tokens` (B, N, D) are the encoder's tokens; z is their mean over N, divided by its length, or
    by `eps` if that is larger. 0 when all images have the same features; −2tB/(B−1) at the
    lowest, when they form a regular simplex (Wang & Isola 2020, section 4.1).

    `shared` says that each process holds an equal part of one batch. Each then compares its own
    with all, and the mean of their gradients is that of the whole batch.

    Raises ValueError for another shape or fewer than two images, which have no pair.
    """
    check_shape(z_tokens, "z_tokens", *"BND")
    z = F.normalize(at_least_float32(z_tokens).mean(dim=1), dim=-1, eps=eps)  # (B, D)
    everyone = distributed.gather(z) if shared else z  # (B, D), or (processes · B, D)
    if len(everyone) < 2:
        raise ValueError("uniformity_loss needs tokens of shape (B, N, D) with B of at least 2, "
                         f"got {tuple(z_tokens.shape)}.")
    b, length = len(everyone), z.square().sum(dim=1)  # 1, but 0 for features that are all 0
    lengths = length if everyone is z else everyone.square().sum(dim=1)
    with torch.autocast(z.device.type, enabled=False):  # bfloat16 would round distances away
        squared_distance = (length[:, None] + lengths - 2 * z @ everyone.T).clamp(min=0)
    rows = distributed.share(b) if shared else slice(b)
    itself = torch.eye(b, dtype=torch.bool, device=z.device)[rows]
    exponent = (-t * squared_distance).masked_fill(itself, -torch.inf)
    log_sum = exponent.flatten().logsumexp(dim=0)
    if everyone is not z:
        whole = distributed.gather(log_sum[None]).logsumexp(dim=0)
        # Each pair counts twice, but its second row, maybe in another process, passes no gradient
        # here: hence the 2. DistributedDataParallel will average over the processes.
        factor = 2 * (b // len(z)) * (log_sum.detach() - whole).exp()
        log_sum = whole + factor * (log_sum - log_sum.detach())
    return log_sum - math.log(b * (b - 1))


def laplacian_energy_loss(pred: Tensor, target: Tensor, patch_size: int) -> Tensor:
    """Mean distance of the logs of predicted and true patches' mean absolute Laplacians: a scalar.

    `pred` and `target` (B, L, p²·3). The L1 distance of Laplacians is lowest for the median of what
    is possible, which is smooth; this one asks for as much fine detail as the target has, wherever
    it lies, so nothing is gained by being smoother than it. The experiments compare this form.
    """

    def energy(patches: Tensor) -> Tensor:  # (B, L)
        images = unpatchify(patches.flatten(0, 1)[:, None], patch_size)  # (B·L, 3, p, p)
        return laplacian(images).abs().mean(dim=(1, 2, 3)).unflatten(0, patches.shape[:2])

    floor = 0.1  # in standard deviations of the patch, with norm_pix: less than this looks flat
    distance = ((energy(pred) + floor).log() - (energy(target) + floor).log()).abs()
    return distance.sum() / max(distance.numel(), 1)


def total_loss(model: MaskedAutoencoder, output: MAEOutput, cfg) -> dict[str, Tensor]:
    """L_MAE + λ_freq · L_freq + λ_unif · L_unif, as scalars {"loss", "mae", "freq", "unif"}.

    `output` is what `model` returned, `cfg` a `config.PretrainConfig`. A term whose weight is 0 is
    not computed. The terms are those of the functions above: "mae" and "freq" on hidden patches,
    "unif" on the encoder's tokens. `cfg.target_blur` blurs the target of both reconstruction terms.

    With several processes, each holding its share of a batch, the mean of their losses and of their
    gradients is the loss and gradient of the whole batch.
    """
    length = model.num_patches
    ids = hidden_ids(output.ids_restore, output.latent.shape[1] - model.num_extra)  # (B, L_hid)
    pred = at_least_float32(output.pred)
    pred = take_patches(pred, ids) if pred.shape[1] == length else pred  # (B, L_hid, p²·3)
    patches = at_least_float32(output.patches)
    if cfg.target_blur:
        blurred = gaussian_blur(unpatchify(patches, model.patch_size), cfg.target_blur)
        patches = patchify(blurred, model.patch_size)
    pixels = take_patches(patches, ids)
    target = normalise_patches(pixels) if cfg.norm_pix else pixels
    mae = F.mse_loss(pred, target, reduction="sum") / max(pred.numel(), 1)
    terms = {"loss": mae, "mae": mae}
    if cfg.lambda_freq:
        scale = patch_statistics(pixels)[1] if cfg.norm_pix else 1
        terms["freq"] = _frequency_term(model, output, cfg, ids, pred, target, scale)
        terms["loss"] = terms["loss"] + cfg.lambda_freq * terms["freq"]
    if cfg.lambda_unif:
        z = at_least_float32(output.latent[:, model.num_extra :]).mean(dim=1, keepdim=True)
        terms["unif"] = uniformity_loss(z, t=cfg.unif_t, shared=True)
        terms["loss"] = terms["loss"] + cfg.lambda_unif * terms["unif"]
    return terms


def _frequency_term(model: MaskedAutoencoder, output: MAEOutput, cfg, ids: Tensor, pred: Tensor,
                    target: Tensor, scale: Tensor | float) -> Tensor:
    """The Laplacian loss of hidden patches `ids`; `scale` brings `pred` and `target` to pixels."""
    if cfg.freq_form == "energy":
        return laplacian_energy_loss(pred, target, model.patch_size)
    mask_img = patch_mask_to_pixels(output.mask, model.patch_size)
    difference = (pred - target) * scale  # of the composite: none where patches are visible
    places = ids[:, :, None].expand_as(difference)
    whole = difference.new_zeros(len(ids), model.num_patches, difference.shape[2])
    difference = unpatchify(whole.scatter(1, places, difference), model.patch_size)
    error, count = laplacian_error_per_image(difference, mask_img)
    return error.sum() / distributed.average(count.sum()).clamp(min=1)
