def random_masking(x, mask_ratio, noise=None):
    b, length, d = x.shape
    if noise is None:
        noise = torch.rand(b, length, device=x.device)
    num_visible = int(length * (1 - mask_ratio))
    ids_shuffle = noise.argsort(dim=1)
    ids_restore = ids_shuffle.argsort(dim=1)
    ids_keep = ids_shuffle[:, :num_visible]
    x_vis = x.gather(1, ids_keep[:, :, None].expand(-1, -1, d))
    mask = (ids_restore >= num_visible).float()
    return x_vis, mask, ids_restore
