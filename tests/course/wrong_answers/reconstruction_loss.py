"""Plausible wrong answers to the exercises of notebook 04, and what the check must say."""

from slips import slip

DENORMALISE = (
    "from mae_lib.losses import patch_statistics\n"
    "def denormalise_prediction(pred, patches):\n"
    "    mean, std = patch_statistics(patches)\n    "
)
DESCEND = "def descend(parameters, lr):\n    with torch.no_grad():\n        for p in parameters:\n"
HAS = "            if p.grad is not None:\n"


def in_units(lines: str) -> str:
    """mae_loss with these lines in place of the normalisation."""
    return (
        "def mae_loss(pred, images, mask, patch_size, norm_pix=False):\n"
        "    target = patchify(images, patch_size)\n"
        "    if norm_pix:\n"
        "        mean, var = target.mean(-1, keepdim=True), target.var(-1, keepdim=True)\n"
        f"        {lines}\n"
        "    return (((pred - target) ** 2).mean(dim=-1) * mask).sum() / mask.sum()"
    )


WRONG = {
    "mae_loss": [
        (in_units("target = (target - mean) / var.sqrt()"), "all equal gives nan, which is 0/0"),
        (in_units("target = (target - mean) / target.std(-1, keepdim=True)"), "gives nan"),
        (in_units("target = (target - mean) / (var.sqrt() + 1e-6)"),
         "add it to the standard deviation"),
        (in_units("target = (target - mean) / (var + 1e-5).sqrt()"), "with ε = 1e-6"),
        (in_units("target = (target - mean) / (var + 1e-8).sqrt()"), "nearly flat patches come"),
        (in_units("c = target.unflatten(-1, (-1, 3)); target = ((c - c.mean(2, keepdim=True)) "
                  "/ (c.var(2, keepdim=True) + 1e-6).sqrt()).flatten(2)"),
         "you take one mean for each channel"),
        (in_units("target = (target - target.mean(1, keepdim=True)) "
                  "/ (target.var(1, keepdim=True) + 1e-6).sqrt()"),
         "you take the mean over patches"),
        (in_units("std = (var + 1e-6).sqrt(); target = (target - mean) / std; "
                  "pred = (pred - mean) / std"), "is already in normalised units"),
        (in_units("target = (target - mean) / (var + 1e-6).sqrt(); "
                  "pred = (pred - pred.mean(-1, keepdim=True)) "
                  "/ (pred.var(-1, keepdim=True) + 1e-6).sqrt()"),
         "the prediction is normalised as well"),
        (in_units("target = (target - mean) / var.sqrt().clamp(min=1e-3)"), "nearly flat patches"),
        (in_units("target = (target - mean) / (var + 1e-6)"), "on pixels is right, so look at"),
        (in_units("target = (target - mean) * (var + 1e-6).sqrt()"), "look at the target"),
        (in_units("target = target / (var + 1e-6).sqrt()"), "one mean and one variance for each"),
        (in_units("pred = pred * (var + 1e-6).sqrt() + mean"), "bring the prediction back"),
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()", "error[mask.long()].mean()")),
         "pick out images 0 and 1. Write [mask == 1]"),
        (slip("mae_loss", ("patchify(images, patch_size)",
                           "F.unfold(images, patch_size, stride=patch_size).mT")),
         "in a different order from the prediction"),
        (slip("mae_loss", ("(error * mask).sum()", "0.5 * (error * mask).sum()")),
         "Leave out the factor 0.5"),
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()",
                           "((error * mask).sum() / mask.sum()).sqrt()")),
         "Leave out the square root"),
        (slip("mae_loss", ("/ mask.sum()", "/ mask.sum().item()"),
              ("(error * mask).sum()", "(error * mask).sum().item()")),
         "yours is a float. Leave out .item()"),
        (slip("mae_loss", ("(pred - target)", "(pred.double() - target)")),
         "The loss is torch.float64, but pred is torch.float32"),
        (slip("mae_loss", ("/ mask.sum()", "/ 147")), "you divide by 147"),
        (slip("mae_loss", ("error = (pred - target)", "pred -= target; error = pred")),
         "changes pred in place"),
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()", "error.mean()")),
         "including visible ones"),
        (slip("mae_loss", ("(error * mask).sum()", "(error * (1 - mask)).sum()"),
              ("/ mask.sum()", "/ (1 - mask).sum()")), "the mask is inverted"),
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()", "(error * mask).mean()")),
         "the errors of visible patches are 0 but still count"),
        (slip("mae_loss", (" / mask.sum()", "")), "this is a sum over hidden patches"),
        (slip("mae_loss", (".square().mean(dim=-1)", ".square().sum(dim=-1)")),
         "you sum the squared errors within each patch"),
        (slip("mae_loss", (".square().mean", ".abs().mean")), "these are absolute errors"),
        (slip("mae_loss", ("(error * mask).sum() / mask.sum()",
                           "((error * mask).sum(1) / mask.sum(1)).mean()")),
         "within each image first"),
        (slip("mae_loss", ("if norm_pix", "if False")), "the target is not normalised"),
        (slip("mae_loss", ("if norm_pix", "if True")), "which only norm_pix=True asks for"),
        (slip("mae_loss", (" / (var + 1e-6).sqrt()", "")), "only the mean is subtracted"),
        (slip("mae_loss", ("target.var(dim=-1,", "target.var(dim=-1, unbiased=False,")),
         "Divide by one less"),
        (slip("mae_loss", ("target.mean(dim=-1, keepdim=True), target.var(dim=-1, keepdim=True)",
                           "target.mean(), target.var()")),
         "mean and standard deviation of the whole batch"),
        (slip("mae_loss", ("(pred - target)", "(pred.detach() - target)")), "no gradient"),
        (slip("mae_loss", ("return (error * mask).sum() / mask.sum()", "return error * mask")),
         "one number, with shape (); yours has shape (3, 8). Take one mean over all hidden"),
    ],
    "denormalise_prediction": [
        (DENORMALISE + "return pred * std", "add the mean back"),
        (DENORMALISE + "return pred + mean", "multiply by the standard deviation first"),
        (DENORMALISE + "return (pred + mean) * std", "The order is wrong"),
        (DENORMALISE + "return (pred - mean) / std", "normalises the prediction once more"),
        (DENORMALISE + "mean, std = patch_statistics(pred)\n    return pred * std + mean",
         "These are the statistics of the prediction itself"),
        (DENORMALISE + "return pred * patches.std() + patches.mean()",
         "statistics of the whole batch"),
        (DENORMALISE.replace("mean, std", "std, mean") + "return pred * std + mean",
         "The mean and the standard deviation are swapped"),
        (DENORMALISE + "return pred * mean + std",
         "The mean and the standard deviation are swapped"),
        (DENORMALISE + "return pred * patches.std(-1, keepdim=True) + mean", "which includes ε"),
        (DENORMALISE + "return pred * (std + 1e-6).sqrt() + mean", "do not take its"),
        (DENORMALISE + "return pred * std - mean", "This does not undo (y − mean) / std"),
        (DENORMALISE + "pred *= std; pred += mean\n    return pred", "changes pred in place"),
    ],
    "descend": [
        (DESCEND + HAS + "                p += lr * p.grad; p.grad = None", "You are climbing"),
        (DESCEND + HAS + "                p -= p.grad; p.grad = None", "yours leaves lr out"),
        (DESCEND + HAS + "                p = p - lr * p.grad", "No parameter has changed"),
        (DESCEND + HAS + "                p -= lr * p.grad", "the gradients are still there"),
        (DESCEND + HAS + "                p -= lr * p.grad; p.grad = None\n            return p",
         "Only the first parameter has changed"),
        (DESCEND + "            p -= lr * p.grad; p.grad = None", "has no gradient"),
        (DESCEND + HAS + "                p -= lr * p.grad.sign(); p.grad = None",
         "not by −lr times their gradient"),
        (DESCEND + "            p -= lr * (p if p.grad is None else p.grad); p.grad = None",
         "A parameter without a gradient has changed"),
        (DESCEND + "            if p.grad is None:\n                return\n"
         "            p -= lr * p.grad; p.grad = None", "ends at the first parameter without"),
        (DESCEND + "            if p.grad is None:\n                break\n"
         "            p -= lr * p.grad; p.grad = None", "continue with the next"),
        (DESCEND + "            p.requires_grad = False\n" + HAS
         + "                p -= lr * p.grad; p.grad = None", "sets requires_grad to False"),
        (DESCEND + HAS + "                p.grad = None; p -= lr * p.grad", "before you use it"),
        (DESCEND + "            p -= lr * p.grad; p.grad.zero_()", "has no gradient"),
        (DESCEND + "            p.grad.zero_()", "has no gradient"),
        ("def descend(parameters, lr):\n    for p in parameters:\n"
         "        if p.grad is not None:\n            p -= lr * p.grad", "while it is recording"),
        (DESCEND + HAS + "                p -= lr * p.grad\n        for p in parameters:\n"
         "            p.grad = None", "begin with parameters = list(parameters)"),
        (DESCEND.replace("in parameters", "in parameters[:]") + HAS
         + "                p -= lr * p.grad; p.grad = None", "it cannot be indexed"),
        ("def descend(parameters, lr):\n    grads = [p.grad for p in list(parameters)]\n"
         "    with torch.no_grad():\n        for p, grad in zip(list(parameters), grads):\n"
         "            if grad is not None:\n                p -= lr * grad; p.grad = None",
         "you can go through it only once"),
        ("def descend(parameters, lr):\n    with torch.no_grad():\n"
         "        for i, p in enumerate(parameters):\n" + HAS
         + "                parameters[i] = nn.Parameter(p - lr * p.grad)",
         "No parameter has changed"),
        ("def descend(parameters, lr):\n    torch.set_grad_enabled(False)\n"
         "    for p in parameters:\n        if p.grad is not None:\n"
         "            p -= lr * p.grad; p.grad = None", "You leave autograd switched off"),
        ("def descend(parameters, lr):\n    for p in parameters:\n        p.grad = None\n"
         "    with torch.no_grad():\n        for p in parameters:\n" + HAS
         + "                p -= lr * p.grad", "Use each gradient before you clear it"),
        (DESCEND + HAS + "                p.sub(lr * p.grad); p.grad = None",
         "and change p itself, with p -= … or p.sub_(…)"),
        (DESCEND + HAS + "                p -= lr * p.grad; p.grad.data = None",
         "write p.grad = None"),
    ],
}

