"""Weights of other programs: a model of their sizes with their outputs, or one clear sentence."""

from argparse import Namespace

import pytest
import torch
from safetensors.torch import save_file

from mae_lib.course.foreign import load_official
from mae_lib.model import PRESETS, MaskedAutoencoder
from mae_lib.training.checkpoints import load_weights, save_checkpoint, save_weights

SMALL = dict(
    img_size=16,
    patch_size=4,
    embed_dim=16,
    depth=2,
    num_heads=2,
    decoder_embed_dim=8,
    decoder_depth=1,
    decoder_num_heads=2,
)


def official_shapes(
    patch: int, grid: int, dim: int, depth: int, decoder_dim: int, decoder_depth: int
) -> dict[str, tuple[int, ...]]:
    """Every tensor of models_mae.py in github.com/facebookresearch/mae, written down from there."""
    shapes = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, grid * grid + 1, dim),
        "mask_token": (1, 1, decoder_dim),
        "decoder_pos_embed": (1, grid * grid + 1, decoder_dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
    }
    for prefix, n, d in (("blocks", depth, dim), ("decoder_blocks", decoder_depth, decoder_dim)):
        for i in range(n):
            for name, out, fan_in in (
                ("attn.qkv", 3 * d, d),
                ("attn.proj", d, d),
                ("mlp.fc1", 4 * d, d),
                ("mlp.fc2", d, 4 * d),
            ):
                shapes[f"{prefix}.{i}.{name}.weight"] = (out, fan_in)
                shapes[f"{prefix}.{i}.{name}.bias"] = (out,)
            for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"):
                shapes[f"{prefix}.{i}.{name}"] = (d,)
    for name, d in (("norm", dim), ("decoder_norm", decoder_dim)):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (d,)
    for name, out, fan_in in (
        ("decoder_embed", decoder_dim, dim),
        ("decoder_pred", patch * patch * 3, decoder_dim),
    ):
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = (out, fan_in), (out,)
    return shapes


@pytest.mark.parametrize(
    "preset, sizes",
    [
        ("vit_base", (16, 14, 768, 12, 512, 8)),
        ("vit_large", (16, 14, 1024, 24, 512, 8)),
        ("vit_huge", (14, 16, 1280, 32, 512, 8)),
    ],
)
def test_names_and_shapes_are_the_official_ones(preset, sizes):
    with torch.device("meta"):
        model = MaskedAutoencoder.from_preset(preset)
    ours = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert ours == official_shapes(*sizes)


@pytest.fixture
def small_presets():
    """Two small presets with a class token, in place of ViT-B and the others."""
    presets = {
        "deep": dict(SMALL, depth=3, class_token=True),
        "small": dict(SMALL, class_token=True),
        "fine": dict(SMALL, patch_size=2, class_token=True),
    }
    before = dict(PRESETS)
    PRESETS.clear()
    PRESETS.update(presets)
    yield presets
    PRESETS.clear()
    PRESETS.update(before)  # in their order, too


def official_state(*sizes: int) -> dict[str, torch.Tensor]:
    return {name: torch.randn(shape) for name, shape in official_shapes(*sizes).items()}


OFFICIAL = {"small": (4, 4, 16, 2, 8, 1), "deep": (4, 4, 16, 3, 8, 1), "fine": (2, 8, 16, 2, 8, 1)}


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("preset", OFFICIAL)
def test_official_checkpoints_load_by_their_shapes(tmp_path, small_presets, preset, wrapped):
    """With every tensor of the file in place, the position embeddings too."""
    state = official_state(*OFFICIAL[preset])
    torch.save({"model": state} if wrapped else state, tmp_path / "a.pth")
    model, facts = load_official(tmp_path / "a.pth")
    assert facts == {"norm_pix": None}  # such a file does not say
    assert model.config.items() >= small_presets[preset].items()
    assert not model.training
    assert model.state_dict().keys() == state.keys()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert model(torch.randn(2, 3, 16, 16)).pred.isfinite().all()


@pytest.mark.parametrize("settings, said", [
    (Namespace(norm_pix_loss=True, lr=1e-3), True), ({"norm_pix_loss": True}, True),
    (Namespace(norm_pix_loss=False), False), (Namespace(lr=1e-3), None), ("none", None),
])
def test_norm_pix_is_read_from_the_settings_or_given(tmp_path, small_presets, settings, said):
    state = {"model": official_state(*OFFICIAL["small"]), "epoch": 3, "args": settings}
    torch.save(state, tmp_path / "a.pth")
    assert load_official(tmp_path / "a.pth")[1] == {"norm_pix": said}
    for given in (True, False):
        assert load_official(tmp_path / "a.pth", norm_pix=given)[1] == {"norm_pix": given}


def encoder_of(state: dict) -> dict:
    return {n: t for n, t in state.items() if "decoder" not in n and n != "mask_token"}


