"""Plausible wrong answers to the exercises of notebook 04, and what the check must say."""

from slips import slip

DENORMALISE = (
    "from mae_lib.losses import patch_statistics\n"
    "def denormalise_prediction(pred, patches):\n"
    "    mean, std = patch_statistics(patches)\n    "
)
DESCEND = "def descend(parameters, lr):\n    with torch.no_grad():\n        for p in parameters:\n"
HAS = "            if p.grad is not None:\n"

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
    "denormalise_prediction": [
        (DENORMALISE + "return pred * std", "add the mean back"),
        (DENORMALISE + "return pred + mean", "multiply by the standard deviation first"),
        (DENORMALISE + "return (pred + mean) * std", "The order is wrong"),
        (DENORMALISE + "return (pred - mean) / std", "normalises the prediction once more"),
        (DENORMALISE + "mean, std = patch_statistics(pred)\n    return pred * std + mean",
         "These are the statistics of the prediction itself"),
        (DENORMALISE + "return pred * patches.std() + patches.mean()",
         "Undo (y − mean) / std"),
    ],
    "descend": [
        (DESCEND + HAS + "                p += lr * p.grad; p.grad = None", "You climb"),
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
        ("def descend(parameters, lr):\n    for p in parameters:\n"
         "        if p.grad is not None:\n            p -= lr * p.grad", "Autograd records"),
    ],
}
