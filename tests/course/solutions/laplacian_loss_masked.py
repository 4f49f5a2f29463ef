def laplacian(x):
    """The sum of the four neighbours minus four times the pixel: (B, C, H − 2, W − 2)."""
    up, down = x[..., :-2, 1:-1], x[..., 2:, 1:-1]
    left, right = x[..., 1:-1, :-2], x[..., 1:-1, 2:]
    return up + down + left + right - 4 * x[..., 1:-1, 1:-1]


def laplacian_loss_masked(pred_img, tgt_img, mask_img):
    composite = torch.where(mask_img > 0, pred_img, tgt_img)
    error = (laplacian(composite) - laplacian(tgt_img)).abs()
    inner = mask_img[..., 1:-1, 1:-1].expand_as(error)
    return (error * inner).sum() / inner.sum().clamp(min=1)