@torch.no_grad()
def test_encoder_only_official_checkpoint_loads_for_evaluation(tmp_path, small_presets):
    """mae_pretrain_vit_base.pth is one, and the first that people find."""
    state, images = official_state(*OFFICIAL["small"]), torch.randn(2, 3, 16, 16)
    torch.save({"model": state}, tmp_path / "whole.pth")
    torch.save({"model": encoder_of(state)}, tmp_path / "a.pth")
    encoder, _ = load_official(tmp_path / "a.pth")
    whole, _ = load_official(tmp_path / "whole.pth")
    assert torch.equal(encoder.features(images), whole.features(images))
    with pytest.raises(ValueError, match="without a decoder, so it gives features but cannot"):
        encoder(images)
    save_weights(tmp_path / "b.safetensors", encoder)
    again, _ = load_weights(tmp_path / "b.safetensors")
    assert torch.equal(again.features(images), encoder.features(images))


@pytest.mark.parametrize("content, keys", [
    ({"state_dict": {"a": torch.ones(2)}, "epoch": 3}, "'a'"), ({"model": [1]}, "'model'"),
    ({"model": 5}, "'model'"), ({}, "none"), ({0: torch.ones(2)}, "0"),
    ({"pos_embed": 1, "patch_embed.proj.weight": 2}, "'pos_embed' and 'patch_embed.proj.weight'"),
    ({"patch_embed.proj.weight": torch.ones(4, 48), "pos_embed": torch.ones(1, 4, 4)}, "'patch_"),
    ({"conv1.weight": torch.ones(2), "layer1.0.conv1.weight": torch.ones(2)},
     "'conv1.weight' and 'layer1.0.conv1.weight'"),
    (torch.optim.AdamW([torch.ones(2)]).state_dict(), "'state' and 'param_groups'"),
])
def test_another_kind_of_checkpoint_is_explained(tmp_path, content, keys):
    torch.save(content, tmp_path / "a.pth")
    words = rf"a\.pth: This file does not hold MAE weights: it has keys such as {keys}"
    with pytest.raises(ValueError, match=words) as error:
        load_official(tmp_path / "a.pth")
    assert "start over" not in str(error.value)


@pytest.mark.parametrize("sizes", [
    (4, 4, 16, 7, 8, 1), (4, 4, 16, 2, 8, 2), (4, 6, 16, 2, 8, 1), (2, 3, 16, 1, 8, 3)])
def test_sizes_that_no_preset_has_come_from_the_shapes(tmp_path, small_presets, sizes):
    patch, grid, dim, depth, decoder_dim, decoder_depth = sizes
    state = official_state(*sizes)
    torch.save({"model": state}, tmp_path / "a.pth")
    model, _ = load_official(tmp_path / "a.pth")
    assert model.config == dict(
        img_size=patch * grid, patch_size=patch, embed_dim=dim, depth=depth, num_heads=2,
        decoder_embed_dim=decoder_dim, decoder_depth=decoder_depth, decoder_num_heads=2,
        mlp_ratio=4.0, class_token=True)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("dim, decoder_dim, expected", [
    (768, 512, (12, 16)), (1024, 512, (16, 16)), (1280, 512, (16, 16)), (384, 512, (6, 16)),
    (192, 512, (3, 16))])
def test_numbers_of_heads_are_those_of_vits(tmp_path, dim, decoder_dim, expected):
    """ViT-B, L, H (80 values a head), S and Ti; our own encoder of 192 has no class token."""
    torch.save(official_state(4, 2, dim, 1, decoder_dim, 1), tmp_path / "a.pth")
    config = load_official(tmp_path / "a.pth")[0].config
    assert (config["num_heads"], config["decoder_num_heads"]) == expected


