"""Plausible wrong answers to the exercises of notebook 00, and what the check must say."""

FILL = "    return torch.where(hidden > 0, colour[:, None, None], image)"
HEAD = "def mean_fill(image, hidden):\n    visible = 1 - hidden\n"

WRONG = {
    "visible_patches": [
        ("def visible_patches(n, r): return int(n * r)",
         "147 of 196 patches at mask ratio 0.75 is how many are hidden"),
        ("def visible_patches(n, r): return round(n * (1 - r))", "29 of 144 patches"),
        ("def visible_patches(n, r): return n - int(n * r)", "rounded up from 28.8; int() cuts"),
        ("def visible_patches(n, r): return n * (1 - r)", "a patch is visible or it is not"),
        ("def visible_patches(n, r): return n // 4",
         "You keep 36 of 144 patches at mask ratio 0.8, expected 28, which is 144 × 0.20"),
        ("def visible_patches(n, r): return 1 - r", "0.25 is the visible share"),
        ("def visible_patches(n, r): return f'{int(n * (1 - r))}'",
         "should be one number; yours is a str"),
    ],
    "mean_fill": [
        ("def mean_fill(image, hidden):\n    colour = image.mean(dim=(1, 2))\n" + FILL,
         "That is peeking"),
        (HEAD + "    colour = (image * visible).mean(dim=(1, 2))\n" + FILL,
         "Too dark: you divided by all 48 pixels, but only 28 are visible"),
        (HEAD + "    colour = (image * visible).sum(dim=(1, 2)) / hidden.sum()\n" + FILL,
         "the number of hidden pixels, 20"),
        (HEAD + "    x = image * visible\n"
         "    colour = x.sum(dim=(1, 2)) / (x > 0).sum(dim=(1, 2))\n" + FILL,
         "but the colour is not"),
        ("def mean_fill(image, hidden):\n    image[:, hidden[0] > 0] = 0.5\n    return image",
         "Begin with image.clone()"),
        ("def mean_fill(image, hidden): return image[hidden == 0].mean()",
         "A mask (1, H, W) fits one channel"),
        (HEAD + "    colour = ((image * visible).sum() / (3 * visible.sum())).expand(3)\n" + FILL,
         "One grey for all three channels"),
        ("def mean_fill(image, hidden):\n"
         "    colour = (image * hidden).sum(dim=(1, 2)) / hidden.sum()\n" + FILL,
         "which nobody knows"),
        (HEAD + "    colour = (image * visible).sum(dim=(1, 2)) / visible.sum()\n"
         "    return colour[:, None, None].expand_as(image)", "visible pixels have it too"),
        (HEAD + "    colour = (image * visible).sum(dim=(1, 2)) / visible.sum()\n"
         "    return torch.where(hidden > 0, image, colour[:, None, None])",
         "You filled the visible pixels and kept the hidden ones"),
        ("def mean_fill(image, hidden): return image * (1 - hidden)",
         "Visible pixels are right, but the colour is not"),
        ("def mean_fill(image, hidden): return image", "Nothing has changed"),
        ("def mean_fill(image, hidden): return image.mean(dim=(1, 2))",
         "should have shape (3, 6, 8); yours has shape (3,)"),
    ],
    "psnr": [
        ("def psnr(mse): return 10 * torch.log10(mse)", "wrong sign"),
        ("def psnr(mse): return -10 * torch.log(mse)", "decibels use log10"),
        ("def psnr(mse): return -20 * torch.log10(mse)", "twice as much as it should be"),
        ("def psnr(mse): return -torch.log10(mse)", "multiply by 10"),
        ("def psnr(mse): return -10 * mse.sqrt().log10()", "take no root"),
        ("def psnr(mse): return f'{-10 * mse.log10():.2f}'",
         "should be one number; yours is a str"),
        ("def psnr(mse): return (-10 * mse.log10()).clamp(0, 30)",
         "30.00 dB for a mean squared error of 1e-05, expected 50.00"),
        ("def psnr(mse): return 10 * torch.log10(255**2 / mse)", "ours go from 0 to 1"),
        ("def psnr(mse): return 1 / mse", "100.00 dB for a mean squared error of 0.01, expected"),
    ],
}

ALSO_RIGHT = {
    "visible_patches": [
        "import numpy as np\ndef visible_patches(n, r): return np.int64(n * (1 - r))",
        "import torch\ndef visible_patches(n, r): return torch.tensor(n * (1 - r)).int()",
    ],
}
