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
CONVOLVED = ("(lambda x: F.conv2d(x, torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.]]){}"
             ".expand(x.shape[1], 1, 3, 3), groups=x.shape[1]))")
DISC = "f[:, None]**2 + f**2 <= cutoff**2"


def loss(difference="lap(composite) - lap(tgt_img)", crop="1:-1, 1:-1", mask="mask_img",
         composite="torch.where(mask_img > 0, pred_img, tgt_img)", divide="inner.sum()",
         lap="laplacian", absolute=".abs()"):
    return ("def laplacian(x):\n"
            "    return (x[..., :-2, 1:-1] + x[..., 2:, 1:-1] + x[..., 1:-1, :-2]\n"
            "            + x[..., 1:-1, 2:] - 4 * x[..., 1:-1, 1:-1])\n"
            "def convolved(x):\n"
            "    kernel = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.]])\n"
            "    return F.conv2d(x, kernel.expand(3, 1, 3, 3), groups=3)\n"
            "def laplacian_loss_masked(pred_img, tgt_img, mask_img):\n"
            f"    composite, lap = {composite}, {lap}\n"
            f"    error = ({difference}){absolute}\n"
            f"    inner = ({mask})[..., {crop}].expand_as(error)\n"
            f"    return (error * inner).sum() / ({divide}).clamp(min=1)")


def shifts(x):
    return (f"{x}[..., :-2, 1:-1] + {x}[..., 2:, 1:-1] + {x}[..., 1:-1, :-2]"
            f" + {x}[..., 1:-1, 2:] - 4 * {x}[..., 1:-1, 1:-1]")


def filtered(by, crop="1:-1, 1:-1"):
    """laplacian_loss_masked with another filter in place of the Laplacian."""
    return loss(f"({by})(composite - tgt_img)", crop)


PADDED = "lambda x: laplacian(F.pad(x, (1, 1, 1, 1), '{}'))"


