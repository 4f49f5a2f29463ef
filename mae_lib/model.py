"""The masked autoencoder: a small Transformer, and an encoder that sees only visible patches.

Parameter names follow the official code (github.com/facebookresearch/mae), so that its checkpoints
load: `patch_embed.proj`, `blocks.0.attn.qkv`, `decoder_blocks.0.mlp.fc1`, `decoder_pred`, …
"""

import copy
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_lib.masking import num_visible_patches, random_mask_ids, take_patches
from mae_lib.patches import patchify, resample_positions, sincos_position_embedding
from mae_lib.runtime.checks import check_choice, check_shape, check_value

# torch 2.11 prefers cuDNN's attention on Hopper GPUs, and its gradients can be nan (pytorch/pytorch
# issue 196678, kyutai-labs/pocket-tts pull 264). On an H100 one of two fine-tuning runs with it
# went from finite losses to nan; the same two without it did not, nor did eight others.
torch.backends.cuda.enable_cudnn_sdp(False)

# Sizes of the encoder and decoder; the ViT ones are the official MAE's (He et al. 2022, table 1 and
# appendix A.1; Dosovitskiy et al. 2021).
OFFICIAL = dict(img_size=224, patch_size=16, num_heads=16, decoder_embed_dim=512, decoder_depth=8,
                decoder_num_heads=16, class_token=True)
PRESETS = {
    "specified": dict(img_size=224, patch_size=16, embed_dim=192, depth=8, num_heads=6,
                      decoder_embed_dim=128, decoder_depth=4, decoder_num_heads=4),
    "tiny": dict(img_size=48, patch_size=6, embed_dim=96, depth=4, num_heads=3,
                 decoder_embed_dim=64, decoder_depth=2, decoder_num_heads=2),
    "vit_base": {**OFFICIAL, "embed_dim": 768, "depth": 12, "num_heads": 12},
    "vit_large": {**OFFICIAL, "embed_dim": 1024, "depth": 24},
    "vit_huge": {**OFFICIAL, "embed_dim": 1280, "depth": 32, "patch_size": 14},
}


class MAEOutput(NamedTuple):
    """What `MaskedAutoencoder.forward` returns."""

    pred: Tensor  # (B, L, p²·3): the decoder's prediction for every patch, visible ones included;
    # or (B, L_hid, p²·3), that for the hidden ones alone, in the order of `hidden_ids`
    mask: Tensor  # (B, L): 1 = masked, 0 = visible
    ids_restore: Tensor  # (B, L): undoes the shuffle
    latent: Tensor  # (B, L_vis, D), or (B, 1 + L_vis, D) with a class token: the encoder's tokens
    patches: Tensor  # (B, L, p²·3): the images, cut into patches


def hidden_ids(ids_restore: Tensor, num_visible: int) -> Tensor:
    """Which patches are hidden, (B, L_hid), in shuffled order."""
    return ids_restore.argsort(dim=1)[:, num_visible:]


class PatchEmbed(nn.Module):
    """Linear projection of patches: (B, L, p²·3) → (B, L, embed_dim).

    The weight is stored as the official code's convolution (embed_dim, 3, p, p), but applied as a
    matrix product, so that only the patches that were kept are embedded.
    """

    def __init__(self, patch_size: int, embed_dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, embed_dim, patch_size, stride=patch_size)

    def forward(self, patches: Tensor) -> Tensor:
        weight = self.proj.weight.permute(0, 2, 3, 1).flatten(1)  # (D, p·p·3), as in patchify
        return F.linear(patches, weight, self.proj.bias)


class Attention(nn.Module):
    """Multi-head self-attention, (B, N, D) → (B, N, D) (Vaswani et al. 2017, section 3.2).

    With `ids` (B, K), only these tokens are queries; all are keys and values: (B, K, D).
    """

    def __init__(self, dim: int, num_heads: int):
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(f"The width {dim} must be a multiple of num_heads ({num_heads}).")
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, ids: Tensor | None = None) -> Tensor:
        b, n, d = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.num_heads, d // self.num_heads)
        q, k, v = qkv.unbind(2)  # each (B, N, heads, D / heads)
        if ids is not None:
            q = take_patches(q.flatten(2), ids).unflatten(2, q.shape[2:])  # (B, K, heads, …)
        q, k, v = (part.transpose(1, 2) for part in (q, k, v))  # each (B, heads, N, D / heads)
        if q.device.type == "cpu" and q.dtype == torch.bfloat16:
            # On CPUs, fused attention's backward pass is slower in bfloat16 than in float32; plain
            # products are faster than either.
            q, k, v = (part.contiguous() for part in (q, k, v))
            x = (q * q.shape[-1] ** -0.5 @ k.mT).softmax(dim=-1) @ v
        else:
            x = F.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(b, -1, d))


