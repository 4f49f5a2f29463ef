"""Plausible wrong answers to the parts of notebook 07, and what the check must say."""

from slips import slip

LAPLACIAN = "loss + cfg.lambda_freq * laplacian"
UNIFORM = "loss + cfg.lambda_unif * uniformity"
AUTOCAST = 'torch.autocast(images.device.type, torch.bfloat16, enabled=cfg.precision == "bf16")'
HALF = ', enabled=cfg.precision == "bf16"'
LOSS = "    loss = total_loss(pred.float(), images, mask, latent.float(), model.patch_size, cfg)\n"
UNITS = """
def units(pred, images, patch_size, cfg):
    if not cfg.norm_pix:
        return pred
    patches = patchify(images, patch_size)
    std = (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return pred * std + patches.mean(dim=-1, keepdim=True)


"""
TRIO = "    optimizer.zero_grad()\n    loss.backward()\n"

WRONG = {
    "total_loss": [
        (slip("total_loss", ("patch_size, cfg.norm_pix)", "patch_size)")),
         "you ignore norm_pix in the reconstruction loss. Pass"),
        (slip("total_loss", ("if cfg.norm_pix:", "if False:")), "Bring it back to pixels"),
        (slip("total_loss", (" + patches.mean(dim=-1, keepdim=True)", "")),
         "the mean is not added back"),
        (slip("total_loss", ("if cfg.norm_pix:", "if True:")), "is already in pixels"),
        (slip("total_loss", ("(patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()",
                             "patches.var(dim=-1, keepdim=True)")), "by the root of the variance"),
        (slip("total_loss", ("keepdim=True) + 1e-6", "keepdim=True, unbiased=False) + 1e-6")),
         "but mae_loss divides by n − 1"),
        (slip("total_loss", ("unpatchify(mask[", "unpatchify(1 - mask[")),
         "looks at the visible patches"),
        (slip("total_loss", ("*grid)[:, :1]", "*grid)")), "Keep one channel"),
        (slip("total_loss", (LAPLACIAN, "loss + laplacian"), (UNIFORM, "loss + uniformity")),
         "without their weights"),
        (slip("total_loss", ("if cfg.lambda_freq", "if False")), "the Laplacian term is missing"),
        (slip("total_loss", ("if cfg.lambda_unif", "if False")), "the uniformity term is missing"),
        (slip("total_loss", (UNIFORM, "loss - cfg.lambda_unif * uniformity")), "the wrong sign"),
        (slip("total_loss", ("loss = loss + cfg", "loss = cfg")), "reconstruction loss itself"),
        (slip("total_loss", ("uniformity_loss(latent)", "uniformity_loss(latent.detach())")),
         "their gradient is not"),
        (UNITS + slip("total_loss", ("loss = mae_loss(pred, images", "loss = mae_loss(units(pred, "
                                     "images, patch_size, cfg), images")),
         "Convert it only for the Laplacian"),
        (slip("total_loss", ("pred * std + patches.mean(dim=-1, keepdim=True)",
                             "(pred + patches.mean(dim=-1, keepdim=True)) * std")),
         "multiply by the standard deviation first"),
        (slip("total_loss", ("patches = patchify(images, patch_size)", "patches = pred")),
         "of the true patches, not of pred"),
        (slip("total_loss", ("patches.var(dim=-1", "patches.var(dim=1"),
              ("patches.mean(dim=-1", "patches.mean(dim=1")), "over the last axis"),
        (slip("total_loss", ("mask[:, :, None].expand_as", "torch.ones_like")),
         "looks at all patches"),
        (slip("total_loss", ("loss = mae_loss(pred, images, mask", "loss = mae_loss(pred, images, "
                             "1 - mask")), "mae_loss needs the mask as it is"),
        (slip("total_loss", (LAPLACIAN, "loss - cfg.lambda_freq * laplacian")),
         "the Laplacian term has the wrong sign"),
        (slip("total_loss", ("uniformity_loss(latent)", "uniformity_loss(pred)")),
         "the encoder's tokens, latent, not pred"),
        (slip("total_loss", ("loss + cfg.lambda_freq", "loss + 0.05"),
              ("loss + cfg.lambda_unif", "loss + 0.01")), "since they differ from run to run"),
        (slip("total_loss", ("if cfg.lambda_freq", "if True"), ("if cfg.lambda_unif", "if True"),
              ("loss + cfg.lambda_freq", "loss + 0.05"), ("loss + cfg.lambda_unif", "loss + 0.01")),
         "your function adds terms with the weights 0.05"),
        (slip("total_loss", ("if cfg.lambda_freq", "if True"), ("if cfg.lambda_unif", "if True"),
              (LAPLACIAN, "loss + cfg.lambda_unif * laplacian"),
              (UNIFORM, "loss + cfg.lambda_freq * uniformity")), "the two terms are swapped"),
        (slip("total_loss", ("unpatchify(mask[:, :, None].expand_as(pred), patch_size, *grid)[:, "
                             ":1]", "mask.reshape(-1, 1, *grid)")), "make a mask_img of shape"),
        (slip("total_loss", ("shape[2] //", "shape[0 + 3] //"), ("shape[3] //", "shape[2] //")),
         "Your rows and cols are swapped"),
        (slip("total_loss", ("grid = images", "patch_size = cfg.patch_size\n        grid = "
                             "images")), "Do not use cfg.patch_size"),
    ],
    "train_step": [
        (slip("train_step", ("    optimizer.zero_grad()\n", "")),
         "Gradients of earlier steps are added"),
        (slip("train_step", ("    loss.backward()\n", "")), "is loss.backward() called"),
        (slip("train_step", ("    optimizer.step()\n", "")),
         "step() of the given optimizer 0 times"),
        (slip("train_step", ("    optimizer.step()\n", "    optimizer.step()\n" * 2)),
         "step() of the given optimizer 2 times"),
        (slip("train_step", ("in optimizer.param_groups", "in optimizer.param_groups[:1]")),
         "for every group in optimizer.param_groups"),
        (slip("train_step", ('        group["lr"] = lr\n', "        pass\n")), "have the rates"),
        (slip("train_step", ("model(images, mask_ratio)", "model(images)")),
         "called with mask ratios [0.75]"),
        (slip("train_step", ("return loss.detach()", "return loss")), "the whole graph"),
        (slip("train_step", ("return loss.detach()", "return loss.item()")),
         "The loss should be a tensor: return loss.detach()"),
        (slip("train_step", ("total_loss(pred.float(), images, mask, latent.float(), "
                             "model.patch_size, cfg)",
                             "mae_loss(pred, images, mask, model.patch_size, cfg.norm_pix)")),
         "After step 1 the weights are wrong"),
        (slip("train_step", ("    loss.backward()\n    optimizer.step()\n",
                             "    optimizer.step()\n    loss.backward()\n")),
         "is loss.backward() called before optimizer.step()"),
        (slip("train_step", (TRIO, "    loss.backward()\n    optimizer.zero_grad()\n")),
         "zero_grad is called between backward and step"),
        (slip("train_step", (HALF, "")), "the model ran under autocast"),
        (slip("train_step", (AUTOCAST, "torch.enable_grad()")), "did not compute in bfloat16"),
        (slip("train_step", ("images.device.type", '"cuda"')), "images.device.type"),
        (slip("train_step", ("torch.bfloat16", "torch.float16")),
         "autocast uses float16 on a GPU"),
        (slip("train_step", ("torch.bfloat16, ", "")), "write dtype=torch.bfloat16"),
        (slip("train_step", ('== "bf16"', '== "bfloat16"')), "If you pass enabled, make sure"),
        (slip("train_step", ("return loss.detach()", "return loss.detach().double()")),
         "yours is in torch.float64"),
        (slip("train_step", ("    for group", "    torch.manual_seed(0)\n    for group")),
         "Every step hides the same patches"),
        (slip("train_step", ("model.patch_size", "cfg.patch_size")), "takes model.patch_size"),
        (slip("train_step", (LOSS, "    " + LOSS)), "after the autocast block"),
        (slip("train_step", (LOSS, "    " + LOSS.replace(".float()", ""))),
         "is computed in 16 bits"),
        (slip("train_step", ("latent.float()", "latent")), "pred.float() and latent.float()"),
        (slip("train_step", ("    with", "    if cfg.precision == 'bf16':\n"
                                         "        model = model.bfloat16()\n    with")),
         "converts the weights themselves"),
    ],
    "train": [
        (slip("train", ("cfg.epochs * iters", "cfg.epochs")),
         "3 steps were taken. There should be 12, from step 0 to step 11"),
        (slip("train", ("range(start, ", "range(")), "With start=5, 12 steps were taken"),
        (slip("train", ("    return torch", "        return torch")), "Only one step was taken"),
        (slip("train", ("range(start, ", "range(start * iters, ")), "Your list of losses is empty"),
        (slip("train", ("batch_at(step)", "batch_at(i)")), "✗ Batches were asked for at steps"),
        (slip("train", ("batch_at(step)", "batch_at(step - start)")),
         "ask once for each step, beginning with step 5"),
        (slip("train", ("    losses = []", "    batches = [batch_at(step) for step in range(start, "
                        "cfg.epochs * iters)]\n    losses = []"),
              ("optimizer, batch_at(step)", "optimizer, batches[step - start]")),
         "at the beginning of its step, not earlier"),
        (slip("train", ("lr, mask_ratio, cfg)", "mask_ratio, lr, cfg)")), "takes lr first"),
        (slip("train", ("schedule_learning_rate(epoch, i,", "schedule_learning_rate(epoch, 0,")),
         "the learning rate is 0.0000, but it should be 0.0500"),
        (slip("train", ("schedule_learning_rate(epoch, i, iters, cfg)", "cfg.lr")),
         "The learning rate is 0.200 throughout"),
        (slip("train", ("schedule_mask_ratio(epoch, i, iters, cfg)", "cfg.mask_ratio")),
         "The mask ratio is 0.750 throughout; call the schedule again"),
        (slip("train", ("divmod(step, iters)", "divmod(step + 1, iters)")), "divmod(step, iters)"),
        (slip("train", ("    model.train()\n", "")), "call model.train() first"),
        (slip("train", ("return torch.stack(losses)", "return losses")), "should be a tensor"),
    ],
}

ALSO_RIGHT = {
    "total_loss": [
        slip("total_loss", ("images.shape[2] // patch_size, images.shape[3] // patch_size",
                            "[int(mask.shape[1] ** 0.5)] * 2")),
    ],
    "train": [
        slip("train", ("batch_at(step), lr", "batch, lr"),
             ("        lr =", "        batch = batch_at(step)\n        lr =")),
    ],
    "train_step": [
        slip("train_step", ("optimizer.zero_grad()", "model.zero_grad()")),
        slip("train_step", (AUTOCAST, AUTOCAST.replace(HALF, "") + ' if cfg.precision == "bf16" '
                                      "else torch.enable_grad()")),
    ],
}