WRONG = {
    "laplacian_loss_masked": [
        (loss(lap=CONVOLVED.format("")), "On a GPU this would stop"),
        (slip("laplacian_loss_masked", ("torch.where(mask_img > 0, pred_img, tgt_img)",
                                        "pred_img")), "Your filter reads the raw prediction"),
        (slip("laplacian_loss_masked", ("(error * inner).sum() / (channels * inner.sum()"
                                        ".clamp(min=1))", "error.mean()")),
         "You count all pixels, including visible ones"),
        (slip("laplacian_loss_masked", ("(error * inner).sum() / (channels * inner.sum()"
                                        ".clamp(min=1))", "(error * inner).mean()")),
         "you divide by the number of all values"),
        (slip("laplacian_loss_masked", ("channels * inner", "inner")),
         "each pixel has one value per channel"),
        (slip("laplacian_loss_masked", (".abs()", ".square()")), "These are squared errors"),
        (slip("laplacian_loss_masked", (".abs()", "")), "opposite sign cancel"),
        (slip("laplacian_loss_masked", ("[[0, 1, 0], [1, -4, 1], [0, 1, 0]]",
                                        "[[0, 0, 0], [0, 1, 0], [0, 0, 0]]")),
         "first take the Laplacian of the composite"),
        (slip("laplacian_loss_masked", ("(mask_img > 0, pred_img", "(mask_img < 1, pred_img"),
              ("mask_img[:, :, 1:-1", "(1 - mask_img)[:, :, 1:-1")), "The mask is inverted"),
        (slip("laplacian_loss_masked", ("groups=channels", "groups=channels, padding=1"),
              ("mask_img[:, :, 1:-1, 1:-1]", "mask_img")), "The border is padded"),
        (slip("laplacian_loss_masked", (".clamp(min=1)", "")), "should be 0, not 0/0"),
        (slip("laplacian_loss_masked", ("-4", "-8")), "averaged over hidden values"),
        (slip("laplacian_loss_masked", ("composite - tgt", "composite.detach() - tgt")),
         "no gradient"),
        (loss(composite="torch.where(mask_img > 0, tgt_img, pred_img)"),
         "composite is the wrong way round"),
        (loss(mask="1 - mask_img"), "average over visible pixels"),
        (loss("lap(composite)"), "Laplacian of the target is missing"),
        (loss("lap(composite).abs() - lap(tgt_img).abs()"), "|a| − |b| is not |a − b|"),
        (loss("lap(composite).abs() - lap(tgt_img).abs()", absolute=""), "subtract the two Lap"),
        (loss(crop=":-2, :-2"), "cropped on one side only"),
        (loss(crop="2:, 2:"), "one row and column on each side"),
        (loss(divide="error.shape[1] * mask_img.sum()"), "of the uncropped mask"),
        (loss("lap(composite - tgt_img).sum(1, keepdim=True)"), "The channels were added together"),
        (loss("lap(composite - tgt_img).sum(1, keepdim=True)", divide="inner.sum() * 3"),
         "errors of opposite sign cancel: filter each channel"),
        (loss(divide="3 * inner[:, :1].sum()"), "take the number of channels from"),
        (loss(lap="convolved"), "This test image has one channel"),
        (loss(composite="pred_img.mul_(mask_img).add_(tgt_img * (1 - mask_img))"),
         "changes pred_img in place"),
        (filtered(PADDED.format("reflect"), ":, :"), "which makes edges where there are none"),
        (filtered(PADDED.format("replicate"), ":, :"), "leave out the outermost pixels"),
        (filtered("lambda x: 9 * F.avg_pool2d(x, 3, 1) - 9 * x[..., 1:-1, 1:-1]"),
         "This filter is not the Laplacian"),
        (filtered("lambda x: x.diff(n=2, dim=-1)[..., 1:-1, :]"), "adds up the four neighbours"),
        (filtered("lambda x: x.diff(n=2, dim=-2)[..., 1:-1]"), "subtracts four times the pixel"),
        (filtered("lambda x: x", ":, :"), "the error of the pixels themselves"),
        (loss(crop=":, :"), "The filter removes the outermost pixels"),
        (loss().replace("inner = (mask_img)[..., 1:-1, 1:-1].expand_as(error)",
                        "inner = mask_img"), "for the error, which is smaller"),
        (loss().replace("return (error", "return error[mask_img.expand_as(tgt_img) > 0].mean()"
                                         "\n    (error"), "take mask_img for the composite"),
        (loss().replace("return (error", "return error[mask_img[..., 1:-1, 1:-1] > 0].mean()"
                                         "\n    (error"), "repeat it with expand_as(error)"),
        (loss().replace("(error * inner).sum()", "error.sum()"),
         "Visible pixels next to a hidden patch have an error too"),
        (loss().replace("return (error", "return ((error").replace("(min=1)", "(min=1)).item()"),
         "Leave out .item() or float()"),
        (loss(composite="torch.where(mask_img > 0, pred_img, tgt_img).double()"),
         "The loss is torch.float64, but pred_img is torch.float32"),
    ],
    "low_pass": [
        (low_pass("(f[:, None] / n)**2 + (f / n)**2 <= cutoff**2"), "Nothing was removed"),
        (low_pass("f[:, None]**2 + f**2 > cutoff**2"), "which a low-pass filter removes"),
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
         "    return torch.fft.ifft2(torch.fft.fft2(image) * keep).real",
         "works on 32×32 pixels, but not on 20×20"),
        (low_pass(DISC, "image * keep"), "then transform back"),
        (low_pass(DISC, "torch.fft.fft2(image) * keep"), "These are still the coefficients"),
        (low_pass(DISC, "(torch.fft.fft2(image) * keep).real"), "with torch.fft.ifft2 first"),
        (low_pass("(f[:, None] <= cutoff) & (f <= cutoff)"), "lets every negative frequency pass"),
        (low_pass("f[:, None]**2 + f**2 <= cutoff"), "compare it with the square of the cut-off"),
        (low_pass("f.abs() <= cutoff"), "You filter in one direction only"),
        (low_pass("f[:, None].abs() <= cutoff"), "Both fx and fy count"),
        (low_pass("f**2 + f**2 <= cutoff**2"), "once as f[:, None]"),
        ("def low_pass(image, cutoff):\n"
         "    f = torch.fft.fftfreq(224) * 224\n"
         f"    return torch.fft.ifft2(torch.fft.fft2(image) * ({DISC})).real",
         "this image has 32, not 224"),
        (low_pass(DISC, "torch.fft.irfft2(torch.fft.rfft2(image) * keep[:, :n // 2 + 1])"),
         "If you use torch.fft.irfft2, pass it s=image.shape"),
        (low_pass("torch.fft.fftshift(" + DISC + ")", "torch.fft.ifft2(torch.fft.fftshift("
                  "torch.fft.fftshift(torch.fft.fft2(image)) * keep)).real"),
         "if you use fftshift, undo it with ifftshift"),
        (low_pass("f[:, None]**2 + f**2 <= 6**2"),
         "right for a cut-off of 6, but wrong for another"),
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
         "yours has shape (2, 3, 6, 5). Cut off exactly one pixel"),
        ("def laplacian(x):\n"
         "    return torch.nn.functional.avg_pool2d(x, 3, 1) * 9 - 9 * x[..., 1:-1, 1:-1]",
         "all eight neighbours"),
        ("def laplacian(x):\n"
         "    kernel = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.]])\n"
         "    return F.conv2d(x, kernel.expand(1, 3, 3, 3))", "channels were added together"),
        ("def laplacian(x): return x.diff(n=2, dim=-1) + x.diff(n=2, dim=-2)",
         "have different sizes: crop each"),
        (f"def laplacian(x): return ({shifts('x')}).abs()", "Keep the sign"),
        (f"def laplacian(x): return ({shifts('x')}) / 4", "do not divide the sum by 4"),
        ("def laplacian(x):\n"
         "    kernel = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.]])\n"
         "    return F.conv2d(x, kernel.expand(x.shape[1], x.shape[1], 3, 3))",
         "filter each one by itself"),
        ("def laplacian(x):\n"
         "    kernel = torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.]])\n"
         "    return F.conv2d(x, kernel.expand(3, 1, 3, 3), groups=3)",
         "take the number of channels from"),
        ("def laplacian(x):\n"
         "    x = torch.stack([x[:, c] for c in range(3)], dim=1)\n"
         f"    return {shifts('x')}", "This test image has one channel"),
    ],
    "expected_loss": [
        (expected("(squared + lam * absolute).mean()"), "You count all rows equally"),
        (expected("(squared + lam * absolute).sum()"), "losses of the rows are added up"),
        (expected("(chances * squared).sum()"), "Your loss does not depend on lam"),
        (expected("(chances * (squared + absolute)).sum()"), "multiply the mean of the second"),
        (expected("(chances * (lam * squared + absolute)).sum()"), "not to the squared error"),
        (expected(RIGHT, bends="(error.diff(n=2, dim=1)**2).mean(dim=1)"), "not their squares"),
        (expected(RIGHT, bends="error.diff(n=2, dim=1).mean(dim=1)"), "opposite sign cancel"),
        (expected(RIGHT, bends="error.diff(dim=1).abs().mean(dim=1)"), "These are first diff"),
        (expected(RIGHT, part="error"), "averaged over all pixels"),
        (expected(RIGHT, part="error[:, 1:-1].detach()"), "their gradient is not"),
        ("def expected_loss(guess, rows, chances, lam):\n"
         "    error = chances @ rows - guess\n"
         "    return (error[1:-1]**2).mean() + lam * error.diff(n=2).abs().mean()",
         "the mean of the losses against each row"),
        (expected(RIGHT, part="error[:, 1:-1].abs().sqrt()"), "yours takes absolute values"),
        (expected("(chances * (squared + lam * absolute)).mean()"), "already add up to 1"),
        (expected(RIGHT, bends="error[:, 1:-1].diff(n=2, dim=1).abs().mean(dim=1)"),
         "apply diff to whole rows"),
        (expected(RIGHT, bends="error.diff(n=2, dim=0).abs().mean(dim=1)"), "from row to row"),
        (expected(RIGHT, bends="(guess.diff(n=2).abs() - rows.diff(n=2, dim=1).abs()).abs()"
                               ".mean(dim=1)"), "|a| − |b| is not |a − b|"),
        (expected(RIGHT, bends="(guess.diff(n=2).abs() - rows.diff(n=2, dim=1).abs())"
                               ".mean(dim=1)"), "subtract the second differences first"),
        (expected("(chances * lam * (squared + absolute)).sum()"), "lam multiplies both terms"),
        (expected("(chances * ((1 - lam) * squared + lam * absolute)).sum()"),
         "without the factor 1 − lam"),
        (expected("(chances * squared).sum() + lam * absolute.mean()"),
         "Only the squared error is weighted"),
        (expected("(chances * squared).sum() + lam * absolute.sum()"),
         "weight the whole loss of each row"),
        (expected(RIGHT + ".item()"), "Leave out .item() or float()"),
    ],
}

