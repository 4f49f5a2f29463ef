"""The same masked autoencoder, built by us and by others: modules that map images to the MAE loss.

All get normalised images (B, 3, H, W), hide three quarters of the patches and predict patches
normalised by their own statistics. The others always have a class token, one more for the encoder.
"""

import functools
import importlib.util
import sys
import types
from pathlib import Path

import torch
from torch import Tensor, nn

from mae_lib.config import PretrainConfig
from mae_lib.losses import total_loss
from mae_lib.model import MaskedAutoencoder

RATIO = 0.75
PLAIN = PretrainConfig()


class Ours(nn.Module):
    """mae_lib, with the losses and mask ratio of `settings`."""

    def __init__(self, sizes: dict, settings: PretrainConfig = PLAIN, ratio: float = RATIO):
        super().__init__()
        self.mae, self.settings, self.ratio = MaskedAutoencoder(**sizes), settings, ratio

    def forward(self, images: Tensor) -> Tensor:
        output = self.mae(images, self.ratio, hidden_only=True)
        with torch.autocast(images.device.type, enabled=False):
            return total_loss(self.mae, output, self.settings)["loss"]


class Transformers(nn.Module):
    """Hugging Face's ViTMAEForPreTraining."""

    def __init__(self, sizes: dict):
        super().__init__()
        from transformers import ViTMAEConfig, ViTMAEForPreTraining

        s = types.SimpleNamespace(**sizes)
        config = ViTMAEConfig(
            image_size=s.img_size, patch_size=s.patch_size, hidden_size=s.embed_dim,
            num_hidden_layers=s.depth, num_attention_heads=s.num_heads,
            intermediate_size=4 * s.embed_dim, decoder_hidden_size=s.decoder_embed_dim,
            decoder_num_hidden_layers=s.decoder_depth,
            decoder_num_attention_heads=s.decoder_num_heads,
            decoder_intermediate_size=4 * s.decoder_embed_dim,
            mask_ratio=RATIO, norm_pix_loss=True,
        )
        self.mae = ViTMAEForPreTraining(config)

    def forward(self, images: Tensor) -> Tensor:
        return self.mae(pixel_values=images).loss


class Lightly(nn.Module):
    """lightly's building blocks, put together as its documentation shows."""

    def __init__(self, sizes: dict):
        super().__init__()
        from lightly.models import utils
        from lightly.models.modules import MAEDecoderTIMM, MaskedVisionTransformerTIMM
        from timm.models.vision_transformer import VisionTransformer

        s = types.SimpleNamespace(**sizes)
        vit = VisionTransformer(s.img_size, s.patch_size, embed_dim=s.embed_dim, depth=s.depth,
                                num_heads=s.num_heads, num_classes=0)
        self.utils, self.patch_size = utils, s.patch_size
        self.encoder = MaskedVisionTransformerTIMM(vit=vit)
        self.decoder = MAEDecoderTIMM(
            num_patches=vit.patch_embed.num_patches, patch_size=s.patch_size,
            embed_dim=s.embed_dim, decoder_embed_dim=s.decoder_embed_dim,
            decoder_depth=s.decoder_depth, decoder_num_heads=s.decoder_num_heads,
        )

    def forward(self, images: Tensor) -> Tensor:
        utils, length = self.utils, self.encoder.sequence_length
        keep, masked = utils.random_token_mask((len(images), length), RATIO, device=images.device)
        latent = self.decoder.embed(self.encoder.encode(images=images, idx_keep=keep))
        tokens = utils.repeat_token(self.decoder.mask_token, (len(images), length))
        tokens = utils.set_at_index(tokens, keep, latent.type_as(tokens))
        hidden = utils.get_at_index(self.decoder.decode(tokens), masked)
        pred = self.decoder.predict(hidden)
        target = utils.get_at_index(utils.patchify(images, self.patch_size), masked - 1)
        target = utils.normalize_mean_var(target)
        return (pred.float() - target).square().mean()


class Official(nn.Module):
    """facebookresearch/mae, from a checkout at `path`."""

    def __init__(self, sizes: dict, path: Path):
        super().__init__()
        self.mae = _official_module(path).MaskedAutoencoderViT(
            **sizes, mlp_ratio=4, norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
            norm_pix_loss=True,
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.mae(images, RATIO)[0]


def _official_module(path: Path) -> types.ModuleType:
    """The checkout's models_mae, with two lines fixed for today's numpy and timm."""
    if not (Path(path) / "models_mae.py").exists():
        raise FileNotFoundError(f"{path} has no models_mae.py: check out facebookresearch/mae.")
    mend = {"util.pos_embed": ("util/pos_embed.py", "dtype=np.float)", "dtype=float)"),
            "models_mae": ("models_mae.py", "qk_scale=None, ", "")}
    sys.modules["util"] = types.ModuleType("util")
    for name, (file, old, new) in mend.items():
        spec = importlib.util.spec_from_loader(name, loader=None)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        exec(compile((Path(path) / file).read_text().replace(old, new), file, "exec"), vars(module))
    return module
