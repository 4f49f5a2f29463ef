"""Plausible wrong answers to the parts of notebook 08, and what the check must say."""

from slips import slip

PENALTY = "decay / 2 * weight.square().sum()"
SCORES = "x @ weight + bias"
SOLVER = 'max_iter=500, line_search_fn="strong_wolfe"'
LOGITS = "head(encoder(images, mask_ratio=0.0)[0].mean(dim=1))"

TRIO = "        optimizer.zero_grad()\n        loss.backward()\n"

WRONG = {
    "extract_features": [
        (slip("extract_features", ("    encoder.eval()\n", "    encoder.eval()\n"
                                   "    torch.set_grad_enabled(False)\n")),
         "You leave autograd switched off"),
        (slip("extract_features", ("encoder(x, mask_ratio=0.0)[0]",
                                   "torch.zeros(len(x), 16, 8)")), "does not call the encoder"),
        (slip("extract_features", ("x, mask_ratio=0.0", "x")), "Three quarters of each image"),
        (slip("extract_features", ("mask_ratio=0.0", "mask_ratio=0.5")),
         "nothing should be hidden, so pass mask_ratio=0.0"),
        (slip("extract_features", ("    encoder.eval()\n", "")), "is in training mode"),
        (slip("extract_features", ("with torch.no_grad()", "if True")), "carry a gradient"),
        (slip("extract_features", (".mean(dim=1)", "")), "You return all the tokens"),
        (slip("extract_features", ("images.split(batch_size)", "[images]")),
         "Your largest batch has size 10, but"),
        (slip("extract_features", ("images.split(batch_size)", "images.chunk(batch_size)")),
         "largest batch has size 4"),
        (slip("extract_features", ("images.split(batch_size)", "images.split(1)")),
         "largest batch has size 1,"),
        (slip("extract_features", ("images.split(batch_size)", "images.split(batch_size)[:-1]")),
         "has only 9 of the 10 images"),
        (slip("extract_features", ("torch.cat(found)", "found[0]")), "is the return inside the"),
        (slip("extract_features", (".mean(dim=1)", ".sum(dim=1)")), "the sum of the tokens"),
        (slip("extract_features", (".mean(dim=1)", ".amax(dim=1)")), "value of each feature"),
        (slip("extract_features", ("torch.cat(found)", "torch.cat(found[::-1])")),
         "The features of the last batch come first"),
        (slip("extract_features", ("torch.cat(found)", "F.normalize(torch.cat(found), dim=1)")),
         "divided by their length"),
        (slip("extract_features", ("torch.cat(found)", "found")),
         "but you return a list: join the features"),
        (slip("extract_features", ("torch.cat(found)", "torch.cat(found), None")),
         "you return a tuple: join the features of the batches with torch.cat, and return nothing"),
        (slip("extract_features", ("with torch.no_grad()", "if encoder.requires_grad_(False)")),
         "off the encoder's gradients for good"),
        (slip("extract_features", ("with torch.no_grad()", "if True"),
              ("torch.cat(found)", "torch.cat(found).detach()")), "detach() comes too late"),
        (slip("extract_features", ("with torch.no_grad()", "if True"),
              (".mean(dim=1)", ".mean(dim=1).detach()")), "Each batch builds a graph"),
        (slip("extract_features", ("def extract", "@torch.inference_mode()\ndef extract")),
         "instead of torch.inference_mode()"),
    ],
    "fit_probe": [
        (slip("fit_probe", ("bias.detach()", "bias")), "Return weight.detach() and bias.detach()"),
        (slip("fit_probe", (f" + {PENALTY}", "")), "The weight decay is missing"),
        (slip("fit_probe", ("decay / 2", "decay / 20")), "fit a decay of 0.01"),
        (slip("fit_probe", ("decay / 2", "decay")), "twice as strong as it should be"),
        (slip("fit_probe", (PENALTY, f"{PENALTY} + decay / 2 * bias.square().sum()")),
         "The bias decays too"),
        (slip("fit_probe", ("weight.square().sum()", "weight.square().mean()")),
         "take their sum of squares"),
        (slip("fit_probe", ("labels) +", "labels, reduction='sum') +")), "summed over images"),
        (slip("fit_probe", ("[weight, bias], max", "[weight], max")), "The bias stays at 0"),
        (slip("fit_probe", ("max_iter=500", "max_iter=2")), "the lowest possible is 0.263244"),
        (slip("fit_probe", (SOLVER, "")), "It has not converged yet"),
        (slip("fit_probe", ("LBFGS", "Adam"), (SOLVER, "lr=0.05"),
              ("    optimizer.step", "    for _ in range(1000): optimizer.step")),
         "It has not converged yet"),
        (slip("fit_probe", ("        optimizer.zero_grad()\n", "")), "begin with optimizer.zero"),
        (slip("fit_probe", (f"+ {PENALTY}", f"- {PENALTY}")), "Is the decay subtracted"),
        (slip("fit_probe", ("weight.square()", "weight.abs()")), "compute the mean cross-entropy"),
        (slip("fit_probe", ("    weight =", "    x = x - x.mean(0)\n    weight =")),
         "minus its mean"),
        (slip("fit_probe", ("    weight =", "    x = (x - x.mean(0)) / x.std(0)\n    weight =")),
         "You standardise x"),
        (slip("fit_probe", ("    weight =", "    x = nn.BatchNorm1d(x.shape[1], affine=False)(x)\n"
                                            "    weight =")), "Fit it as it is given"),
        (slip("fit_probe", ("weight.detach()", "weight.detach().T.reshape(weight.shape)")),
         "the right numbers in the wrong places"),
        (slip("fit_probe", ("        loss.backward()\n", "")), "Nothing was fitted"),
        (slip("fit_probe", ("        loss.backward()\n", ""), ("torch.zeros", "torch.rand")),
         "Does closure call loss.backward()"),
        (slip("fit_probe", ("        return loss\n", "")), "Your closure returns nothing"),
        (slip("fit_probe", (SCORES, f"({SCORES}).softmax(dim=1)")), "applies the softmax itself"),
        (slip("fit_probe", ("weight.detach(),", "weight.detach().double(),")),
         "should be torch.float32"),
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
         "throughout; call schedule_learning_rate"),
        (slip("fine_tune", ("mask_ratio=0.0", "mask_ratio=0.5")), "with mask ratios [0.5]"),
        (slip("fine_tune", ("encoder(images, mask_ratio=0.0)[0].mean(dim=1)",
                            "extract_features(encoder, images)")), "not use extract_features"),
        (slip("fine_tune", (' * group.get("lr_scale", 1.0)', ' * group.get("lr_scale", 0)')),
         "The head's group keeps the rate 0.00"),
        (slip("fine_tune", ("optimizer.param_groups", "optimizer.param_groups[:1]")),
         "The head's group keeps the rate 9.00"),
        (slip("fine_tune", ("    losses = []", "    losses = []\n    optimizer = torch.optim.AdamW("
                                               "optimizer.param_groups)")), "took 0 steps"),
        (slip("fine_tune", ("        optimizer.step()", "        head.zero_grad()\n"
                            "        optimizer.step()")), "The head does not change"),
        (slip("fine_tune", ("=cfg.label_smoothing", "=0.1")), "which is 0.2 here"),
        (slip("fine_tune", (", label_smoothing=cfg.label_smoothing", "")), "are not smoothed"),
        (slip("fine_tune", ("cfg.epochs * iters", "iters")), "took 3 steps, but it should take 9"),
        (slip("fine_tune", (LOGITS, "head(encoder(images, mask_ratio=0.0)[0][:, 0])")),
         "reads the first token alone"),
        (slip("fine_tune", (LOGITS, f"{LOGITS}.softmax(dim=1)")), "applies the softmax itself"),
        (slip("fine_tune", (LOGITS, "head(encoder(images, mask_ratio=0.0)[0].mean(dim=1).detach())"
                            )), "that is a linear probe"),
        (slip("fine_tune", ("        optimizer.zero_grad()\n", "")), "but the later ones are not"),
        (slip("fine_tune", (TRIO, "        loss.backward()\n        optimizer.zero_grad()\n")),
         "zero_grad is called between backward and step"),
        (slip("fine_tune", ("        loss.backward()\n", "")), "is loss.backward() called before"),
        (slip("fine_tune", ("batch_at(step)", "batch_at(i)")), "batch_at with [0, 1, 2, 0,"),
        (slip("fine_tune", ("learning_rate(epoch, i,", "learning_rate(epoch, 0,")),
         "At step 2 the learning rate is 0.0000, but it should be 0.1333"),
    ],
}

