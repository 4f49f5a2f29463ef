def to_pixels(pred, images, patch_size):
    """Undo norm_pix with the statistics of the target's patches."""
    target = patchify(images, patch_size)
    std = (target.var(dim=-1, keepdim=True) + 1e-6).sqrt()
    return pred * std + target.mean(dim=-1, keepdim=True)


def total_loss(pred, images, mask, latent, patch_size, cfg):
    loss = mae_loss(pred, images, mask, patch_size, cfg.norm_pix)
    if cfg.lambda_freq:
        rows, cols = images.shape[2] // patch_size, images.shape[3] // patch_size
        pixels = to_pixels(pred, images, patch_size) if cfg.norm_pix else pred
        pred_img = unpatchify(pixels, patch_size, rows, cols)
        mask_img = unpatchify(mask[:, :, None].expand_as(pred), patch_size, rows, cols)[:, :1]
        loss = loss + cfg.lambda_freq * laplacian_loss_masked(pred_img, images, mask_img)
    if cfg.lambda_unif:
        loss = loss + cfg.lambda_unif * uniformity_loss(latent)
    return loss
