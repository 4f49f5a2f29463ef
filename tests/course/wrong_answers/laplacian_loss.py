"""Plausible wrong answers to the exercises of notebook 05, and what the check must say."""

from slips import slip


def low_pass(keep, result="torch.fft.ifft2(torch.fft.fft2(image) * keep).real"):
    return ("def low_pass(image, cutoff):\n"
            "    n = image.shape[-1]\n"
            "    f = torch.fft.fftfreq(n) * n\n"
            f"    keep = {keep}\n"
            f"    return {result}")


def expected(result, part="error[:, 1:-1]", bends="error.diff(n=2, dim=1).abs().mean(dim=1)"):
    return ("def expected_loss(guess, rows, chances, lam):\n"
            "    error = guess - rows\n"
            f"    squared = ({part}**2).mean(dim=1)\n"
            f"    absolute = {bends}\n"
            f"    return {result}")


RIGHT = "(chances * (squared + lam * absolute)).sum()"
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
    "expected_loss": [
        (expected("(squared + lam * absolute).mean()"), "All rows count the same"),
        (expected("(squared + lam * absolute).sum()"), "losses of the rows are added up"),
        (expected("(chances * squared).sum()"), "The second term is missing"),
        (expected("(chances * (squared + absolute)).sum()"), "multiply the mean of the second"),
        (expected("(chances * (lam * squared + absolute)).sum()"), "not to the squared error"),
        (expected(RIGHT, bends="(error.diff(n=2, dim=1)**2).mean(dim=1)"), "not by squares"),
        (expected(RIGHT, bends="error.diff(n=2, dim=1).mean(dim=1)"), "opposite sign cancel"),
        (expected(RIGHT, bends="error.diff(dim=1).abs().mean(dim=1)"), "These are first diff"),
        (expected(RIGHT, part="error"), "averaged over all pixels"),
        (expected(RIGHT, part="error[:, 1:-1].detach()"), "their gradient is not"),
        ("def expected_loss(guess, rows, chances, lam):\n"
         "    error = chances @ rows - guess\n"
         "    return (error[1:-1]**2).mean() + lam * error.diff(n=2).abs().mean()",
         "the loss against the mean row"),
    ],
}
