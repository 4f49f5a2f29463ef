def patchify(images, patch_size):
    b, c, h, w = images.shape
    rows, cols = h // patch_size, w // patch_size
    x = images.reshape(b, c, rows, patch_size, cols, patch_size)
    x = x.permute(0, 2, 4, 3, 5, 1)  # (B, rows, cols, p, p, C)
    return x.reshape(b, rows * cols, patch_size * patch_size * c)
