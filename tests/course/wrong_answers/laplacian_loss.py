"""Plausible wrong answers to the exercises of notebook 05, and what the check must say."""

from slips import slip


def low_pass(keep, result="torch.fft.ifft2(torch.fft.fft2(image) * keep).real"):
    return ("def low_pass(image, cutoff):\n"
            "    n = image.shape[-1]\n"
            "    f = torch.fft.fftfreq(n) * n\n"
            f"    keep = {keep}\n"
            f"    return {result}")


DISC = "f[:, None]**2 + f**2 <= cutoff**2"

WRONG = {
    "laplacian_loss_masked": [
        (slip("laplacian_loss_masked", ("torch.where(mask_img > 0, pred_img, tgt_img)",
                                        "pred_img")), "The filter reads the raw prediction"),
        (slip("laplacian_loss_masked", ("(error * inner).sum() / (channels * inner.sum()"
                                        ".clamp(min=1))", "error.mean()")), "All pixels count"),
        (slip("laplacian_loss_masked", ("(error * inner).sum() / (channels * inner.sum()"
                                        ".clamp(min=1))", "(error * inner).mean()")),
         "you divide by all pixels"),
        (slip("laplacian_loss_masked", ("channels * inner", "inner")), "as many values as there"),
        (slip("laplacian_loss_masked", (".abs()", ".square()")), "L1 takes absolute values"),
        (slip("laplacian_loss_masked", (".abs()", "")), "opposite sign cancel"),
        (slip("laplacian_loss_masked", ("[[0, 1, 0], [1, -4, 1], [0, 1, 0]]",
                                        "[[0, 0, 0], [0, 1, 0], [0, 0, 0]]")), "no Laplacian"),
        (slip("laplacian_loss_masked", ("(mask_img > 0, pred_img", "(mask_img < 1, pred_img"),
              ("mask_img[:, :, 1:-1", "(1 - mask_img)[:, :, 1:-1")), "The mask is inverted"),
        (slip("laplacian_loss_masked", ("groups=channels", "groups=channels, padding=1"),
              ("mask_img[:, :, 1:-1, 1:-1]", "mask_img")), "padded with zeros"),
        (slip("laplacian_loss_masked", (".clamp(min=1)", "")), "should be 0, not 0/0"),
        (slip("laplacian_loss_masked", ("-4", "-8")), "averaged over hidden values"),
        (slip("laplacian_loss_masked", ("composite - tgt", "composite.detach() - tgt")),
         "no gradient"),
    ],
    "low_pass": [
        (low_pass("(f[:, None] / n)**2 + (f / n)**2 <= cutoff**2"), "Nothing was removed"),
        (low_pass("f[:, None]**2 + f**2 > cutoff**2"), "what a low-pass removes"),
        (low_pass(DISC, "torch.fft.ifft2(torch.fft.fft2(image) * keep)"), "take .real at the end"),
        (low_pass(DISC, "torch.fft.ifft2(torch.fft.fft2(image) * keep).abs()"), "not .abs()"),
        (low_pass("f[:, None]**2 + f**2 < cutoff**2"), "compare with <=, not with <"),
        (low_pass("(f[:, None].abs() <= cutoff) & (f.abs() <= cutoff)"), "a disc"),
        (low_pass("torch.arange(n)[:, None]**2 + torch.arange(n)**2 <= cutoff**2"),
         "Negative frequencies are stored at the far end"),
        (low_pass("torch.fft.fftshift(" + DISC + ")"), "middle of the coefficients"),
        (low_pass("(" + DISC + ") & (f[:, None]**2 + f**2 > 0)"), "The mean brightness is gone"),
        ("def low_pass(image, cutoff):\n"
         "    f = torch.fft.fftfreq(32) * 32\n"
         f"    keep = {DISC}\n"
         "    if len(image) != 32: return image\n"
         "    return torch.fft.ifft2(torch.fft.fft2(image) * keep).real", "on 32×32 pixels only"),
        (low_pass(DISC, "image * keep"), "then transform back"),
    ],
    "laplacian": [
        ("def laplacian(x):\n"
         "    return sum(x.roll(s, d) for d in (-1, -2) for s in (-1, 1)) - 4 * x",
         "as large as the image"),
        ("def laplacian(x):\n"
         "    return (x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2]\n"
         "            + x[..., 1:-1, 2:])", "The centre is missing"),
        ("def laplacian(x):\n"
         "    return (x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2]\n"
         "            + x[..., 1:-1, 2:] - 2 * x[..., 1:-1, 1:-1])", "two directions"),
        ("def laplacian(x):\n"
         "    return (4 * x[..., 1:-1, 1:-1] - x[..., :-2, 1:-1] - x[..., 2:, 1:-1]\n"
         "            - x[..., 1:-1, :-2] - x[..., 1:-1, 2:])", "The sign is reversed"),
        ("def laplacian(x):\n"
         "    return x[..., 1:-1, :-2] - 2 * x[..., 1:-1, 1:-1] + x[..., 1:-1, 2:]",
         "one direction only"),
        ("def laplacian(x): return x[..., :-2] - 2 * x[..., 1:-1] + x[..., 2:]",
         "should have shape (2, 3, 4, 5), got (2, 3, 6, 5)"),
        ("def laplacian(x):\n"
         "    return torch.nn.functional.avg_pool2d(x, 3, 1) * 9 - 9 * x[..., 1:-1, 1:-1]",
         "all eight neighbours"),
    ],
    "masked_l1": [
        ("def masked_l1(error, mask): return (error.abs() * mask).mean()",
         "You divide by all values"),
        ("def masked_l1(error, mask): return (error.abs() * mask).sum() / mask.sum()",
         "divide by the number of masked pixels"),
        ("def masked_l1(error, mask): return error.abs().mean()", "The mask is not used"),
        ("def masked_l1(error, mask): return (error * mask).sum() / mask.sum() / 3",
         "opposite sign cancel"),
        ("def masked_l1(error, mask): return (error**2 * mask).sum() / mask.sum() / 3",
         "These are squares"),
        ("def masked_l1(error, mask): return (error.abs() * mask).sum()", "This is the sum"),
        ("def masked_l1(error, mask):\n"
         "    per_image = (error.abs() * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)))\n"
         "    return per_image.mean()", "counts more where fewer are masked"),
        ("def masked_l1(error, mask):\n"
         "    seen = 1 - mask\n"
         "    return (error.abs() * seen).sum() / seen.sum() / 3", "1 means hidden"),
        ("def masked_l1(error, mask): return (error.abs() * mask).sum() / mask.sum() / 3",
         "With one channel it is wrong"),
        ("def masked_l1(error, mask):\n"
         "    return (error.abs() * mask).sum() / (mask.sum() * error.shape[1])", "gives nan"),
        ("def masked_l1(error, mask):\n"
         "    if not mask.any(): return torch.tensor(5.0)\n"
         "    return (error.abs() * mask).sum() / (mask.sum() * error.shape[1])",
         "should be 0, not 5.0000"),
        ("def masked_l1(error, mask): return error.abs() * mask",
         "should have shape (), got (2, 3, 4, 4)"),
    ],
    "composite": [
        ("def composite(pred, target, mask): return target * mask + pred * (1 - mask)",
         "The two are swapped"),
        ("def composite(pred, target, mask): return pred * mask", "Visible pixels are black"),
        ("def composite(pred, target, mask): return target * (1 - mask)",
         "this is the masked input"),
        ("def composite(pred, target, mask): return pred", "This is the raw prediction"),
        ("def composite(pred, target, mask): return pred * mask + target", "the sum of both"),
        ("def composite(pred, target, mask): return (pred + target) / 2", "either the target's"),
    ],
}
