def initialise(module):
    if isinstance(module, (nn.Linear, nn.Conv2d)):
        nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
        nn.init.zeros_(module.bias)


class MAE(nn.Module):
    def __init__(self, img_size=224, patch_size=16, embed_dim=192, depth=8, num_heads=6,
                 decoder_embed_dim=128, decoder_depth=4, decoder_num_heads=4):
        super().__init__()
        self.patch_size = patch_size
        self.encoder = Encoder(img_size, patch_size, embed_dim, depth, num_heads)
        self.decoder = Decoder(img_size, patch_size, embed_dim, decoder_embed_dim,
                               decoder_depth, decoder_num_heads)
        self.apply(initialise)
        nn.init.normal_(self.decoder.mask_token, std=0.02)

    def forward(self, images, mask_ratio=0.75, noise=None):
        latent, mask, ids_restore = self.encoder(images, mask_ratio, noise)
        pred = self.decoder(latent, ids_restore)
        return pred, mask, latent