def test_numbers_of_heads_without_a_convention_are_asked_for(tmp_path):
    torch.save(official_state(4, 2, 48, 1, 24, 1), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a.pth: .* heads for embed_dim 48: pass num_heads="):
        load_official(tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"decoder_embed_dim 24: pass decoder_num_heads="):
        load_official(tmp_path / "a.pth", num_heads=4)
    with pytest.raises(ValueError, match=r"a\.pth: .*of num_heads \(5\)"):
        load_official(tmp_path / "a.pth", num_heads=5, decoder_num_heads=3)
    model, _ = load_official(tmp_path / "a.pth", num_heads=4, decoder_num_heads=3)
    assert (model.config["num_heads"], model.config["decoder_num_heads"]) == (4, 3)


@pytest.mark.parametrize("prefix", [
    "module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "model."])
@pytest.mark.parametrize("around", ["model", "state_dict", None])
def test_wrapped_models_load(tmp_path, small_presets, prefix, around):
    state = official_state(*OFFICIAL["small"])
    wrapped = {prefix + name: tensor for name, tensor in state.items()}
    torch.save({around: wrapped, "epoch": 1} if around else wrapped, tmp_path / "a.pth")
    model, _ = load_official(tmp_path / "a.pth")
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("change, message", [
    (lambda s: s.pop("norm.weight"), r'Missing key.*: "norm.weight"\. ?\)\.$'),
    (lambda s: s.update({"head.weight": torch.ones(2)}), "Unexpected key.*head.weight"),
    (lambda s: s.update({"norm.bias": torch.ones(3)}), r"mismatch for norm.bias.*\[3\]"),
    (lambda s: s.pop("decoder_blocks.0.attn.qkv.bias"), "Missing .*decoder_blocks.0.attn.qkv.bias"),
    (lambda s: s.pop("decoder_embed.weight"), "not built like the .*decoder_embed.weight"),
    (lambda s: s.update({"pos_embed": torch.ones(1, 13, 16)}), "3 channels in 12 patches; mae_lib"),
    (lambda s: s.update({"patch_embed.proj.weight": torch.ones(16, 1, 4, 4)}), "of 1 channels"),
])
def test_models_that_are_built_otherwise_are_explained(tmp_path, small_presets, change, message):
    state = official_state(*OFFICIAL["small"])
    change(state)
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=message):
        load_official(tmp_path / "a.pth")


def test_loaded_official_weights_are_trainable_float32_and_draw_no_random_numbers(
    tmp_path, small_presets
):
    state = {name: t.half() for name, t in official_state(*OFFICIAL["small"]).items()}
    torch.save(state, tmp_path / "a.pth")
    before = torch.get_rng_state()
    model, _ = load_official(tmp_path / "a.pth")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.parameters())
    model(torch.randn(2, 3, 16, 16)).pred.sum().backward()


def to_transformers_4(name: str) -> str:
    """A name of transformers 5 as transformers 4, and the files on Hugging Face's hub, spell it."""
    for new, old in (
        ("vit.layers.", "vit.encoder.layer."), (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."), ("attention.q_proj", "attention.attention.query"),
        ("attention.k_proj", "attention.attention.key"), ("attention.o_proj",
        "attention.output.dense"), ("attention.v_proj", "attention.attention.value"),
    ):
        name = name.replace(new, old)
    return name


@pytest.mark.parametrize("kind", ["as it is", "names of 4", "safetensors", "encoder"])
@torch.no_grad()
def test_weights_of_hugging_face_give_the_same_outputs(tmp_path, kind):
    import transformers

    config = transformers.ViTMAEConfig(
        image_size=24, patch_size=8, hidden_size=32, num_hidden_layers=3, num_attention_heads=4,
        intermediate_size=96, decoder_hidden_size=16, decoder_num_hidden_layers=2,
        decoder_num_attention_heads=2, decoder_intermediate_size=48, layer_norm_eps=1e-6)
    theirs = transformers.ViTMAEForPreTraining(config).eval()
    for parameter in theirs.parameters():
        parameter.copy_(0.2 * torch.randn_like(parameter))
    state, path = theirs.state_dict(), tmp_path / "model.bin"
    images, noise = torch.randn(2, 3, 24, 24), torch.rand(2, 9)
    if kind == "names of 4":
        state = {to_transformers_4(name): tensor for name, tensor in state.items()}
        assert "vit.encoder.layer.0.attention.attention.query.weight" in state
    elif kind == "encoder":
        state = theirs.vit.state_dict()
    if kind == "safetensors":
        path = tmp_path / "model.safetensors"
        save_file(state, path, {"format": "pt"})
        with pytest.raises(ValueError, match="load_official reads those of other programs"):
            load_weights(path)
    else:
        torch.save(state, path)
    ours, facts = load_official(path, num_heads=4, decoder_num_heads=2)
    assert facts == {"norm_pix": None}
    if kind == "encoder":
        tokens = theirs.vit(images, noise=noise).last_hidden_state
        ids_keep = noise.argsort(dim=1)[:, : tokens.shape[1] - 1]
        torch.testing.assert_close(ours.encode(images, ids_keep), tokens, atol=1e-5, rtol=1e-5)
        return
    expected = theirs(images, noise=noise)
    output = ours(images, num_visible=int(9 * 0.25), noise=noise)
    assert torch.equal(output.mask, expected.mask)
    torch.testing.assert_close(output.pred, expected.logits, atol=1e-5, rtol=1e-5)


def test_own_weights_load_as_official_ones_with_their_facts(tmp_path):
    model = MaskedAutoencoder(**SMALL)
    save_weights(tmp_path / "a.safetensors", model, norm_pix=True, epochs=3)
    loaded, facts = load_official(tmp_path / "a.safetensors")
    assert loaded.config == model.config and facts == {"norm_pix": True, "epochs": 3}
    assert load_official(tmp_path / "a.safetensors", norm_pix=False)[1]["norm_pix"] is False
    save_checkpoint(tmp_path / "a.pt", {"config": {"norm_pix": True}, "model": model.state_dict()})
    _, facts = load_official(tmp_path / "a.pt", num_heads=2, decoder_num_heads=2)
    assert facts == {"norm_pix": True}


def test_official_checkpoint_that_is_missing_or_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_official(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes(b"<html>")
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_official(tmp_path / "a.pth")
