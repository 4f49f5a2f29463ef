class PatchEmbed(nn.Module):
    def __init__(self, patch_size, dim):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)

    def forward(self, images):
        return self.proj(images).flatten(2).transpose(1, 2)  # (B, L, D)


class Encoder(nn.Module):
    def __init__(self, img_size, patch_size, dim, depth, num_heads):
        super().__init__()
        side = img_size // patch_size
        self.patch_embed = PatchEmbed(patch_size, dim)
        self.register_buffer("pos_embed", sincos_positions(dim, side, side)[None])
        self.blocks = nn.Sequential(*[Block(dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, images, mask_ratio=0.75, noise=None):
        x = self.patch_embed(images) + self.pos_embed  # (B, L, D)
        x, mask, ids_restore = random_masking(x, mask_ratio, noise)
        return self.norm(self.blocks(x)), mask, ids_restore
