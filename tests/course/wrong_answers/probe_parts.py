"""Plausible wrong answers to the parts of notebook 08, and what the check must say."""

from slips import slip

PENALTY = "decay / 2 * weight.square().sum()"
LOGITS = "head(encoder(images, mask_ratio=0.0)[0].mean(dim=1))"

WRONG = {
    "extract_features": [
        (slip("extract_features", ("x, mask_ratio=0.0", "x")), "Three quarters of each image"),
        (slip("extract_features", ("mask_ratio=0.0", "mask_ratio=0.5")),
         "nothing should be hidden"),
        (slip("extract_features", ("    encoder.eval()\n", "")), "is in training mode"),
        (slip("extract_features", ("with torch.no_grad()", "if True")), "carry a gradient"),
        (slip("extract_features", (".mean(dim=1)", "")), "These are all tokens"),
        (slip("extract_features", ("images.split(batch_size)", "[images]")), "go through at once"),
        (slip("extract_features", (".mean(dim=1)", ".sum(dim=1)")), "the sum of the tokens"),
        (slip("extract_features", (".mean(dim=1)", ".amax(dim=1)")), "the largest value of each"),
        (slip("extract_features", ("torch.cat(found)", "torch.cat(found[::-1])")),
         "The features of the last batch come first"),
        (slip("extract_features", ("torch.cat(found)", "F.normalize(torch.cat(found), dim=1)")),
         "divided by their length"),
    ],
    "fit_probe": [
        (slip("fit_probe", (f" + {PENALTY}", "")), "The weight decay is missing or too weak"),
        (slip("fit_probe", ("decay / 2", "decay")), "twice as strong"),
        (slip("fit_probe", (PENALTY, f"{PENALTY} + decay / 2 * bias.square().sum()")),
         "The bias decays too"),
        (slip("fit_probe", ("weight.square().sum()", "weight.square().mean()")),
         "take their sum of squares"),
        (slip("fit_probe", ("labels) +", "labels, reduction='sum') +")), "summed over images"),
        (slip("fit_probe", ("[weight, bias], max", "[weight], max")), "The bias stays at 0"),
        (slip("fit_probe", ("max_iter=500", "max_iter=2")), "Has it converged?"),
        (slip("fit_probe", ("return weight.detach()", "return weight.detach().T")),
         "weight is transposed"),
        (slip("fit_probe", ("return weight.detach(), bias.detach()", "return weight, bias")),
         "Return weight.detach()"),
        (slip("fit_probe", ("return weight.detach(), bias.detach()", "return weight.detach()[:1]")),
         "Return two tensors"),
    ],
    "fine_tune": [
        (slip("fine_tune", (", mask_ratio=0.0", "")), "Three quarters of each image"),
        (slip("fine_tune", ("    encoder.train()\n", "")), "in evaluation mode"),
        (slip("fine_tune", (' * group.get("lr_scale", 1.0)', "")), "All layers learn at the full"),
        (slip("fine_tune", ("schedule_learning_rate(epoch, i, iters, cfg)", "cfg.lr")),
         "throughout; ask schedule_learning_rate"),
        (slip("fine_tune", (", label_smoothing=cfg.label_smoothing", "")), "are not smoothed"),
        (slip("fine_tune", ("cfg.epochs * iters", "iters")), "3 steps were taken, expected 9"),
        (slip("fine_tune", (LOGITS, "head(encoder(images, mask_ratio=0.0)[0][:, 0])")),
         "reads the first token alone"),
        (slip("fine_tune", (LOGITS, f"{LOGITS}.softmax(dim=1)")), "takes the softmax itself"),
        (slip("fine_tune", (LOGITS, "head(encoder(images, mask_ratio=0.0)[0].mean(dim=1).detach())"
                            )), "that is a linear probe"),
        (slip("fine_tune", ("        optimizer.zero_grad()\n", "")), "the later ones are not"),
    ],
}
