"""Notebook 03: the model, from the block to the whole, as the learner's own modules."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae_lib import model as package
from mae_lib.course.exercises import (
    build,
    close,
    exercise,
    give_weights,
    given,
    require,
    require_depth,
    require_gradient,
    require_right,
    require_tensor,
    several,
)
from mae_lib.course.exercises.attention import randomised
from mae_lib.course.reference import from_official
from mae_lib.masking import take_patches

SIZES = ("img_size", "patch_size", "embed_dim", "depth", "num_heads", "decoder_embed_dim",
         "decoder_depth", "decoder_num_heads")


@exercise("Right: both layers normalise their input and add their output to x, and the trained "
          "weights fit your class.")
def Block(answer: type) -> None:
    torch.manual_seed(0)
    for d, heads, size in ((8, 2, 1.0), (12, 3, 0.003)):
        module, block = build(answer, d, heads), randomised(package.Block(d, heads))
        for name in ("norm1", "norm2"):
            require(getattr(getattr(module, name, None), "eps", 1e-6) == 1e-6,
                    f"{name} has LayerNorm's default eps, 1e-5. The trained weights expect "
                    "eps=1e-6.")
        give_weights(module, block.state_dict())
        x = (size * torch.randn(2, 5, d)).requires_grad_()
        found = given(module(x))
        require_tensor(found, x.shape, "Block(dim, num_heads)(x)")
        norm1, attn, norm2, mlp = block.norm1, block.attn, block.norm2, block.mlp
        middle = x + attn(norm1(x))

        def mlp_with(bend: Callable, x: Tensor, mlp: nn.Module = mlp) -> Tensor:
            return mlp.fc2(bend(mlp.fc1(x)))

        after = norm1(x + attn(x))
        normal = norm1(x) + attn(norm1(x))
        require_right(found, middle + mlp(norm2(middle)), {
            "This is post-norm, the order of the original Transformer. Use pre-norm, which "
            "normalises only the input of each layer.":
                norm2(after + mlp(after)),
            "Nothing is added to x. Both layers need a residual connection.":
                mlp(norm2(attn(norm1(x)))),
            "The MLP reads the block's input. It should read the sum x + attn(norm1(x)), after "
            "norm2.":
                middle + mlp(norm2(x)),
            "norm1 is used twice. Each layer has its own norm, so the MLP should read norm2.":
                middle + mlp(norm1(middle)),
            "The second sum is missing: the result is the MLP's output alone.":
                mlp(norm2(middle)),
            "The first sum is missing: attention's output replaces x.":
                attn(norm1(x)) + mlp(norm2(attn(norm1(x)))),
            "No norm is used. attn should read norm1(x), and mlp should read norm2 of the sum.":
                x + attn(x) + mlp(x + attn(x)),
            "The MLP comes before attention in your block. Attention should come first, then "
            "the MLP.":
                x + mlp(norm2(x)) + attn(norm1(x + mlp(norm2(x)))),
            "The MLP has a ReLU between its layers, but in this model it is a GELU.":
                middle + mlp_with(F.relu, norm2(middle)),
            "The MLP has nothing between its two layers, so together they are only one linear "
            "layer. Put a GELU between them.":
                middle + mlp_with(lambda y: y, norm2(middle)),
            "The MLP has an approximation of GELU between its layers; leave approximate out.":
                middle + mlp_with(partial(F.gelu, approximate="tanh"), norm2(middle)),
            "The sums add the normalised x. They should add x itself, as in x + attn(norm1(x)).":
                norm2(normal) + mlp(norm2(normal)),
        }, "The shape is right, but the values are not. They should be x + attn(norm1(x)), and "
           "then the same with norm2 and mlp on the result.")
        require_gradient(found, block(x), x)


def _small_model() -> package.MaskedAutoencoder:
    torch.manual_seed(0)
    return randomised(package.MaskedAutoencoder(
        img_size=12, patch_size=3, embed_dim=8, depth=2, num_heads=2, decoder_embed_dim=12,
        decoder_depth=3, decoder_num_heads=3))


def _weights(model: nn.Module, part: str) -> dict[str, Tensor]:
    return {name.removeprefix(part): value for name, value in
            from_official(model.state_dict()).items() if name.startswith(part)}


def _require_kinds(module: nn.Module, positions: Tensor) -> None:
    """Raise Mistake if positions are trained or wrong, the mask token is fixed, or eps is 1e-5."""
    trained = dict(module.named_parameters())
    require("pos_embed" not in trained,
            "pos_embed is a parameter. Positions are fixed, so register them with register_buffer, "
            "which still saves and moves them with the model.")
    held = dict(module.named_buffers()).get("pos_embed")
    require(held is None or close(held, positions),
            f"pos_embed should hold sincos_positions(dim, side, side) from the start, with a batch "
            f"axis in front: here its shape is {tuple(positions.shape)}.")
    require("mask_token" not in dict(module.named_buffers()),
            "mask_token is a buffer, which training never changes. It should be learned: make it "
            "an nn.Parameter.")
    require(getattr(getattr(module, "norm", None), "eps", 1e-6) == 1e-6,
            "The last norm has the default eps. The trained weights expect eps=1e-6.")


@exercise("Right: only visible patches go through the blocks, each with its own position.")
def Encoder(answer: type) -> None:
    model = _small_model()
    module = build(answer, 12, 3, 8, 2, 2)
    _require_kinds(module, model.pos_embed)
    require_depth(module, "blocks.", 2)
    give_weights(module, _weights(model, "encoder."))
    images = torch.randn(2, 3, 12, 12, requires_grad=True)
    noise = torch.rand(2, 16)
    for ratio in (0.75, 0.5, 0.0):
        right = model(images, ratio, noise=noise)
        found = several(given(module(images, mask_ratio=ratio, noise=noise)), 3,
                        "Return three tensors: the tokens, mask, ids_restore.")
        latent, mask, ids_restore = found
        require(not (isinstance(mask, Tensor) and close(mask, right.ids_restore)),
                "The second and the third result are swapped: return tokens, mask, ids_restore.")
        require_tensor(latent, right.latent.shape, "The tokens")
        require_tensor(mask, right.mask.shape, "mask")
        require_tensor(ids_restore, right.ids_restore.shape, "ids_restore")
        require(close(mask, right.mask) and torch.equal(ids_restore, right.ids_restore),
                "mask and ids_restore do not match the given noise. Make sure that you hand "
                "noise on to random_masking, and return what it returns.")
        ids = noise.argsort(dim=1)[:, : right.latent.shape[1]]
        embedded, position = model.patch_embed(right.patches), model.pos_embed.expand(2, -1, -1)

        def through(x: Tensor, blocks: int = 2, norm: bool = True) -> Tensor:
            for block in model.blocks[:blocks]:
                x = block(x)
            return model.norm(x) if norm else x

        visible, place = take_patches(embedded, ids), take_patches(position, ids)
        require_right(latent, right.latent, {
            "The positions are not added. Without them, the model does not know where a patch "
            "was.":
                through(visible),
            "Visible patches get the positions of the first places. Add the positions before "
            "masking, so that each patch keeps its own.":
                through(visible + position[:, : visible.shape[1]]),
            "The norm after the last block is missing.": through(visible + place, norm=False),
            "The blocks are not used.": through(visible + place, blocks=0),
            "Only the first block is used.": through(visible + place, blocks=1),
            "All patches go through the blocks, and the hidden ones are dropped only "
            "afterwards. By then, the visible tokens have seen what they should predict, so "
            "mask first.":
                take_patches(through(embedded + position), ids),
            "The positions are added after the blocks. Add them before masking.":
                model.norm(through(visible, norm=False) + place),
            "The convolution gives (B, dim, rows, cols), and a reshape to (B, L, dim) mixes its "
            "channels and places. Write flatten(2).mT.":
                through(take_patches(embedded.mT.reshape(embedded.shape) + position, ids)),
        }, "The shapes are right, but the tokens are not. The order should be: apply "
           "patch_embed, add pos_embed, call random_masking, run the blocks, and apply the "
           "norm.", 1e-3)
    require_gradient(latent, right.latent, images)


@exercise("Right: every place has a token again and gets a prediction.")
def Decoder(answer: type) -> None:
    model = _small_model()
    module = build(answer, 12, 3, 8, 12, 3, 3)
    _require_kinds(module, model.decoder_pos_embed)
    require_depth(module, "blocks.", 3)
    give_weights(module, _weights(model, "decoder."))
    for visible in (4, 7):
        ids_shuffle = torch.rand(3, 16).argsort(dim=1)
        ids_restore = ids_shuffle.argsort(dim=1)
        latent = torch.randn(3, visible, 8, requires_grad=True)
        right = model.decode(latent, ids_restore)
        found = given(module(latent, ids_restore))
        require_tensor(found, right.shape, "The prediction")
        x, token = model.decoder_embed(latent), model.mask_token.expand(3, 16 - visible, -1)
        joined, position = torch.cat([x, token], dim=1), model.decoder_pos_embed

        def through(x: Tensor, blocks: int = 3, norm: bool = True) -> Tensor:
            for block in model.decoder_blocks[:blocks]:
                x = block(x)
            return model.decoder_pred(model.decoder_norm(x) if norm else x)

        restored = take_patches(joined, ids_restore) + position
        require_right(found, right, {
            "The positions are not added: all mask tokens are alike, so nothing tells the decoder "
            "which place it should predict.": through(restored - position),
            "The order is not restored: visible tokens come first, then all mask tokens. Gather "
            "with ids_restore along dim=1.": through(joined + position),
            "In each token, every value is replaced by its first one: gather needs an index "
            "for each value, ids_restore[:, :, None].expand_as(x).":
                through(joined.gather(1, ids_restore[:, :, None]) + position),
            "The positions are added before the order is restored, so they are shuffled too. "
            "Add them afterwards.":
                through(take_patches(joined + position, ids_restore)),
            "This shuffles once more instead of undoing the shuffle: gather with ids_restore as "
            "it is, not with its argsort.": through(take_patches(joined, ids_shuffle) + position),
            "The holes hold zeros: put mask_token there.":
                through(take_patches(torch.cat([x, 0 * token], 1), ids_restore) + position),
            "Mask tokens come before the visible ones. The shuffle put the visible patches "
            "first, so the visible tokens must come first here too.":
                through(take_patches(torch.cat([token, x], 1), ids_restore) + position),
            "The norm after the last block is missing.": through(restored, norm=False),
            "The blocks are not used, so no token gets information from any other.":
                through(restored, blocks=0),
            "All images get the order of the first one. Gather with each image's own row of "
            "ids_restore.":
                through(joined[:, ids_restore[0]] + position),
        }, "The shape is right, but the prediction is not. The order should be: apply embed, "
           "append the mask tokens, restore the order, add pos_embed, run the blocks, and "
           "apply norm and pred.", 1e-3)
        require_gradient(found, right, latent)


@exercise("Right: you have a masked autoencoder of your own, and the shipped weights fit it.")
def MAE(answer: type) -> None:
    model = _small_model()
    torch.manual_seed(1)
    module = build(answer, *(model.config[name] for name in SIZES))
    require(getattr(module, "patch_size", None) == 3,
            "Keep the patch size with self.patch_size = patch_size, because the loss will need "
            "it.")
    require_depth(module, "encoder.blocks.", 2)
    require_depth(module, "decoder.blocks.", 3, "decoder_depth")
    started = {name: value.clone() for name, value in module.state_dict().items()}
    give_weights(module, from_official(model.state_dict()))
    for name in ("encoder.blocks.0.attn.qkv.bias", "decoder.pred.bias"):
        require(not bool(started[name].any()),
                f"{name} should start at 0. For every linear layer, initialise the weight with "
                "nn.init.xavier_uniform_ and set the bias to 0, as the official code does.")
    for name, value in started.items():
        require("norm" not in name or bool((value == name.endswith("weight")).all()),
                f"{name} should start at {int(name.endswith('weight'))}, as nn.LayerNorm sets it. "
                "Initialise only the linear layers, the convolution and the mask token.")
        require(not name.endswith("pos_embed") or close(value, module.state_dict()[name]),
                f"{name} no longer holds its positions after the model is built: initialise only "
                "parameters.")
    limit = (6 / (8 + 24)) ** 0.5  # of Xavier's uniform distribution
    largest = float(started["encoder.blocks.0.attn.qkv.weight"].abs().max())
    require(0.9 * limit < largest <= limit,
            f"The weights of qkv go up to {largest:.3f} at the start. Xavier's uniform "
            f"distribution for 8 inputs and 24 outputs ends at {limit:.3f}, so use "
            "nn.init.xavier_uniform_.")
    limit = (6 / (8 + 27)) ** 0.5
    largest = float(started["encoder.patch_embed.proj.weight"].abs().max())
    require(0.9 * limit < largest <= limit,
            f"The weights of the convolution go up to {largest:.3f} at the start. As a matrix of "
            f"8 × 27 they should go up to {limit:.3f}: pass weight.view(weight.shape[0], -1) to "
            "nn.init.xavier_uniform_.")
    token = started["decoder.mask_token"].std()
    require(0.008 < float(token) < 0.04,
            f"mask_token starts with a standard deviation of {token:.3f}. It should be 0.02, "
            "so use nn.init.normal_ with std=0.02.")
    images, noise = torch.randn(2, 3, 12, 12, requires_grad=True), torch.rand(2, 16)
    for ratio in (0.75, 0.4):
        right = model(images, ratio, noise=noise)
        found = several(given(module(images, mask_ratio=ratio, noise=noise)), 3,
                        "Return three tensors: the prediction, the mask and the encoder's "
                        "tokens.")
        pred, mask, latent = found
        require(not isinstance(pred, Tensor) or pred.shape != right.latent.shape,
                "The encoder's tokens come first in your result. Return the prediction first, "
                "then the mask, then the tokens.")
        require_tensor(pred, right.pred.shape, "The prediction")
        require(isinstance(mask, Tensor) and mask.shape == right.mask.shape
                and close(mask, right.mask),
                f"The second result should be the mask of this noise at ratio {ratio}: hand "
                "mask_ratio and noise on to the encoder.")
        require(isinstance(latent, Tensor) and close(latent, right.latent, 1e-3),
                "The third result should be the encoder's tokens of the visible patches.")
        require(close(pred, right.pred, 1e-3),
                "The prediction is not the decoder's. Does the decoder get the latent tokens "
                "and ids_restore, and was it built with decoder_depth and decoder_num_heads?")
    require_gradient(pred, right.pred, images)
    hidden = module(images)[1].sum(dim=1)
    require(bool((hidden == 12).all()), f"If you pass only images, {int(hidden[0])} of 16 "
                                        "patches are hidden, but by default mask_ratio should "
                                        "be 0.75.")