NEWTON = """
def fit_probe(x, labels, classes, decay):
    x = F.pad(x, (0, 1), value=1.0)  # for the bias
    right = F.one_hot(labels, classes).float()
    decays = torch.full((x.shape[1], classes), decay)
    decays[-1] = 0
    w = torch.zeros_like(decays)
    for _ in range(12):
        p = (x @ w).softmax(dim=1)
        gradient = x.T @ (p - right) / len(x) + decays * w
        curved = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]  # (N, C, C)
        hessian = torch.einsum("nd,ncb,ne->dceb", x, curved, x) / len(x)
        hessian = hessian.reshape(w.numel(), -1) + torch.diag(decays.flatten())
        w = w - (torch.linalg.pinv(hessian) @ gradient.flatten()).reshape(w.shape)
    return w[:-1], w[-1]
"""
ALSO_RIGHT = {
    "extract_features": [
        slip("extract_features", ("images.split(batch_size)", "images.chunk(-(-len(images) // "
                                                              "batch_size))")),
        slip("extract_features", ("with torch.no_grad()", "if encoder.requires_grad_(False)"),
             ("    return", "    encoder.requires_grad_(True)\n    return")),
    ],
    "fit_probe": [
        NEWTON,
        slip("fit_probe", ("max_iter=500", "max_iter=300"), ("torch.zeros", "torch.rand")),
        slip("fit_probe", (SOLVER, "max_iter=500")),
        slip("fit_probe", (SOLVER, ""), ("    optimizer.step",
                                         "    for _ in range(50): optimizer.step")),
    ],
    "fine_tune": [slip("fine_tune", ("images, labels = batch_at(step)",
                                     "images = batch_at(step)[0]; labels = batch_at(step)[1]"))],
}