ALSO_RIGHT = {
    "mae_loss": [
        in_units("target = (target - mean) / torch.sqrt(var + 1e-6)"),
        in_units("d = target - mean; n = d.shape[-1]; "
                 "target = d / ((d * d).sum(-1, keepdim=True) / (n - 1) + 1e-6) ** 0.5"),
        "def mae_loss(pred, images, mask, patch_size, norm_pix=False):\n"
        "    target = patchify(images, patch_size)\n"
        "    if norm_pix:\n"
        "        std = (target.var(-1, keepdim=True) + 1e-6).sqrt()\n"
        "        target = (target - target.mean(-1, keepdim=True)) / std\n"
        "    return F.mse_loss(pred[mask == 1], target[mask == 1])",
        "def mae_loss(pred, images, mask, patch_size, norm_pix=False):\n"
        "    target = patchify(images, patch_size)\n"
        "    if norm_pix:\n"
        "        std = (target.var(-1, keepdim=True) + 1e-6).sqrt()\n"
        "        target = (target - target.mean(-1, keepdim=True)) / std\n"
        "    total, count = 0, 0\n"
        "    for b in range(len(mask)):\n"
        "        for i in range(mask.shape[1]):\n"
        "            if mask[b, i] == 1:\n"
        "                total = total + ((pred[b, i] - target[b, i]) ** 2).mean()\n"
        "                count += 1\n"
        "    return total / count",
    ],
    "denormalise_prediction": [
        "def denormalise_prediction(pred, patches):\n"
        "    std = (patches.var(-1, keepdim=True) + 1e-6).sqrt()\n"
        "    return torch.addcmul(patches.mean(-1, keepdim=True), pred, std)",
    ],
    "descend": [
        "@torch.no_grad()\n"
        "def descend(parameters, lr):\n"
        "    for p in parameters:\n"
        "        if p.grad is None:\n"
        "            continue\n"
        "        p.add_(p.grad, alpha=-lr)\n"
        "        p.grad = None",
        "def descend(parameters, lr):\n"
        "    for p in [p for p in parameters if p.grad is not None]:\n"
        "        p.data = p.data - lr * p.grad\n"
        "        p.grad = None",
        "def descend(parameters, lr):\n"
        "    parameters = list(parameters)\n"
        "    with torch.no_grad():\n"
        "        for p in parameters:\n"
        "            if p.grad is not None:\n"
        "                p -= lr * p.grad\n"
        "    for p in parameters:\n"
        "        p.grad = None",
        DESCEND + HAS + "                p -= lr * p.grad; p.grad.zero_()",
    ],
}
