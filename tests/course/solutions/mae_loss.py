def mae_loss(pred, images, mask, patch_size, norm_pix=False):
    target = patchify(images, patch_size)
    if norm_pix:
        mean = target.mean(dim=-1, keepdim=True)
        std = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
        target = (target - mean) / std
    error = ((pred - target) ** 2).mean(dim=-1)  # (B, L)
    return (error * mask).sum() / mask.sum()
