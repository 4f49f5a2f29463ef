def train_step(model, optimizer, images, lr, mask_ratio, cfg):
    for group in optimizer.param_groups:
        group["lr"] = lr
    half = cfg.precision == "bf16"
    with torch.autocast(images.device.type, dtype=torch.bfloat16, enabled=half):
        pred, mask, latent = model(images, mask_ratio)
    loss = total_loss(pred.float(), images, mask, latent.float(), model.patch_size, cfg)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.detach()