ALSO_RIGHT = {
    "laplacian_loss_masked": [
        loss(),
        loss(lap=CONVOLVED.format(".to(pred_img.device)")),
        loss("lap(composite - tgt_img)"),
        loss().replace("    composite, lap", "    if mask_img.sum() == 0: return 0\n"
                                             "    composite, lap"),
        loss().replace("return (error", "return 0.0 if not inner.any() else (error"),
    ],
    "low_pass": [
        low_pass(DISC, "torch.fft.irfft2(torch.fft.rfft2(image) * keep[:, :n // 2 + 1], "
                       "s=image.shape)"),
        low_pass("torch.fft.fftshift(" + DISC + ")", "torch.fft.ifft2(torch.fft.ifftshift("
                 "torch.fft.fftshift(torch.fft.fft2(image)) * keep)).real"),
    ],
    "laplacian": [
        "def laplacian(x):\n"
        "    return x.diff(n=2, dim=-1)[..., 1:-1, :] + x.diff(n=2, dim=-2)[..., 1:-1]",
        "def laplacian(x):\n"
        "    c, kernel = x.shape[1], torch.tensor([[0, 1, 0], [1, -4, 1], [0, 1, 0.]])\n"
        "    return F.conv2d(x, kernel.expand(c, 1, 3, 3), groups=c)",
        "def laplacian(x):\n"
        "    result = torch.zeros(*x.shape[:2], x.shape[2] - 2, x.shape[3] - 2)\n"
        "    for r in range(x.shape[2] - 2):\n"
        "        for c in range(x.shape[3] - 2):\n"
        "            block = x[..., r : r + 3, c : c + 3]\n"
        "            result[..., r, c] = (block[..., 0, 1] + block[..., 2, 1] + block[..., 1, 0]\n"
        "                                 + block[..., 1, 2] - 4 * block[..., 1, 1])\n"
        "    return result",
    ],
    "expected_loss": [expected(RIGHT + ".double()")],
}
