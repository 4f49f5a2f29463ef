"""Plausible wrong answers to the parts of notebook 03, and what the check must say."""

from slips import slip

SDPA = "F.scaled_dot_product_attention(q, k, v)"
SIZE = "(d // self.num_heads)"


def attention(scores, *more):
    return slip("Attention", (SDPA, scores), *more)


WRONG = {
    "Attention": [
        (attention("(q @ k.mT).softmax(-1) @ v"), "The scores are not divided"),
        (attention("(q @ k.mT / d**0.5).softmax(-1) @ v"), "so it is √6"),
        (attention(f"(q @ k.mT / {SIZE}**0.5).softmax(-2) @ v"), "runs over the queries"),
        (attention(f"(q @ k.mT / {SIZE}**0.5) @ v"), "There is no softmax"),
        (attention(f"(k @ q.mT / {SIZE}**0.5).softmax(-1) @ v"), "Queries and keys are swapped"),
        (slip("Attention", ("q, k, v = qkv", "v, k, q = qkv")), "in this order"),
        (slip("Attention", ("x.transpose(1, 2).reshape", "x.reshape")),
         "joined in the wrong order"),
        (slip("Attention", ("self.proj(x.transpose(1, 2).reshape(b, n, d))",
                            "x.transpose(1, 2).reshape(b, n, d)")), "proj is not applied"),
        (slip("Attention", ("n, 3, self.num_heads, d", "n, self.num_heads, 3, d"),
              ("permute(2, 0, 3, 1, 4)", "permute(3, 0, 2, 1, 4)")), "as (heads, 3, size)"),
        (slip("Attention", ("self.num_heads = num_heads", "self.num_heads = 1")),
         "through one head"),
        (slip("Attention", ("self.proj", "self.out")), "hold proj.weight"),
        (slip("Attention", ("3 * dim)", "3 * dim, bias=False)")), "hold qkv.bias"),
        (slip("Attention", ("= self.qkv(x)", "= self.qkv(x.detach())")),
         "their gradient is not"),
        ("Attention = nn.Linear(3, 3)", "a class that inherits from nn.Module"),
    ],
    "Block": [
        (slip("Block", ("x = x + self.attn(self.norm1(x))", "x = self.norm1(x + self.attn(x))"),
              ("x + self.mlp(self.norm2(x))", "self.norm2(x + self.mlp(x))")), "post-norm"),
        (slip("Block", ("x = x + self.attn", "x = self.attn"), ("return x + ", "return ")),
         "Nothing is added to x"),
        (slip("Block", ("x = x + self.attn", "x = self.attn")), "The first sum is missing"),
        (slip("Block", ("return x + ", "return ")), "The second sum is missing"),
        (slip("Block", ("self.norm2(x)", "self.norm1(x)")), "norm1 is used twice"),
        (slip("Block", ("self.norm2(x)", "x"), ("self.norm1(x)", "x")), "No norm is used"),
        (slip("Block", ("F.gelu", "F.relu")), "it is a GELU"),
        (slip("Block", ("F.gelu(self.fc1(x))", "self.fc1(x)")), "nothing between its two layers"),
        (slip("Block", (", eps=1e-6", "")), "eps is 1e-5 by default"),
        (slip("Block", ("self.attn(self.norm1(x))", "self.mlp(self.norm2(x))"),
              ("return x + self.mlp(self.norm2(x))", "return x + self.attn(self.norm1(x))")),
         "The MLP comes before attention"),
        (slip("Block", ("4 * dim", "2 * dim")), "mlp.fc1.weight should have shape (32, 8)"),
        (slip("Block", ("self.norm2 = nn", "self.norm3 = nn"), ("self.norm2(x)", "self.norm3(x)")),
         "hold norm2.weight"),
    ],
    "Encoder": [
        (slip("Encoder", (" + self.pos_embed", "")), "The positions are not added"),
        (slip("Encoder", (" + self.pos_embed", ""),
              ("        for block", "        x = x + self.pos_embed[:, :x.shape[1]]\n"
               "        for block")), "the positions of the first places"),
        (slip("Encoder", ("return self.norm(x)", "return x")), "behind the last block is missing"),
        (slip("Encoder", ("x = block(x)", "pass")), "The blocks are not used"),
        (slip("Encoder", ("in self.blocks", "in self.blocks[:1]")), "Only the first block"),
        (slip("Encoder", ("        x, mask, ids",
                          "        for block in self.blocks: x = block(x)\n"
                          "        x, mask, ids"),
              ("            x = block(x)\n", "            0\n")),
         "have seen what they should predict"),
        (slip("Encoder", ("mask_ratio, noise)", "mask_ratio)")), "hand noise on"),
        (slip("Encoder", ("random_masking(x, mask_ratio,", "random_masking(x, 0.75,")),
         "should have shape (2, 8, 8)"),
        (slip("Encoder", ('self.register_buffer("pos_embed", sincos_positions(dim, side, side)'
                          '[None])', "self.pos_embed = nn.Parameter(sincos_positions("
                          "dim, side, side)[None])")), "pos_embed is a parameter"),
        (slip("Encoder", ("sincos_positions(dim, side, side)[None]",
                          "torch.zeros(1, side**2, dim)")), "should hold sincos_positions"),
        (slip("Encoder", ("self.norm(x), mask, ids_restore", "self.norm(x)")),
         "Return three tensors"),
    ],
    "Decoder": [
        (slip("Decoder", ("x = x + self.pos_embed", "pass")), "The positions are not added"),
        (slip("Decoder", (".gather(1, ids_restore[:, :, None].expand(-1, -1, d))", "")),
         "The order is not restored"),
        (slip("Decoder", ("torch.cat([x, hidden], dim=1)",
                          "(torch.cat([x, hidden], dim=1) + self.pos_embed)"),
              ("x = x + self.pos_embed", "pass")), "before the order is restored"),
        (slip("Decoder", ("ids_restore[:, :, None]", "ids_restore.argsort(1)[:, :, None]")),
         "shuffles once more"),
        (slip("Decoder", ("[x, hidden]", "[x, 0 * hidden]")), "The holes hold zeros"),
        (slip("Decoder", ("[x, hidden]", "[hidden, x]")), "in front of the visible ones"),
        (slip("Decoder", ("self.pred(self.norm(x))", "self.pred(x)")),
         "behind the last block is missing"),
        (slip("Decoder", ("x = block(x)", "pass")), "no token hears of another"),
        (slip("Decoder", ("ids_restore[:, :, None]", "ids_restore[:1, :, None]"),
              ("expand(-1, -1, d))", "expand(b, -1, d))")), "the order of the first one"),
        (slip("Decoder", ("self.mask_token", "self.token")), "hold mask_token"),
        (slip("Decoder", ("* 3)", "* 1)")), "pred.weight should have shape"),
    ],
    "MAE": [
        (slip("MAE", ("self.decoder(latent, ids_restore), mask, latent",
                      "latent, mask, self.decoder(latent, ids_restore)")),
         "The encoder's tokens come first"),
        (slip("MAE", ("ids_restore), mask, latent", "ids_restore), mask")),
         "Return three tensors"),
        (slip("MAE", ("mask_ratio, noise)\n", "mask_ratio)\n")), "hand mask_ratio and noise on"),
        (slip("MAE", ("self.encoder(images, mask_ratio, noise)",
                      "self.encoder(images, noise=noise)")), "of this noise at ratio 0.4"),
        (slip("MAE", ("nn.init.zeros_(module.bias)", "pass")), "should start at 0"),
        (slip("MAE", ("xavier_uniform_", "kaiming_uniform_")), "Xavier's uniform"),
        (slip("MAE", ("nn.init.normal_(self.decoder.mask_token, std=0.02)", "pass")),
         "mask_token starts with"),
        (slip("MAE", ("self.patch_size = patch_size", "pass")), "Keep the patch size"),
        (slip("MAE", ("self.decoder(latent, ids_restore)",
                      "self.decoder(latent, ids_restore.argsort(1))")), "not the decoder's"),
        (slip("MAE", ("self.encoder", "self.enc")), "hold encoder."),
        (slip("MAE", ("mask_ratio=0.75", "mask_ratio=0.5")), "by default mask_ratio"),
        (slip("MAE", ("self.decoder(latent, ", "self.decoder(latent.detach(), ")),
         "their gradient is not"),
    ],
}
