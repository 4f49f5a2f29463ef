def unpatchify(patches, patch_size, rows, cols):
    b = len(patches)
    x = patches.reshape(b, rows, cols, patch_size, patch_size, 3)
    x = x.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, p, cols, p)
    return x.reshape(b, 3, rows * patch_size, cols * patch_size)
