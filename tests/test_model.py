"""Tests of the model: against the specification, transformers, timm and torch's own attention."""

import functools
import re

import pytest
import torch
from timm.models import vision_transformer
from torch import nn

from mae_lib import course
from mae_lib.evaluate import Classifier, reconstruction_quality
from mae_lib.losses import mae_loss
from mae_lib.masking import num_visible_patches, take_patches
from mae_lib.model import PRESETS, Attention, Block, MaskedAutoencoder, hidden_ids
from mae_lib.training.checkpoints import load_shipped

SMALL = dict(
    img_size=32, patch_size=8, embed_dim=32, depth=3, num_heads=4,
    decoder_embed_dim=16, decoder_depth=2, decoder_num_heads=2,
)


def small(class_token: bool = False, **changes) -> MaskedAutoencoder:
    """A small model with random values in every parameter, so that none can be forgotten."""
    model = MaskedAutoencoder(**{**SMALL, "class_token": class_token, **changes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def num_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


# Sizes


def test_shapes_are_those_of_the_specification():
    model, shapes = MaskedAutoencoder.from_preset("specified"), {}

    def note(name):
        def hook(_, inputs, output):
            shapes[name] = (tuple(inputs[0].shape), tuple(output.shape))

        return hook

    for name in ("patch_embed", "blocks.0", "blocks.7", "decoder_embed", "decoder_blocks.0",
                 "decoder_blocks.3", "decoder_pred"):
        model.get_submodule(name).register_forward_hook(note(name))
    with torch.no_grad():
        output = model(torch.randn(2, 3, 224, 224), 0.75)
    assert shapes == {
        "patch_embed": ((2, 49, 768), (2, 49, 192)),
        "blocks.0": ((2, 49, 192), (2, 49, 192)),
        "blocks.7": ((2, 49, 192), (2, 49, 192)),
        "decoder_embed": ((2, 49, 192), (2, 49, 128)),
        "decoder_blocks.0": ((2, 196, 128), (2, 196, 128)),
        "decoder_blocks.3": ((2, 196, 128), (2, 196, 128)),
        "decoder_pred": ((2, 196, 128), (2, 196, 768)),
    }
    assert output.latent.shape == (2, 49, 192)
    assert output.pred.shape == (2, 196, 768)
    assert output.mask.shape == output.ids_restore.shape == (2, 196)
    with torch.no_grad():
        assert model.features(torch.randn(2, 3, 224, 224)).shape == (2, 192)
    assert shapes["patch_embed"] == ((2, 196, 768), (2, 196, 192))  # features see every patch
    assert [len(model.blocks), len(model.decoder_blocks)] == [8, 4]
    assert model.blocks[0].attn.num_heads == 6
    assert model.blocks[0].mlp.fc1.out_features == 4 * 192


def test_specified_model_has_as_many_parameters_as_its_parts_add_up_to():
    def blocks(depth, dim):  # two norms; qkv and proj; two layers of the MLP
        return depth * (4 * dim + 4 * dim * dim + 4 * dim + 8 * dim * dim + 5 * dim)

    expected = 768 * 192 + 192 + blocks(8, 192) + 2 * 192
    expected += 192 * 128 + 128 + 128 + blocks(4, 128) + 2 * 128 + 128 * 768 + 768
    count = num_parameters(MaskedAutoencoder.from_preset("specified"))
    assert count == expected
    assert f"{count / 1e6:.1f}M" == "4.6M"


@pytest.mark.parametrize("name", [name for name in PRESETS if not name.startswith("vit_")])
def test_our_presets_build_and_build_again_from_their_config(name):
    with torch.device("meta"):
        model = MaskedAutoencoder.from_preset(name)
        output = model(torch.empty(2, 3, model.img_size, model.img_size))
    assert model.config.items() >= PRESETS[name].items()
    assert output.pred.shape == (2, model.num_patches, model.patch_size**2 * 3)
    with torch.device("meta"):  # `config` alone builds it again
        again = MaskedAutoencoder(**model.config)
    assert {n: p.shape for n, p in again.state_dict().items()} == {
        n: p.shape for n, p in model.state_dict().items()
    }


@pytest.mark.parametrize("name", ["vit_base", "vit_large", "vit_huge"])
def test_official_presets_have_the_parameters_of_transformers(name):
    import transformers

    sizes = {  # He et al. 2022: ViT-B/16, ViT-L/16, ViT-H/14, decoder of 512 values and 8 blocks
        "vit_base": dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12),
        "vit_large": dict(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16),
        "vit_huge": dict(
            hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, patch_size=14
        ),
    }[name]
    config = transformers.ViTMAEConfig(intermediate_size=4 * sizes["hidden_size"], **sizes)
    with torch.device("meta"):
        theirs = transformers.ViTMAEForPreTraining(config)
        ours = MaskedAutoencoder.from_preset(name)
    assert ours.blocks[0].attn.num_heads == config.num_attention_heads
    assert ours.decoder_blocks[0].attn.num_heads == config.decoder_num_attention_heads
    assert ours.config.items() >= PRESETS[name].items()
    assert num_parameters(ours) == num_parameters(theirs)
    ours_all, theirs_all = (sum(t.numel() for t in m.state_dict().values()) for m in (ours, theirs))
    assert ours_all == theirs_all  # the position embeddings too


def test_the_width_of_the_mlps_is_that_of_both_halves_and_of_the_config():
    model = small(mlp_ratio=2.5)
    for block, width in ((model.blocks[-1], 32), (model.decoder_blocks[-1], 16)):
        assert block.mlp.fc1.weight.shape == (int(2.5 * width), width)
    MaskedAutoencoder(**model.config).load_state_dict(model.state_dict())


# Against other implementations


def their_names(name: str) -> list[str]:
    """The name, or names (q, k, v), that transformers 4 and 5 give one of our tensors."""
    stem, kind = name.rsplit(".", 1) if "." in name else (name, "")
    fixed = {
        "cls_token": "vit.embeddings.cls_token",
        "pos_embed": "vit.embeddings.position_embeddings",
        "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
        "norm": "vit.layernorm",
    }
    if stem in fixed:
        return [fixed[stem] + ("." + kind if kind else "")]
    block = re.match(r"(decoder_)?blocks\.(\d+)\.(.*)", stem)
    if not block:
        return ["decoder." + name]
    decoder, number, part = block.groups()
    layer = f"decoder.decoder_layers.{number}" if decoder else f"vit.layers.{number}"
    parts = {
        "norm1": ["layernorm_before"],
        "norm2": ["layernorm_after"],
        "attn.qkv": ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
        "attn.proj": ["attention.o_proj"],
        "mlp.fc1": ["mlp.fc1"],
        "mlp.fc2": ["mlp.fc2"],
    }
    return [f"{layer}.{p}.{kind}" for p in parts[part]]


def to_transformers_5(name: str) -> str:
    """A name of transformers 4 as transformers 5 spells it."""
    for old, new in (
        ("vit.encoder.layer.", "vit.layers."),
        ("attention.attention.query", "attention.q_proj"),
        ("attention.attention.key", "attention.k_proj"),
        ("attention.attention.value", "attention.v_proj"),
        ("attention.output.dense", "attention.o_proj"),
        ("intermediate.dense", "mlp.fc1"),
        ("output.dense", "mlp.fc2"),
    ):
        name = name.replace(old, new)
    return name


@pytest.fixture(scope="module")
def reference():
    """transformers' ViTMAE with random weights everywhere, and our model with the same ones."""
    import transformers

    torch.manual_seed(1)
    config = transformers.ViTMAEConfig(
        image_size=32, patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=128, decoder_hidden_size=16, decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2, decoder_intermediate_size=64, layer_norm_eps=1e-6,
        mask_ratio=0.6,
    )
    theirs = transformers.ViTMAEForPreTraining(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    ours = MaskedAutoencoder(**SMALL, class_token=True).eval()
    source = {to_transformers_5(n): t for n, t in theirs.state_dict().items()}
    state = {
        name: torch.cat([source.pop(n) for n in their_names(name)]) for name in ours.state_dict()
    }
    assert not source  # every one of their tensors was used
    ours.load_state_dict(state)
    return ours, theirs


@pytest.mark.parametrize("norm_pix", [False, True])
@torch.no_grad()
def test_prediction_and_loss_equal_those_of_transformers(reference, norm_pix):
    ours, theirs = reference
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(4, 16)
    theirs.config.norm_pix_loss = norm_pix
    expected, output = theirs(images, noise=noise), ours(images, 0.6, noise=noise)
    assert torch.equal(output.mask, expected.mask)
    assert torch.equal(output.ids_restore, expected.ids_restore)
    torch.testing.assert_close(output.pred, expected.logits, atol=1e-5, rtol=1e-5)
    loss = mae_loss(output.pred, images, output.mask, 8, norm_pix)
    torch.testing.assert_close(loss, expected.loss, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encoder_tokens_equal_those_of_transformers(reference):
    ours, theirs = reference
    images, noise = torch.randn(4, 3, 32, 32), torch.rand(4, 16)
    expected = theirs.vit(images, noise=noise).last_hidden_state
    output = ours(images, 0.6, noise=noise)
    torch.testing.assert_close(output.latent, expected, atol=1e-5, rtol=1e-5)
    # with nothing masked; increasing noise keeps the order of the patches
    theirs.vit.config.mask_ratio, before = 0.0, theirs.vit.config.mask_ratio
    in_order = torch.arange(16.0).expand(4, -1)
    expected = theirs.vit(images, noise=in_order).last_hidden_state
    theirs.vit.config.mask_ratio = before
    torch.testing.assert_close(ours.encode(images), expected, atol=1e-5, rtol=1e-5)
    features = expected[:, 1:].mean(dim=1)
    torch.testing.assert_close(ours.features(images), features, atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_transformers(reference):
    ours, theirs = reference
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    theirs.config.norm_pix_loss = True
    theirs(images, noise=noise).loss.backward()
    output = ours(images, 0.6, noise=noise)
    mae_loss(output.pred, images, output.mask, 8, True).backward()
    source = {to_transformers_5(n): p.grad for n, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        expected = torch.cat([source[n] for n in their_names(name)])
        torch.testing.assert_close(parameter.grad, expected, atol=2e-5, rtol=1e-4, msg=name)
    ours.zero_grad()
    theirs.zero_grad()


@torch.no_grad()
def test_attention_equals_multihead_attention_of_torch():
    ours = Attention(24, 3)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.in_proj_weight.copy_(ours.qkv.weight)
    theirs.in_proj_bias.copy_(ours.qkv.bias)
    theirs.out_proj.load_state_dict(ours.proj.state_dict())
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(ours(x), theirs(x, x, x)[0], atol=1e-6, rtol=1e-5)


def test_a_hidden_width_is_found_again_from_its_ratio():
    """44 · (120 / 44) is a little less than 120."""
    assert Block(44, 4, 120 / 44).mlp.fc1.out_features == 120


@pytest.mark.parametrize("mlp_ratio", [4.0, 2.5])
@torch.no_grad()
def test_block_equals_that_of_timm(mlp_ratio):
    ours = Block(24, 3, mlp_ratio)
    for parameter in ours.parameters():
        parameter.normal_(std=0.3)
    norm = functools.partial(nn.LayerNorm, eps=1e-6)
    theirs = vision_transformer.Block(24, 3, mlp_ratio, qkv_bias=True, norm_layer=norm)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_patch_embedding_equals_its_convolution():
    """It is applied as a matrix product; the stored weight is a convolution's."""
    model = small()
    images = torch.randn(2, 3, 32, 32)
    ours = []
    model.patch_embed.register_forward_hook(lambda _, inputs, output: ours.append(output))
    model.encode(images)
    expected = model.patch_embed.proj(images).flatten(2).transpose(1, 2)
    torch.testing.assert_close(ours[0], expected, atol=1e-5, rtol=1e-5)


# What is seen, and what is not


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("ratio", [0, 0.5, 0.75, 0.9])
def test_only_visible_patches_are_embedded(class_token, ratio):
    model, rows = small(class_token), []
    model.patch_embed.register_forward_hook(lambda _, inputs, output: rows.append(inputs[0].shape))
    output = model(torch.randn(2, 3, 32, 32), ratio)
    visible = num_visible_patches(16, ratio)
    assert rows == [(2, visible, 192)]
    assert output.latent.shape == (2, visible + class_token, 32)


@pytest.mark.parametrize("class_token", [False, True])
def test_prediction_does_not_depend_on_masked_pixels(class_token):
    """The gradient is exactly 0 on every masked pixel, and not on the visible ones."""
    model = small(class_token)
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    output = model(images, 0.75)
    (output.pred.square().sum() + output.latent.square().sum()).backward()
    hidden = output.mask.reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3) == 1
    hidden = hidden.expand_as(images)
    assert (images.grad[hidden] == 0).all()
    assert (images.grad[~hidden] != 0).float().mean() > 0.99


@torch.no_grad()
def test_prediction_uses_the_place_of_every_patch():
    """Two masked places get different predictions, and a moved patch changes the prediction."""
    model, images, noise = small(), torch.randn(1, 3, 32, 32), torch.rand(1, 16)
    output = model(images, 0.75, noise=noise)
    hidden = output.pred[0][output.mask[0] == 1]
    assert torch.pdist(hidden).min() > 1e-3
    rolled = model(images.roll(8, 3), 0.75, noise=noise.reshape(1, 4, 4).roll(1, 2).flatten(1))
    moved = rolled.latent - output.latent  # the same patches, in the same order, elsewhere
    assert moved.abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("class_token", [False, True])
def test_hidden_patches_alone_are_predicted_as_among_all(class_token):
    model = small(class_token=class_token)
    images, noise = torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    whole = model(images, 0.75, noise=noise)
    some = model(images, 0.75, noise=noise, hidden_only=True)
    ids = hidden_ids(some.ids_restore, 4)
    assert torch.equal(torch.zeros(2, 16).scatter(1, ids, 1.0), whole.mask)
    torch.testing.assert_close(some.pred, take_patches(whole.pred, ids))
    assert torch.equal(some.latent, whole.latent) and torch.equal(some.mask, whole.mask)


def test_num_visible_replaces_the_ratio():
    model, images, noise = small(), torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    for ratio, visible in ((0.75, 4), (0.5, 8), (0.9, 1)):
        by_ratio = model(images, ratio, noise=noise)
        by_number = model(images, 0.123, num_visible=visible, noise=noise)
        for first, second in zip(by_ratio, by_number, strict=True):
            assert torch.equal(first, second)


@torch.no_grad()
def test_forward_repeats_by_noise_and_by_generator():
    model, images, noise = small(), torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    for again in (
        lambda: model(images, noise=noise),
        lambda: model(images, generator=torch.Generator().manual_seed(3)),
    ):
        for first, second in zip(again(), again(), strict=True):
            assert torch.equal(first, second)
    assert not torch.equal(model(images).mask, model(images).mask)


@torch.no_grad()
def test_encode_keeps_the_patches_it_is_given():
    """Attention has no order of its own: shuffled patches give the same tokens, shuffled."""
    for class_token in (False, True):
        model, images = small(class_token), torch.randn(2, 3, 32, 32)
        in_order = torch.arange(16).expand(2, -1)
        whole = model.encode(images)
        torch.testing.assert_close(model.encode(images, in_order), whole, atol=1e-6, rtol=1e-5)
        ids = torch.stack([torch.randperm(16), torch.randperm(16)])
        shuffled = model.encode(images, ids)[:, model.num_extra :]
        expected = take_patches(whole[:, model.num_extra :], ids)
        torch.testing.assert_close(shuffled, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encode_of_some_patches_is_the_latent_of_forward():
    model, images = small(), torch.randn(2, 3, 32, 32)
    noise = torch.rand(2, 16)
    ids_keep = noise.argsort(dim=1)[:, :4]
    torch.testing.assert_close(model.encode(images, ids_keep), model(images, noise=noise).latent)


@torch.no_grad()
def test_features_are_the_mean_of_patch_tokens_and_repeat():
    for class_token in (False, True):
        model, images = small(class_token), torch.randn(3, 3, 32, 32)
        features = model.features(images)
        tokens = model.encode(images)
        assert tokens.shape == (3, 16 + class_token, 32)
        torch.testing.assert_close(features, tokens[:, -16:].mean(dim=1))
        assert torch.equal(features, model.features(images))
        one_by_one = torch.cat([model.features(image[None]) for image in images])
        torch.testing.assert_close(features, one_by_one, atol=1e-5, rtol=1e-5)


# Training


@pytest.mark.parametrize("class_token", [False, True])
def test_gradient_flows_to_every_parameter(class_token):
    model, images = MaskedAutoencoder(**SMALL, class_token=class_token), torch.randn(4, 3, 32, 32)
    output = model(images)
    mae_loss(output.pred, images, output.mask, 8, True).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().sum() > 0, name


def test_initialisation_is_that_of_the_official_code():
    """Xavier-uniform matrices, zero biases, unit norms, tokens of deviation 0.02."""
    model = MaskedAutoencoder(**{**SMALL, "embed_dim": 256, "decoder_embed_dim": 256},
                              class_token=True)
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            out, fan_in = module.weight.flatten(1).shape
            bound = (6 / (out + fan_in)) ** 0.5
            assert 0.98 * bound < module.weight.abs().max() <= bound, name
            assert module.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05), name
            assert (module.bias == 0).all(), name
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all() and (module.bias == 0).all() and module.eps == 1e-6
    for token in (model.cls_token, model.mask_token):
        assert token.std().item() == pytest.approx(0.02, rel=0.2)


def test_a_seed_repeats_the_initial_weights():
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        states.append(MaskedAutoencoder(**SMALL).state_dict())
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


def test_position_embeddings_are_fixed_but_saved():
    model = small(True)
    assert model.state_dict().keys() >= {"pos_embed", "decoder_pos_embed"}
    assert not {"pos_embed", "decoder_pos_embed"} & dict(model.named_parameters()).keys()


def test_float64_works_and_agrees_with_float32():
    model, images, noise = small(), torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    single = model(images, noise=noise)
    double = model.double()(images.double(), noise=noise)
    assert double.pred.dtype == double.latent.dtype == torch.float64
    torch.testing.assert_close(single.pred.double(), double.pred, atol=1e-4, rtol=1e-4)


def test_float64_is_computed_in_float64():
    """Against attention written out in float64."""
    attention, x = Attention(24, 3).double(), torch.randn(2, 7, 24, dtype=torch.float64)
    q, k, v = attention.qkv(x).reshape(2, 7, 3, 3, 8).permute(2, 0, 3, 1, 4)
    weight = (q @ k.mT / 8**0.5).softmax(dim=-1)
    expected = attention.proj((weight @ v).transpose(1, 2).reshape(2, 7, 24))
    torch.testing.assert_close(attention(x), expected, atol=1e-10, rtol=1e-10)


def test_bfloat16_autocast_is_close_to_float32():
    model, images, noise = MaskedAutoencoder(**SMALL), torch.randn(2, 3, 32, 32), torch.rand(2, 16)
    exact = model(images, noise=noise)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images, noise=noise)
    assert output.pred.dtype == torch.bfloat16
    assert torch.equal(output.mask, exact.mask)
    error = (output.pred.float() - exact.pred).norm() / exact.pred.norm()
    assert 0 < error < 0.03
    mae_loss(output.pred, images, output.mask, 8, True).backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())
    assert all(p.grad.isfinite().all() for p in model.parameters())


# Other image sizes, and encoders alone


@pytest.mark.parametrize("class_token", [False, True])
@pytest.mark.parametrize("size", [64, 48, 16, 32])
@torch.no_grad()
def test_another_size_has_interpolated_positions_and_the_same_weights(size, class_token):
    from timm import layers

    model = small(class_token).train()
    other, grid = model.at_size(size), [size // 8, size // 8]
    assert other.config == {**model.config, "img_size": size} and other.training
    assert model.config["img_size"] == 32 and model.num_patches == 16
    for name, tensor in model.state_dict().items():
        if "pos_embed" in name:
            tensor = layers.resample_abs_pos_embed(tensor, grid, num_prefix_tokens=class_token)
        torch.testing.assert_close(other.state_dict()[name], tensor)
    again = MaskedAutoencoder(**other.config)  # as when it is saved and loaded
    again.load_state_dict(other.state_dict())
    images = torch.randn(2, 3, size, size)
    assert other(images).pred.shape == (2, (size // 8) ** 2, 192)
    torch.testing.assert_close(model.features(images), other.features(images))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for tensor in other.state_dict().values():  # parameters and buffers
        tensor.fill_(7)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("size, words", [
    (30, "30 must be a multiple of patch_size 8"), (0, "must be at least 1"),
    (-8, "must be at least"),
    ((64, 48), "must be a whole number"), (64.0, "must be a whole"), ("64", "must be a whole"),
])
def test_a_size_that_does_not_fit_is_explained(size, words):
    with pytest.raises(ValueError, match=f"^img_size {words}"):
        small().at_size(size)


def test_another_size_draws_no_random_numbers():
    model, state = small(), torch.get_rng_state()
    model.at_size(64)
    assert torch.equal(torch.get_rng_state(), state)


def test_interpolated_positions_reconstruct_larger_pictures():
    """Of 64-pixel training, on 128 pixels: recomputed positions, once used here, cost decibels."""
    model, facts = load_shipped("original_64")
    images = torch.stack([course.photograph(name, 128) for name in course.PHOTOGRAPHS])
    recomputed = MaskedAutoencoder(**{**model.config, "img_size": 128})
    recomputed.load_state_dict({**model.state_dict(), **{
        n: t for n, t in recomputed.state_dict().items() if "pos_embed" in n}})
    new, old = (reconstruction_quality(m, images, facts["norm_pix"])["model"]["psnr"].mean()
                for m in (model.at_size(128), recomputed))
    assert new > old + 2


@torch.no_grad()
def test_an_encoder_alone_has_features_and_explains_that_it_cannot_reconstruct():
    whole, images = small(class_token=True), torch.randn(2, 3, 32, 32)
    encoder = MaskedAutoencoder(**{**whole.config, "decoder_depth": 0})
    missing = encoder.load_state_dict(whole.state_dict(), strict=False)
    assert not missing.missing_keys
    assert all("decoder" in name or name == "mask_token" for name in missing.unexpected_keys)
    assert torch.equal(encoder.features(images), whole.features(images))
    assert encoder.at_size(64).features(torch.randn(2, 3, 64, 64)).shape == (2, 32)
    assert Classifier(encoder, 5)(images).shape == (2, 5)  # what fine-tuning trains
    with pytest.raises(ValueError, match="encoder without a decoder, so it gives features but"):
        encoder(images)


# Bad input


@pytest.mark.parametrize(
    "images, message",
    [
        (torch.zeros(2, 3, 32, 40), r"shape \(B, 3, 32, 32\), got \(2, 3, 32, 40\)"),
        (torch.zeros(2, 3, 96, 96), r"shape \(B, 3, 32, 32\), got \(2, 3, 96, 96\)"),
        (torch.zeros(2, 1, 32, 32), r"shape \(B, 3, 32, 32\), got \(2, 1, 32, 32\)"),
        (torch.zeros(3, 32, 32), r"shape \(B, 3, 32, 32\), got \(3, 32, 32\)"),
        (torch.zeros(2, 3, 32, 32).numpy(), "images must be a torch tensor .*, got ndarray"),
        ([torch.zeros(3, 32, 32)], "got list: use .* torch.stack for a list of tensors"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "got torch.uint8; .* pass uint8 images"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.float64), "of torch.float32, got torch.float64"),
    ],
)
def test_bad_images_are_explained(images, message):
    model = small()
    for call in (model, model.encode, model.features):
        if call == model.features:  # which takes other sizes, and interpolates positions
            message = message.replace("32, 32\\), got", "S, S\\), got")
            if tuple(getattr(images, "shape", ())) == (2, 3, 96, 96):
                continue
        with pytest.raises(ValueError, match=message):
            call(images)
    with pytest.raises(ValueError, match="cannot be cut into whole patches of 8×8"):
        model.features(torch.zeros(2, 3, 36, 36))


@pytest.mark.parametrize("ids, message", [
    ([[0, 1], [2, 3]], "a torch tensor .*, got list"),
    (torch.tensor([[0, 1]]), r"shape \(2, K\), got \(1, 2\)"),  # of another batch
    (torch.tensor([0, 1]), r"shape \(2, K\), got \(2,\)"),
    *((torch.tensor(ids), r"whole numbers in \[0, 16\)")
      for ids in ([[0, -1], [2, 3]], [[0, 1], [16, 3]], [[0.0, 1.0], [2.0, 3.0]],
                  [[True, True], [True, False]])),
])
def test_places_that_no_patch_has_are_explained(ids, message):
    with pytest.raises(ValueError, match=f"ids_keep must (be|have) {message}"):
        small().encode(torch.zeros(2, 3, 32, 32), ids)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(noise=torch.rand(2, 15)), r"noise must have shape \(2, 16\), got \(2, 15\)"),
        (dict(noise=[[0.5] * 16] * 2), "noise must be a torch tensor .*, got list"),
        (dict(noise=torch.rand(1, 16)), r"noise must have shape \(2, 16\), got \(1, 16\)"),
        (dict(mask_ratio=1.0), "below 1"),
        (dict(mask_ratio=float("nan")), "got nan"),
        (dict(mask_ratio=0.99), "leaves none of 16 patches visible"),
        (dict(num_visible=0), "at most 16, got 0"),
        (dict(num_visible=17), "at most 16, got 17"),
    ],
)
def test_bad_masking_is_explained(arguments, message):
    with pytest.raises(ValueError, match=message):
        small()(torch.zeros(2, 3, 32, 32), **arguments)


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(img_size=30), "img_size 30 must be a multiple of patch_size 8"),
        (dict(img_size=(32, 24)), r"^img_size must be a whole number, got \(32, 24\)"),
        *((dict([(name, value)]), f"^{name} must be {words}, got") for name in SMALL
          for value, words in ((-1, "at least [01]"), ("8", "a whole number"),
                               (8.0, "a whole number"), (None, "a whole number"))),
        (dict(patch_size=0), "^patch_size must be at least 1, got 0"),
        (dict(num_heads=0), "^num_heads must be at least 1, got 0"),
        (dict(mlp_ratio=-1), "^mlp_ratio must be at least 0"),
        (dict(mlp_ratio="4"), "^mlp_ratio must be a finite number"),
        (dict(class_token=1), "^class_token must be True or False"),
        (dict(num_heads=5), r"^The width 32 must be a multiple of num_heads \(5\)"),
        (dict(decoder_num_heads=3), r"^The width 16 must be a multiple of num_heads \(3\)"),
        (dict(embed_dim=30, num_heads=5), "divisible by 4, got 30"),
    ],
)
def test_sizes_that_do_not_fit_together_are_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        MaskedAutoencoder(**{**SMALL, **changes})


def test_unknown_preset_is_explained():
    for name in ("vit_bse", None, ["tiny"]):
        with pytest.raises(ValueError, match=r"preset must be one of specified, .* vit_huge, got"):
            MaskedAutoencoder.from_preset(name)


def test_preset_takes_changes_without_being_changed():
    before = dict(PRESETS["tiny"])
    model = MaskedAutoencoder.from_preset("tiny", depth=1, class_token=True)
    assert len(model.blocks) == 1 and model.num_extra == 1
    assert PRESETS["tiny"] == before
