"""Plausible wrong answers to the parts of notebook 07, and what the check must say."""

from slips import slip

LAPLACIAN = "loss + cfg.lambda_freq * laplacian"
UNIFORM = "loss + cfg.lambda_unif * uniformity"
AUTOCAST = 'torch.autocast(images.device.type, torch.bfloat16, enabled=cfg.precision == "bf16")'
HALF = ', enabled=cfg.precision == "bf16"'
LOSS = "    loss = total_loss(pred.float(), images, mask, latent.float(), model.patch_size, cfg)\n"
TRIO = "    optimizer.zero_grad()\n    loss.backward()\n"

WRONG = {
    "parameter_groups": [
        (slip("parameter_groups", (' or name.endswith("_token")', "")), "is a token"),
        (slip("parameter_groups", ("parameter.ndim < 2", 'name.endswith("bias")')),
         "a norm's scale, a vector"),
        (slip("parameter_groups", ("parameter.ndim < 2", "parameter.ndim != 2")),
         "though stored with four dimensions"),
        (slip("parameter_groups", ("(others if alone", "(matrices if alone"),
              ("else matrices)", "else others)")), "the other way round"),
        (slip("parameter_groups", ('"weight_decay": 0.0', '"weight_decay": weight_decay')),
         "Everything decays"),
        (slip("parameter_groups", ('"weight_decay": weight_decay', '"weight_decay": 0.0')),
         "Nothing decays"),
        (slip("parameter_groups", ('"weight_decay": weight_decay', '"weight_decay": 0.05')),
         "The weight decay should be 0.3"),
        ("def parameter_groups(model, weight_decay):\n"
         "    return [{'params': [p for p in model.parameters() if p.ndim > 1],\n"
         "             'weight_decay': weight_decay}]", "is in no group"),
        ("def parameter_groups(model, weight_decay):\n    return list(model.parameters())",
         "Return a list of dicts"),
        ("def parameter_groups(model, weight_decay):\n"
         "    return [{'params': list(model.parameters())}]", "Each group needs"),
        (slip("parameter_groups", (".append(parameter)", ".append((name, parameter))")),
         "of each pair (name, parameter), keep the second"),
    ],
    "total_loss": [
        (slip("total_loss", ("patch_size, cfg.norm_pix)", "patch_size)")), "you ignore norm_pix"),
        (slip("total_loss", ("if cfg.norm_pix:", "if False:")), "Bring it back to pixels"),
        (slip("total_loss", (" + patches.mean(dim=-1, keepdim=True)", "")),
         "the mean is not added back"),
        (slip("total_loss", ("if cfg.norm_pix:", "if True:")), "is already in pixels"),
        (slip("total_loss", ("(patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()",
                             "patches.var(dim=-1, keepdim=True)")), "by the root of the variance"),
        (slip("total_loss", ("keepdim=True) + 1e-6", "keepdim=True, unbiased=False) + 1e-6")),
         "without unbiased=False"),
        (slip("total_loss", ("unpatchify(mask[", "unpatchify(1 - mask[")),
         "looks at the visible patches"),
        (slip("total_loss", ("*grid)[:, :1]", "*grid)")), "keep one channel"),
        (slip("total_loss", (LAPLACIAN, "loss + laplacian"), (UNIFORM, "loss + uniformity")),
         "without their weights"),
        (slip("total_loss", ("if cfg.lambda_freq", "if False")), "the Laplacian term is missing"),
        (slip("total_loss", ("if cfg.lambda_unif", "if False")), "the uniformity term is missing"),
        (slip("total_loss", (UNIFORM, "loss - cfg.lambda_unif * uniformity")), "the wrong sign"),
        (slip("total_loss", ("loss = loss + cfg", "loss = cfg")), "reconstruction loss itself"),
        (slip("total_loss", ("uniformity_loss(latent)", "uniformity_loss(latent.detach())")),
         "their gradient is not"),
    ],
    "train_step": [
        (slip("train_step", ("    optimizer.zero_grad()\n", "")),
         "Gradients of earlier steps are added"),
        (slip("train_step", ("    loss.backward()\n", "")), "is loss.backward() called"),
        (slip("train_step", ("    optimizer.step()\n", "")), "optimizer.step() was not called"),
        (slip("train_step", ("in optimizer.param_groups", "in optimizer.param_groups[:1]")),
         "every one of optimizer.param_groups"),
        (slip("train_step", ('        group["lr"] = lr\n', "        pass\n")), "have the rates"),
        (slip("train_step", ("model(images, mask_ratio)", "model(images)")),
         "called with mask ratios [0.75]"),
        (slip("train_step", ("return loss.detach()", "return loss")), "the whole graph"),
        (slip("train_step", ("return loss.detach()", "return loss.item()")),
         "should be a tensor, got float"),
        (slip("train_step", ("total_loss(pred.float(), images, mask, latent.float(), "
                             "model.patch_size, cfg)",
                             "mae_loss(pred, images, mask, model.patch_size, cfg.norm_pix)")),
         "the weights are not where they should be"),
        (slip("train_step", ("    loss.backward()\n    optimizer.step()\n",
                             "    optimizer.step()\n    loss.backward()\n")),
         "is loss.backward() called before optimizer.step()"),
        (slip("train_step", (TRIO, "    loss.backward()\n    optimizer.zero_grad()\n")),
         "zero_grad is called between backward and step"),
        (slip("train_step", (HALF, "")), "the model ran under autocast"),
        (slip("train_step", (AUTOCAST, "torch.enable_grad()")), "did not compute in bfloat16"),
        (slip("train_step", ("images.device.type", '"cuda"')), "images.device.type"),
        (slip("train_step", ("torch.bfloat16", "torch.float16")), "did not compute in bfloat16"),
        (slip("train_step", (LOSS, "    " + LOSS)), "after the autocast block"),
        (slip("train_step", (LOSS, "    " + LOSS.replace(".float()", ""))),
         "is computed in 16 bits"),
        (slip("train_step", ("latent.float()", "latent")), "pred.float() and latent.float()"),
        (slip("train_step", ("    with", "    if cfg.precision == 'bf16':\n"
                                         "        model = model.bfloat16()\n    with")),
         "converts the weights themselves"),
    ],
    "train": [
        (slip("train", ("cfg.epochs * iters", "cfg.epochs")), "3 steps were taken, expected 12"),
        (slip("train", ("range(start, ", "range(")), "less those before start"),
        (slip("train", ("range(start, ", "range(")), "From step 5 to 11: 12 steps were taken"),
        (slip("train", ("batch_at(step)", "batch_at(i)")), "batches were asked for at steps"),
        (slip("train", ("schedule_learning_rate(epoch, i,", "schedule_learning_rate(epoch, 0,")),
         "the learning rate is 0.0000, expected"),
        (slip("train", ("schedule_learning_rate(epoch, i, iters, cfg)", "cfg.lr")),
         "the learning rate is 0.200 throughout"),
        (slip("train", ("schedule_mask_ratio(epoch, i, iters, cfg)", "cfg.mask_ratio")),
         "the mask ratio is 0.750 throughout"),
        (slip("train", ("divmod(step, iters)", "divmod(step + 1, iters)")), "divmod(step, iters)"),
        (slip("train", ("    model.train()\n", "")), "call model.train() first"),
        (slip("train", ("return torch.stack(losses)", "return losses")), "should be a tensor"),
    ],
}

ALSO_RIGHT = {
    "train_step": [
        slip("train_step", ("optimizer.zero_grad()", "model.zero_grad()")),
        slip("train_step", (AUTOCAST, AUTOCAST.replace(HALF, "") + ' if cfg.precision == "bf16" '
                                      "else torch.enable_grad()")),
    ],
}
