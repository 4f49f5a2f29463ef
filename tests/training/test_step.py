"""One training step: what it computes, what it keeps, and that its fast form changes nothing."""

import copy
import math
import shutil
from dataclasses import replace

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from mae_lib import losses
from mae_lib.config import PretrainConfig, variant_settings
from mae_lib.data.augment import random_resized_crop
from mae_lib.model import Attention
from mae_lib.runtime import hardware
from mae_lib.training import step as step_module
from mae_lib.training.step import RecordedStep, TrainStep, fastest_step

CFG = PretrainConfig(preset="tiny", img_size=16, patch_size=4, batch_size=8, precision="fp32",
                     **variant_settings("improved"))


def pictures(n=8, side=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)


def test_a_step_is_what_a_plain_loop_would_do():
    """Crop, mask, loss, gradient and a textbook AdamW update, written out."""
    cfg = replace(CFG, crop_scale=0.45, weight_decay=0.3, seed=4)
    batch, model, plain = pictures(), CFG.build_model(), CFG.build_model()
    terms = TrainStep(model, cfg)(batch, 7, 2e-3, 0.6)

    generator = hardware.generator(4, hardware.RNG.CROP_AND_MASK, 7)
    x = random_resized_crop(batch, 16, generator, (0.45, 1.0))
    noise = torch.rand(8, 16, generator=generator)
    output = plain(x, 0.6, noise=noise)
    image = losses.predicted_images(output.pred, x, 4, True)
    mask = losses.patch_mask_to_pixels(output.mask, 4)
    mae = losses.mae_loss(output.pred, x, output.mask, 4, True)
    freq = losses.laplacian_loss_masked(image, x, mask)
    unif = losses.uniformity_loss(output.latent)
    loss = mae + 0.05 * freq + 0.01 * unif
    loss.backward()
    expected = {"loss": loss, "mae": mae, "freq": freq, "unif": unif}
    assert terms.keys() == expected.keys()
    for name, term in expected.items():
        assert terms[name].item() == pytest.approx(term.item(), rel=1e-6)
        assert not terms[name].requires_grad
    start = CFG.build_model().parameters()
    for (name, new), old, same in zip(model.named_parameters(), start, plain.parameters(),
                                      strict=True):
        torch.testing.assert_close(new.grad, same.grad, rtol=1e-4, atol=1e-7)
        decay = 0 if old.ndim < 2 or name == "mask_token" else 0.3
        moment = new.grad / (new.grad.abs() + 1e-8)  # first step: m̂ / (√v̂ + ε)
        wanted = old * (1 - 2e-3 * decay) - 2e-3 * moment
        torch.testing.assert_close(new, wanted, rtol=1e-4, atol=2e-6)


def test_what_is_random_depends_on_seed_and_step_alone():
    step = TrainStep(CFG.build_model(), CFG)
    crops, noise = step.draw(3, (20, 20))
    assert crops.shape == (5, 8) and noise.shape == (8, 16)
    again = TrainStep(CFG.build_model(), CFG).draw(3, (20, 20))
    assert torch.equal(crops, again[0]) and torch.equal(noise, again[1])
    others = TrainStep(CFG.build_model(), replace(CFG, seed=1)).draw(3, (20, 20))
    for other in (step.draw(4, (20, 20)), others):
        assert not torch.equal(crops, other[0]) and not torch.equal(noise, other[1])


def gradients(step):
    return [p.grad.clone() for p in step.model.parameters()]


