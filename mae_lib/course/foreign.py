"""Weights that other programs wrote, the official ones first of all.

A model gets the sizes that the tensors have. Nothing here unpickles code.
"""

import argparse
import math
import re
import textwrap
from pathlib import Path

import torch
from torch import Tensor

from mae_lib.model import PRESETS, MaskedAutoencoder
from mae_lib.training.checkpoints import load_checkpoint, load_weights, read_safetensors

# Parts of names that DistributedDataParallel, torch.compile, FSDP and Lightning put in.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "model"}
# Hugging Face's ViTMAE, in the order of replacement; transformers 4 and 5 differ.
HUGGING_FACE = {
    r"^vit\.": "", r"^embeddings\.": "", "^position_embeddings": "pos_embed",
    r"^patch_embeddings\.projection": "patch_embed.proj", r"^layernorm\.": "norm.",
    r"^(encoder\.layer|layers)\.": "blocks.", r"^decoder\.decoder_layers\.": "decoder_blocks.",
    r"^decoder\.": "", "layernorm_before": "norm1", "layernorm_after": "norm2",
    r"attention\.(attention\.)?([qkv])(uery|ey|alue|_proj)\.": r"attn.\2.",
    r"attention\.(output\.dense|o_proj)": "attn.proj", r"intermediate\.dense": "mlp.fc1",
    r"\.output\.dense": ".mlp.fc2",
}


def official_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the names of the official code, which are ours."""
    state = {".".join(part for part in name.split(".") if part not in WRAPPERS): tensor
             for name, tensor in tensors.items()}
    if not any("patch_embeddings.projection" in name for name in state):
        return state
    for old, new in HUGGING_FACE.items():
        state = {re.sub(old, new, name): tensor for name, tensor in state.items()}
    for name in [name for name in state if ".attn.q." in name]:  # one matrix in the official code
        parts = [state.pop(name.replace(".q.", f".{part}."), None) for part in "qkv"]
        if all(part is not None for part in parts):
            state[name.replace(".q.", ".qkv.")] = torch.cat(parts)
    return state


def heads(kind: str, dim: int, class_token: bool) -> int:
    """How many attention heads a Transformer of this width has, which no tensor's shape tells.

    `kind` is "" or "decoder_". Raises ValueError where no convention says.
    """
    for preset in PRESETS.values():
        if (preset[f"{kind}embed_dim"], preset.get("class_token", False)) == (dim, class_token):
            return preset[f"{kind}num_heads"]
    if kind or not class_token or dim % 64:
        raise ValueError(f"The file's shapes do not show the number of heads for {kind}embed_dim "
                         f"{dim}: pass {kind}num_heads=, as in explorer.open(path, "
                         f"{kind}num_heads=6).")
    return dim // 64  # as all ViTs up to ViT-L (Dosovitskiy et al. 2021, table 1)


def model_from(found: dict, num_heads: int | None = None,
               decoder_num_heads: int | None = None) -> MaskedAutoencoder:
    """The model whose tensors these are; without those of a decoder, an encoder alone.

    Raises ValueError for tensors of another architecture, or where a number of heads is needed.
    """
    state = official_names({str(k): v for k, v in found.items() if isinstance(v, Tensor)})
    needed = {"patch_embed.proj.weight": 4, "pos_embed": 3, "blocks.0.mlp.fc1.weight": 2}
    if any(name not in state or state[name].ndim != ndim for name, ndim in needed.items()):
        raise ValueError(f"This file does not hold MAE weights: it has keys such as "
                         f"{' and '.join(map(repr, [*found][:2])) or 'none'}, and lacks those "
                         "of the official code or of Hugging Face's ViTMAE.")
    dim, channels, patch_size = state["patch_embed.proj.weight"].shape[:3]
    class_token = "cls_token" in state
    places = state["pos_embed"].shape[1] - class_token
    if channels != 3 or math.isqrt(places) ** 2 != places:
        raise ValueError(f"This file's model takes images of {channels} channels in {places} "
                         "patches; mae_lib has models for square images with 3 channels.")
    sizes = dict(img_size=math.isqrt(places) * patch_size, patch_size=patch_size, embed_dim=dim,
                 mlp_ratio=len(state["blocks.0.mlp.fc1.weight"]) / dim, class_token=class_token,
                 num_heads=num_heads or heads("", dim, class_token))
    for kind in ("", "decoder_"):
        blocks = {name.split(".")[1] for name in state if name.startswith(f"{kind}blocks.")}
        sizes[f"{kind}depth"] = len(blocks)
    if "decoder_embed.weight" in state:
        width = len(state["decoder_embed.weight"])
        sizes |= dict(decoder_embed_dim=width, decoder_num_heads=decoder_num_heads or heads(
            "decoder_", width, class_token))
    with torch.device("meta"):  # no memory, and no random numbers
        model = MaskedAutoencoder(**sizes)
    state = {name: tensor.detach().float() for name, tensor in state.items()}
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        why = textwrap.shorten(str(error), 300)
        raise ValueError(f"This file's model is not built like the official MAE ({why}).") from None
    return model.eval()


def load_official(path: Path, norm_pix: bool | None = None, num_heads: int | None = None,
                  decoder_num_heads: int | None = None) -> tuple[MaskedAutoencoder, dict]:
    """Read weights of the official code (github.com/facebookresearch/mae) or in its architecture.

    Also those of Hugging Face's ViTMAE, wrapped ones, and encoders alone. Sizes come from the
    shapes, numbers of heads from convention unless given. Returns the model, in float32 and eval
    mode, and the facts: "norm_pix" as given, else as the file says, else None.

    Raises FileNotFoundError, or ValueError with one sentence for a damaged or foreign file.
    """
    if Path(path).suffix.lower() == ".safetensors":
        metadata, state = read_safetensors(path)
        if "mae_lib" in metadata:
            model, facts = load_weights(path)
            return model, facts if norm_pix is None else {**facts, "norm_pix": norm_pix}
    else:
        with torch.serialization.safe_globals([argparse.Namespace]):  # the official code's settings
            state = load_checkpoint(path, "Download or copy it again.")
    for name in ("args", "config"):  # of the official code, and of our own training
        settings = state.get(name)
        settings = vars(settings) if isinstance(settings, argparse.Namespace) else settings
        if norm_pix is None and isinstance(settings, dict):
            norm_pix = settings.get("norm_pix_loss", settings.get("norm_pix"))
    inner = [state[name] for name in ("model", "state_dict") if name in state]
    state = next((found for found in inner if isinstance(found, dict)), state)
    try:
        return model_from(state, num_heads, decoder_num_heads), {"norm_pix": norm_pix}
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