class Mlp(nn.Module):
    """Two linear layers with a GELU between: (B, N, D) → (B, N, D)."""

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm Transformer block: (B, N, D) → (B, N, D) (Dosovitskiy et al. 2021, 3.1).

    With `ids` (B, K) only these tokens are computed: (B, K, D).
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, int(dim * mlp_ratio + 1e-6))  # 8 / 3 may be a little too small

    def forward(self, x: Tensor, ids: Tensor | None = None) -> Tensor:
        attended = self.attn(self.norm1(x), ids)
        x = attended + (x if ids is None else take_patches(x, ids))
        return x + self.mlp(self.norm2(x))


class MaskedAutoencoder(nn.Module):
    """An asymmetric masked autoencoder (He et al. 2022, section 3).

    The encoder embeds and processes visible patches only. The decoder, narrower and shallower, sees
    their latent tokens and a learned mask token at every hidden place, and predicts all patches.
    With `decoder_depth` 0 there is an encoder alone, which has `features` but cannot reconstruct.

    Raises ValueError for sizes that do not fit together.
    """

    def __init__(self, img_size: int = 224, patch_size: int = 16, embed_dim: int = 192,
                 depth: int = 8, num_heads: int = 6, decoder_embed_dim: int = 128,
                 decoder_depth: int = 4, decoder_num_heads: int = 4, mlp_ratio: float = 4.0,
                 class_token: bool = False):
        super().__init__()
        self.config = dict(
            img_size=img_size, patch_size=patch_size, embed_dim=embed_dim, depth=depth,
            num_heads=num_heads, decoder_embed_dim=decoder_embed_dim, decoder_depth=decoder_depth,
            decoder_num_heads=decoder_num_heads, mlp_ratio=mlp_ratio, class_token=class_token)
        for name, value in self.config.items():
            kind = {"mlp_ratio": float, "class_token": bool}.get(name, int)
            check_value(name, value, kind, at_least=int(kind is int and "depth" not in name))
        self.patch_size, self.embed_dim = patch_size, embed_dim
        self._set_size(img_size)
        self.num_extra = int(class_token)  # tokens in front of the patch tokens

        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        if class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        position = sincos_position_embedding(embed_dim, self.grid, class_token)
        self.register_buffer("pos_embed", position[None])  # (1, [1 +] L, D)
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, mlp_ratio) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)

        if not decoder_depth:
            self.decoder_embed = self.mask_token = self.decoder_pos_embed = None
            self.decoder_blocks = self.decoder_norm = self.decoder_pred = None
            return self._initialise()
        self.decoder_embed = nn.Linear(embed_dim, decoder_embed_dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder_embed_dim))
        position = sincos_position_embedding(decoder_embed_dim, self.grid, class_token)
        self.register_buffer("decoder_pos_embed", position[None])
        self.decoder_blocks = nn.ModuleList(
            Block(decoder_embed_dim, decoder_num_heads, mlp_ratio) for _ in range(decoder_depth))
        self.decoder_norm = nn.LayerNorm(decoder_embed_dim, eps=1e-6)
        self.decoder_pred = nn.Linear(decoder_embed_dim, patch_size**2 * 3)
        self._initialise()

    @classmethod
    def from_preset(cls, name: str, **changes) -> "MaskedAutoencoder":
        """Build a preset by name, e.g. `from_preset("specified", img_size=64, patch_size=8)`."""
        check_choice("preset", name, PRESETS)
        return cls(**{**PRESETS[name], **changes})

    def _set_size(self, img_size: int) -> None:
        check_value("img_size", img_size, int, at_least=1)
        if img_size % self.patch_size:
            raise ValueError(
                f"img_size {img_size} must be a multiple of patch_size {self.patch_size}.")
        self.img_size = self.config["img_size"] = img_size
        self.grid = (img_size // self.patch_size,) * 2
        self.num_patches = self.grid[0] * self.grid[1]

    def at_size(self, img_size: int) -> "MaskedAutoencoder":
        """A copy for images of another size, with interpolated position embeddings.

        Embeddings computed for more patches would hold places that the model has never seen. The
        copy shares nothing with this model. Raises ValueError for a size that is not a multiple of
        the patch size.
        """
        model = copy.deepcopy(self)
        model._set_size(img_size)
        for name, embedding in list(model.named_buffers()):  # of the encoder and of the decoder
            setattr(model, name, resample_positions(embedding, model.grid, self.num_extra))
        return model

    def _initialise(self) -> None:
        """Xavier-uniform matrices, zero biases, small normal tokens, as in the official code.

        There, the bias of the patch embedding alone keeps PyTorch's small random values.
        """
        layers = [module for module in self.modules() if isinstance(module, nn.Linear)]
        for layer in (*layers, self.patch_embed.proj):
            nn.init.xavier_uniform_(layer.weight.flatten(1))
            nn.init.zeros_(layer.bias)
        for name in ("mask_token", "cls_token"):
            if getattr(self, name, None) is not None:
                nn.init.normal_(getattr(self, name), std=0.02)

    def encode(self, images: Tensor, ids_keep: Tensor | None = None) -> Tensor:
        """Encode the patches `ids_keep` (B, K) of images (B, 3, H, W), all of them by default.

        Returns the latent tokens after the final norm, (B, K, D), a class token in front if any.
        """
        self._check_images(images, self.img_size)
        if ids_keep is not None:
            check_shape(ids_keep, "ids_keep", len(images), "K")
            outside = (ids_keep < 0) | (ids_keep >= self.num_patches)
            whole = ids_keep.dtype in (torch.int32, torch.int64)
            if not whole or (not outside.is_meta and outside.any()):
                raise ValueError(f"ids_keep must be whole numbers in [0, {self.num_patches}).")
        return self._encode(patchify(images, self.patch_size), ids_keep, self.pos_embed)

    def _encode(self, patches: Tensor, ids_keep: Tensor | None, pos_embed: Tensor) -> Tensor:
        position = pos_embed[:, self.num_extra :].expand(len(patches), -1, -1)  # (B, L, D)
        if ids_keep is not None:
            patches = take_patches(patches, ids_keep)  # (B, K, p²·3)
            position = take_patches(position, ids_keep)  # (B, K, D)
        x = self.patch_embed(patches) + position  # (B, K, D)
        if self.num_extra:
            cls_token = self.cls_token + pos_embed[:, :1]
            x = torch.cat([cls_token.expand(len(x), -1, -1), x], dim=1)  # (B, 1 + K, D)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def decode(self, latent: Tensor, ids_restore: Tensor, ids: Tensor | None = None) -> Tensor:
        """Predict all patches, (B, L, p²·3), of `latent` (B, [1 +] K, D) and `ids_restore` (B, L).

        With `ids` (B, M) only these: (B, M, p²·3). Raises ValueError if there is no decoder.
        """
        if self.decoder_blocks is None:
            raise ValueError("This model is an encoder without a decoder, so it gives features but "
                             "cannot reconstruct; take weights that have both.")
        x = self.decoder_embed(latent)  # (B, [1 +] K, D')
        extra, x = x[:, : self.num_extra], x[:, self.num_extra :]
        num_masked = ids_restore.shape[1] - x.shape[1]
        hidden = self.mask_token.to(x.dtype).expand(len(x), num_masked, -1)
        x = take_patches(torch.cat([x, hidden], dim=1), ids_restore)  # (B, L, D'), in order
        x = torch.cat([extra, x], dim=1) + self.decoder_pos_embed
        *blocks, last = self.decoder_blocks
        for block in blocks:
            x = block(x)
        # Only the last block can leave tokens out: until then all are keys and values of others.
        x = last(x)[:, self.num_extra :] if ids is None else last(x, ids + self.num_extra)
        return self.decoder_pred(self.decoder_norm(x))  # (B, L or M, p²·3)

    def forward(self, images: Tensor, mask_ratio: float = 0.75, *, num_visible: int | None = None,
                noise: Tensor | None = None, generator: torch.Generator | None = None,
                hidden_only: bool = False) -> MAEOutput:
        """Hide patches of images (B, 3, H, W), encode the others, predict all.

        Masks `mask_ratio` of the patches, or keeps exactly `num_visible` when given. The mask is
        repeatable from `noise` (B, L) or a seeded `generator`. `images` are normalised as by
        `augment.normalise`. With `hidden_only`, visible patches, which no loss uses, are not
        predicted.
        """
        self._check_images(images, self.img_size)
        shape = (len(images), self.num_patches)
        if noise is None:
            noise = torch.rand(shape, device=images.device, generator=generator)
        check_shape(noise, "noise", *shape)
        if num_visible is None:
            num_visible = num_visible_patches(self.num_patches, mask_ratio)
        ids_keep, mask, ids_restore = random_mask_ids(noise, num_visible)
        patches = patchify(images, self.patch_size)  # (B, L, p²·3)
        latent = self._encode(patches, ids_keep, self.pos_embed)
        ids = hidden_ids(ids_restore, num_visible) if hidden_only else None
        pred = self.decode(latent, ids_restore, ids)
        return MAEOutput(pred, mask, ids_restore, latent, patches)

    def features(self, images: Tensor) -> Tensor:
        """What a probe reads: the mean of all patch tokens after the final norm, (B, D).

        Images (B, 3, S, S) of another size than the model's get interpolated positions, as those
        of `at_size`.
        """
        self._check_images(images, "S")
        patches = patchify(images, self.patch_size)
        grid = (images.shape[-1] // self.patch_size,) * 2
        pos_embed = resample_positions(self.pos_embed, grid, self.num_extra)
        return self._encode(patches, None, pos_embed)[:, self.num_extra :].mean(dim=1)

    def _check_images(self, images: Tensor, side: int | str) -> None:
        check_shape(images, "images", "B", 3, side, side)
        double = torch.float64 in (images.dtype, self.pos_embed.dtype)
        if not images.is_floating_point() or (double and images.dtype != self.pos_embed.dtype):
            raise ValueError(f"This model takes normalised images of {self.pos_embed.dtype}, got "
                             f"{images.dtype}; convert floats by .to(), and pass uint8 images "
                             "through mae_lib.data.augment.normalise first.")
