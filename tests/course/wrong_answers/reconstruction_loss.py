"""Plausible wrong answers to the exercises of notebook 04, and what the check must say."""

from slips import slip

NORMALISE = "def normalise_patches(patches, eps=1e-6):\n    p = patches\n    "
DENORMALISE = (
    "from mae_lib.losses import patch_statistics\n"
    "def denormalise_prediction(pred, patches):\n"
    "    mean, std = patch_statistics(patches)\n    "
)
PSNR = "def hidden_psnr(pred, target, mask):\n    "
ERROR = "error = (pred.clamp(0, 1) - target)**2\n    "
HIDDEN = "hidden = 3 * mask.sum(dim=(1, 2, 3))\n    "

WRONG = {
    "mae_loss": [
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()", "error.mean()")),
         "the mean over all patches"),
        (slip("mae_loss", ("(error * mask).sum()", "(error * (1 - mask)).sum()"),
              ("/ mask.sum()", "/ (1 - mask).sum()")), "the mask is inverted"),
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()", "(error * mask).mean()")),
         "visible errors are 0 but still count"),
        (slip("mae_loss", (" / mask.sum()", "")), "this is a sum over hidden patches"),
        (slip("mae_loss", (".square().mean(dim=-1)", ".square().sum(dim=-1)")),
         "the values of a patch are summed"),
        (slip("mae_loss", (".square().mean", ".abs().mean")), "these are absolute errors"),
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()",
                           "((error * mask).sum(1) / mask.sum(1)).mean()")),
         "within each image first"),
        (slip("mae_loss", ("if norm_pix", "if False")), "the target is not normalised"),
        (slip("mae_loss", ("if norm_pix", "if True")), "which only norm_pix=True asks for"),
        (slip("mae_loss", (" / (var + 1e-6).sqrt()", "")), "only the mean is subtracted"),
        (slip("mae_loss", ("target.var(dim=-1,", "target.var(dim=-1, unbiased=False,")),
         "divides by one less"),
        (slip("mae_loss", ("target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)",
                           "target.mean(), target.var()")), "those of the whole batch"),
        (slip("mae_loss", ("(pred - target)", "(pred.detach() - target)")), "no gradient"),
        (slip("mae_loss", ("return (error * mask).sum() / mask.sum()", "return error * mask")),
         "should have shape ()"),
    ],
    "masked_mse": [
        ("def masked_mse(pred, target, mask): return (pred - target).square().mean()",
         "the mean over all 24 patches"),
        ("def masked_mse(pred, target, mask):\n"
         "    error = (pred - target).square().mean(-1)\n"
         "    return (error * mask).mean()", "you divide by all 24 instead of the 18 hidden ones"),
        ("def masked_mse(pred, target, mask):\n"
         "    error = (pred - target).square().mean(-1)\n"
         "    return (error * (1 - mask)).sum() / (1 - mask).sum()", "The mask is inverted"),
        ("def masked_mse(pred, target, mask):\n"
         "    return ((pred - target).square().mean(-1) * mask).sum()",
         "You sum over the hidden patches"),
        ("def masked_mse(pred, target, mask):\n"
         "    return ((pred - target).square().sum(-1) * mask).sum() / mask.sum()",
         "Within a patch you sum its 12 values"),
        ("def masked_mse(pred, target, mask):\n"
         "    return ((pred - target).abs().mean(-1) * mask).sum() / mask.sum()",
         "This is the absolute error"),
        ("def masked_mse(pred, target, mask):\n"
         "    return (((pred - target)**2).mean(-1) * mask).sum().div(mask.sum()).sqrt()",
         "the root of the mean squared error"),
        ("def masked_mse(pred, target, mask): return (pred - target).square().mean(-1) * mask",
         "That is one error for each patch"),
        ("def masked_mse(pred, target, mask):\n"
         "    return ((pred - target).square().mean(-1) * mask).sum() / len(pred)",
         "then the mean over the hidden patches"),
        ("def masked_mse(pred, target, mask):\n"
         "    return (((pred - target).square().mean(-1) * mask).sum() / mask.sum()).item()",
         "The loss should be a tensor, got float"),
    ],
    "normalise_patches": [
        (NORMALISE + "return (p - p.mean(-1, keepdim=True)) / "
                     "(p.var(-1, unbiased=False, keepdim=True) + eps).sqrt()",
         "this variance divides by 12 values"),
        (NORMALISE + "return (p - p.mean(1, keepdim=True)) / "
                     "(p.var(1, keepdim=True) + eps).sqrt()",
         "over all patches of an image, for each value by itself"),
        (NORMALISE + "return (p - p.mean((1, 2), keepdim=True)) / "
                     "(p.var((1, 2), keepdim=True) + eps).sqrt()", "taken over the whole image"),
        (NORMALISE + "return (p - p.mean(-1, keepdim=True)) / p.std(-1, keepdim=True)",
         "0/0 is not a number"),
        (NORMALISE + "return (p - p.mean(-1, keepdim=True)) / (p.std(-1, keepdim=True) + eps)",
         "eps is added to the variance, under the root"),
        (NORMALISE + "x = p.reshape(*p.shape[:2], -1, 3)\n"
                     "    x = (x - x.mean(2, keepdim=True)) / (x.var(2, keepdim=True) + eps)**0.5\n"
                     "    return x.reshape(p.shape)", "Each channel has a mean"),
        (NORMALISE + "return p / (p.var(-1, keepdim=True) + eps).sqrt()",
         "subtract it before dividing"),
        (NORMALISE + "return p - p.mean(-1, keepdim=True)", "now divide by the deviation"),
        (NORMALISE + "return (p - p.mean(-1, keepdim=True)) / (p.var(-1, keepdim=True) + eps)",
         "You divide by the variance"),
        (NORMALISE + "return (p - p.mean()) / p.std()", "should have mean 0 and deviation 1"),
        (NORMALISE + "return p.mean(-1), p.std(-1)", "should be a tensor, got tuple"),
    ],
    "denormalise_prediction": [
        (DENORMALISE + "return pred * std", "add the mean back"),
        (DENORMALISE + "return pred + mean", "multiply by the deviation first"),
        (DENORMALISE + "return (pred + mean) * std", "The order is wrong"),
        (DENORMALISE + "return (pred - mean) / std", "normalises the prediction once more"),
        (DENORMALISE + "mean, std = patch_statistics(pred)\n    return pred * std + mean",
         "These are the statistics of the prediction itself"),
        (DENORMALISE + "return pred * patches.std() + patches.mean()",
         "Undo (y − mean) / deviation"),
    ],
    "hidden_psnr": [
        (PSNR + ERROR + "return -10 * error.mean(dim=(1, 2, 3)).log10()",
         "The visible pixels are in it too"),
        (PSNR + ERROR + "return -10 * (error * mask).mean(dim=(1, 2, 3)).log10()",
         "You divide by all pixels"),
        (PSNR + ERROR + "hidden = mask.sum(dim=(1, 2, 3))\n"
                        "    return -10 * ((error * mask).sum(dim=(1, 2, 3)) / hidden).log10()",
         "each has three values"),
        (PSNR + ERROR + "return -10 * ((error * mask).sum((1, 2, 3)) / mask.sum()).log10()",
         "of the whole batch"),
        (PSNR + ERROR + "hidden = 3 * mask[0].sum()\n"
                        "    return -10 * ((error * mask).sum((1, 2, 3)) / hidden).log10()",
         "Expected"),
        (PSNR + ERROR + HIDDEN + "return 10 * ((error * mask).sum((1, 2, 3)) / hidden).log10()",
         "The sign is wrong"),
        (PSNR + ERROR + HIDDEN + "return -10 * ((error * mask).sum((1, 2, 3)) / hidden).log()",
         "natural logarithm"),
        (PSNR + ERROR + HIDDEN + "return -20 * ((error * mask).sum((1, 2, 3)) / hidden).log10()",
         "−20 goes with the root"),
        (PSNR + "error = (pred - target)**2\n    " + HIDDEN
         + "return -10 * ((error * mask).sum((1, 2, 3)) / hidden).log10()", "Clip the prediction"),
        (PSNR + ERROR + "return -10 * ((error * mask).sum() / mask.sum() / 3).log10()",
         "One number for the whole batch"),
        (PSNR + ERROR + HIDDEN
         + "return -10 * ((error * (1 - mask)).sum((1, 2, 3)) / hidden).log10()",
         "dB for the first image, got"),
    ],
}
