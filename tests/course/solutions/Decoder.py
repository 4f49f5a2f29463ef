class Decoder(nn.Module):
    def __init__(self, img_size, patch_size, dim, decoder_dim, depth, num_heads):
        super().__init__()
        side = img_size // patch_size
        self.embed = nn.Linear(dim, decoder_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_dim))
        self.register_buffer("pos_embed", sincos_positions(decoder_dim, side, side)[None])
        self.blocks = nn.Sequential(*[Block(decoder_dim, num_heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(decoder_dim, eps=1e-6)
        self.pred = nn.Linear(decoder_dim, 3 * patch_size**2)

    def forward(self, latent, ids_restore):
        x = self.embed(latent)  # (B, L_vis, D')
        num_hidden = ids_restore.shape[1] - x.shape[1]
        x = torch.cat([x, self.mask_token.expand(len(x), num_hidden, -1)], dim=1)
        x = x.gather(1, ids_restore[:, :, None].expand_as(x))  # every token in its place
        return self.pred(self.norm(self.blocks(x + self.pos_embed)))