def test_gradients_are_those_of_the_last_batch_alone():
    twice, once = (TrainStep(CFG.build_model(), CFG) for _ in range(2))
    twice(pictures(seed=1), 0, 0.0, 0.5)  # with a rate of 0 the weights stay
    for step in (twice, once):
        step(pictures(seed=2), 1, 0.0, 0.5)
    for a, b in zip(gradients(twice), gradients(once), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("parts", [2, 4])
def test_a_batch_in_parts_is_the_same_batch(parts):
    cfg = replace(CFG, lambda_unif=0.0, lambda_freq=0.0)
    whole, cut = (TrainStep(c.build_model(), c) for c in (cfg, replace(cfg, accumulate=parts)))
    terms = [step(pictures(), 3, 0.0, 0.5) for step in (whole, cut)]
    for name, value in terms[0].items():
        torch.testing.assert_close(terms[1][name], value)
    for a, b in zip(gradients(whole), gradients(cut), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("processes, parts", [(3, 1), (2, 8), (1, 3)])
def test_processes_and_parts_must_share_a_batch_equally(monkeypatch, processes, parts):
    monkeypatch.setattr(step_module.distributed, "world_size", lambda: processes)
    words = f"batch_size 8 must be a multiple of {processes} processes × accumulate {parts}"
    with pytest.raises(ValueError, match=words):
        TrainStep(CFG.build_model(), replace(CFG, accumulate=parts))


def test_state_goes_on_where_it_was_saved():
    first = TrainStep(CFG.build_model(), CFG)
    for step in range(3):
        first(pictures(seed=step), step, 1e-3, 0.5)
    second = TrainStep(CFG.build_model(), CFG)
    second.load_state_dict(first.state_dict())  # and shares nothing with it afterwards
    for step in range(3, 6):
        for train_step in (first, second):
            train_step(pictures(seed=step), step, 2e-3, 0.5)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_one_compiled_graph_serves_all_lengths_and_computes_what_the_plain_step_does():
    """In fp16: the loss scale too, and the step that is left out because a gradient is infinite."""
    cfg, counter = replace(CFG, precision="fp16"), CompileCounterWithBackend("aot_eager")
    plain, compiled = (TrainStep(cfg.build_model(), cfg) for _ in range(2))
    compiled.compile(backend=counter)
    for i, ratio in enumerate([0.5, 0.6, 0.75, 0.5]):
        before = [p.clone() for p in compiled.model.parameters()]
        for step in (plain, compiled):
            if i == 2:
                step.scaler.update(2.0**60)
        terms, expected = (step(pictures(seed=i), i, 1e-3, ratio) for step in (compiled, plain))
        for name, value in expected.items():
            torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)
        assert compiled.scaler.state_dict() == plain.scaler.state_dict()
        same = all(map(torch.equal, before, compiled.model.parameters()))
        assert same == (i >= 2) and compiled.scaler.get_scale() == [2**16, 2**16, 2**59, 2**58][i]
    for a, b in zip(compiled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    assert counter.frame_count == 1


@pytest.mark.slow  # a C++ compiler takes minutes
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_kernels_that_torch_writes_compute_what_the_plain_step_does():
    plain, compiled = (TrainStep(CFG.build_model(), CFG) for _ in range(2))
    compiled.compile()
    for i, ratio in enumerate([0.5, 0.6, 0.75]):
        terms, expected = (step(pictures(seed=i), i, 1e-3, ratio) for step in (compiled, plain))
        for name, value in expected.items():
            torch.testing.assert_close(terms[name], value, rtol=1e-4, atol=1e-5)
    for a, b in zip(compiled.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-3)


def test_a_cpu_takes_plain_steps():
    """And compiles none, however long the training."""
    step = fastest_step(CFG.build_model(), CFG)
    assert type(step) is TrainStep and step.compile_from == math.inf


def test_bfloat16_attention_on_a_cpu_is_attention():
    """Written out as products there, it must be what the fused kernel computes."""
    attention = Attention(24, 3).bfloat16()
    x, ids = torch.randn(2, 9, 24).bfloat16(), torch.tensor([[1, 4], [0, 8]])
    reference = copy.deepcopy(attention).float()
    for chosen in (None, ids):
        expected = reference(x.float(), chosen)
        torch.testing.assert_close(attention(x, chosen).float(), expected, rtol=0.05, atol=0.02)


def test_several_processes_send_each_other_gradients_alone(monkeypatch):
    """Position embeddings are buffers that never change."""
    given = {}
    monkeypatch.setattr(step_module.distributed, "world_size", lambda: 2)
    monkeypatch.setattr(step_module, "DistributedDataParallel",
                        lambda model, **named: given.update(named))
    TrainStep(CFG.build_model(), CFG)
    assert given["broadcast_buffers"] is False


# ---------------------------------------------------------------- on a GPU

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
# Three plain steps at a length, one that is recorded, one played; then back to a recorded length.
SCHEDULE = [0.5] * 5 + [0.6] * 5 + [0.75] * 5 + [0.5] * 2


def trained(kind, cfg):
    """The loss terms of every step, and the weights after the last."""
    step = kind(cfg.build_model().to("cuda"), cfg)
    found = []
    for i, ratio in enumerate(SCHEDULE):
        terms = step(pictures(seed=i).to("cuda"), i, 1e-3 * (1 + i % 3), ratio)
        found.append(terms)  # looked at later, as the training does: no later step may change them
    found = torch.stack([torch.stack(list(terms.values())) for terms in found])
    return step, found.cpu(), [without_keys_bias(name, p.detach().cpu())
                               for name, p in step.model.named_parameters()]


def without_keys_bias(name, weights):
    """Attention does not depend on the keys' bias: its gradient is rounding alone, which Adam makes
    as large as any other step.
    """
    if not name.endswith("qkv.bias"):
        return weights
    queries, _, values = weights.chunk(3)
    return torch.cat([queries, values])


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_recorded_steps_are_plain_steps(precision):
    """Step by step on the same noise; atomics in the backward pass may change the last digits."""
    cfg = replace(CFG, precision=precision)
    _, plain_terms, plain = trained(TrainStep, cfg)
    step, terms, weights = trained(RecordedStep, cfg)
    assert set(step.recordings) == {8, 6, 4}
    assert type(fastest_step(step.model, cfg)) is RecordedStep
    tolerance = {"fp32": 1e-4, "bf16": 2e-2, "fp16": 5e-3}[precision]
    torch.testing.assert_close(terms, plain_terms, rtol=tolerance, atol=tolerance)
    for a, b in zip(weights, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@needs_gpu
@pytest.mark.slow  # Triton takes a minute each time
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_compiled_steps_are_recorded_and_are_plain_steps_on_a_gpu(precision):
    def compiled(model, cfg):
        step = RecordedStep(model, cfg)
        step.compile()
        return step

    cfg = replace(CFG, precision=precision)
    _, plain_terms, plain = trained(TrainStep, cfg)
    step, terms, weights = trained(compiled, cfg)
    assert "losses" in vars(step) and set(step.recordings) == {8, 6, 4}
    tolerance = {"fp32": 1e-3, "bf16": 4e-2, "fp16": 1e-2}[precision]
    torch.testing.assert_close(terms, plain_terms, rtol=tolerance, atol=tolerance)
    for a, b in zip(weights, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@needs_gpu
@pytest.mark.parametrize("kind", [TrainStep, RecordedStep])
def test_a_step_never_waits_for_the_gpu(kind):
    step = kind(CFG.build_model().to("cuda"), CFG)
    images = pictures().to("cuda")
    for i in range(5):
        step(images, i, 1e-3, 0.75)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for i in range(5, 8):
            step(images, i, 1e-3, 0.75)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_gpu
def test_a_recorded_run_can_be_saved_and_taken_up_by_a_plain_one():
    step, _, _ = trained(RecordedStep, CFG)
    other = TrainStep(CFG.build_model().to("cuda"), CFG)
    other.load_state_dict(step.state_dict())
    rates = {g["lr"].device.type for g in other.optimizer.param_groups}
    assert rates == {"cuda"}
    images = pictures(seed=99).to("cuda")
    a, b = step(images, 50, 1e-3, 0.75), other(images, 50, 1e-3, 0.75)
    assert a["loss"].item() == pytest.approx(b["loss"].item(), rel=1e-4)


def test_attention_of_cudnn_is_never_taken():
    assert not torch.backends.cuda.cudnn_sdp_enabled()


@needs_gpu
@pytest.mark.parametrize("tokens", [49, 64, 196])
def test_gradients_of_attention_to_which_nothing_is_similar(tokens):
    """All scores near −120: cuDNN's gradients were nan for 64 tokens (pytorch/pytorch#196678)."""
    attention, x = Attention(32, 1), torch.randn(2, tokens, 32) / 10
    with torch.no_grad():
        attention.qkv.bias[0], attention.qkv.bias[32] = 1, -120 * math.sqrt(32)
    reference = copy.deepcopy(attention)
    reference(x).square().sum().backward()
    attention.to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        y = attention(x.to("cuda"))
    y.float().square().sum().backward()
    torch.testing.assert_close(y.float().cpu(), reference(x), rtol=0.05, atol=0.02)
    for p in attention.parameters():
        assert p.grad.isfinite().all()
