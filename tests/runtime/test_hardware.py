"""Tests of the choice of device and precision, of autocast and of reproducible randomness."""

import json
import os
import platform
import subprocess
import sys

import pytest
import torch

from mae_lib.runtime import hardware

CPU = torch.device("cpu")
SEEDS = {(0,): 3717377837946358015, (1, 2, 3): 6530208866956668065,
         (0, 1, 0): 4854266099512449391, (2**40, 5): 7163743894874719869}


def pretend_gpu(monkeypatch, capability):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)


# Device


def test_pick_device_by_name():
    assert hardware.pick_device("cpu") == CPU


def test_auto_takes_a_gpu_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert hardware.pick_device() == hardware.pick_device("auto") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert hardware.pick_device().type == "cuda"
    assert hardware.pick_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize("name", ["gpu", "", "cuda:x", "banana", "meta", "tpu"])
def test_unknown_device_is_explained(name):
    words = f"Unknown device '{name}'; use auto, cpu, cuda, cuda:N or mps"
    with pytest.raises(ValueError, match=words):
        hardware.pick_device(name)


@pytest.mark.parametrize("there", [True, False])
def test_apples_gpu_is_taken_by_name_where_it_is(monkeypatch, there):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    if there:
        assert hardware.pick_device("mps") == torch.device("mps")
    else:
        with pytest.raises(ValueError, match="No Apple GPU is available here: choose --device cpu"):
            hardware.pick_device("mps")


@pytest.mark.parametrize("name, count", [("cuda", 0), ("cuda:0", 0), ("cuda:2", 2)])
def test_missing_gpu_is_explained(monkeypatch, name, count):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(ValueError, match=f"No CUDA GPU is available here as '{name}': choose --d"):
        hardware.pick_device(name)


# Precision


@pytest.mark.parametrize(
    "capability, expected",
    [((7, 0), "fp16"), ((7, 5), "fp16"), ((8, 0), "bf16"), ((8, 6), "bf16"), ((10, 0), "bf16")],
)
def test_gpus_get_bf16_only_where_it_is_native(monkeypatch, capability, expected):
    """A T4 is 7.5 and only emulates it."""
    pretend_gpu(monkeypatch, capability)
    assert hardware.pick_precision(torch.device("cuda")) == expected


@pytest.mark.parametrize("bf16_seconds, expected", [(0.5, "bf16"), (0.95, "fp32"), (3.0, "fp32")])
def test_cpus_get_bf16_only_where_it_is_clearly_faster(monkeypatch, bf16_seconds, expected):
    seconds = {torch.bfloat16: bf16_seconds, torch.float32: 1.0}
    monkeypatch.setattr(hardware, "_product_seconds", lambda dtype=torch.float32: seconds[dtype])
    assert hardware.pick_precision(CPU) == expected


def test_the_measurement_takes_the_fastest_of_several_products(monkeypatch):
    """What else the machine does only makes some of them slower."""
    measured = []

    def repeat(product, number, repeat):
        measured.append((product().dtype, number, repeat > 2))
        return [3.0, 1.0, 2.0]

    monkeypatch.setattr(hardware.timeit, "repeat", repeat)
    assert hardware._product_seconds() == hardware._product_seconds(torch.bfloat16) == 1.0
    assert measured == [(torch.float32, 1, True), (torch.bfloat16, 1, True)]


@pytest.mark.parametrize("name", ["fp32", "bf16"])
def test_precision_by_name(name):
    assert hardware.pick_precision(CPU, name) == name
    assert hardware.pick_precision(torch.device("cuda"), "fp16") == "fp16"


def test_the_precision_of_a_folder_is_written_once_and_read_if_there_is_one(tmp_path, monkeypatch):
    """A disk that was full leaves an empty file; one that is full now must not empty it."""
    path = tmp_path / "new" / "precision"
    monkeypatch.setattr(hardware, "pick_precision", lambda _, name: name.replace("auto", "bf16"))
    assert hardware.settled_precision(CPU, "fp32", path) == path.read_text() == "fp32"
    with monkeypatch.context() as m:
        m.setattr(type(path), "write_text", None)
        assert hardware.settled_precision(CPU, "auto", path) == "fp32"
    assert hardware.settled_precision(CPU, "auto", path, anew=True) == path.read_text() == "bf16"
    path.write_text("")
    assert hardware.settled_precision(CPU, "auto", path) == path.read_text() == "bf16"


def test_bad_precisions_are_explained():
    with pytest.raises(ValueError, match="must be one of auto, fp32, bf16, fp16, got 'fp8'"):
        hardware.pick_precision(CPU, "fp8")
    with pytest.raises(ValueError, match="fp16 needs a CUDA GPU; use bf16 or fp32"):
        hardware.pick_precision(CPU, "fp16")


@pytest.mark.parametrize("precision, dtype", [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_products_run_at_the_precision_that_was_chosen(precision, dtype):
    a = torch.randn(4, 4)
    cast = hardware.autocast(CPU, precision)
    for _ in range(2):  # one context serves every step
        with cast:
            assert (a @ a).dtype == dtype
        assert (a @ a).dtype == torch.float32


def test_fp32_means_fp32_inside_another_autocast_too():
    a = torch.randn(4, 4)
    with hardware.autocast(CPU, "bf16"), hardware.autocast(CPU, "fp32"):
        assert (a @ a).dtype == torch.float32


# Randomness


def draw(*numbers: int) -> torch.Tensor:
    return torch.rand(4, generator=hardware.generator(*numbers))


def test_generator_repeats():
    assert torch.equal(draw(1, 2, 3), draw(1, 2, 3))


def test_generator_depends_on_every_number_and_on_their_order():
    cases = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1), (1, 2), (1, 2, 3, 4), (0, 0, 1),
             (0, 1, 0), (1, 0, 0), (12, 3), (1, 23), (2**40, 0, 1), (2**40 + 1, 0, 1)]
    assert len({tuple(draw(*case).tolist()) for case in cases}) == len(cases)


@pytest.mark.parametrize("first, second", [((3,), (3, 0)), ((3,), (3, 0, 0)), ((2**32,), (0, 1))])
def test_generator_depends_on_how_many_numbers_there_are(first, second):
    """Else the stream of (VALIDATION,) is also that of (seed 3, ORDER, turn 0)."""
    assert not torch.equal(draw(*first), draw(*second))


def test_streams_of_neighbouring_steps_are_unrelated():
    """As unlike each other as random numbers are: correlations of 1000 draws, within 5 sigma."""
    streams = torch.stack(
        [torch.rand(1000, generator=hardware.generator(0, 1, s)) for s in range(20)]
    )
    correlation = torch.corrcoef(streams) - torch.eye(20)
    assert correlation.abs().max() < 5 / 1000**0.5


def test_generator_draws_on_the_cpu_unless_told():
    assert hardware.generator(1).device == hardware.generator(1, device=CPU).device == CPU
    with pytest.raises(TypeError, match="device"):
        hardware.generator(CPU, 1)  # a forgotten keyword must not become part of the seed


def test_seeds_of_many_steps_are_all_different_and_fill_63_bits():
    seeds = [hardware.generator(0, 1, step).initial_seed() for step in range(2000)]
    assert len(set(seeds)) == 2000
    assert 0.99 * 2**63 < max(seeds) < 2**63


def test_generator_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    draw(1, 2, 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_generator_is_the_same_in_every_process_and_on_every_machine():
    """As it was for every stored result: NumPy promises that SeedSequence stays as it is."""
    seeds = {numbers: hardware.generator(*numbers).initial_seed()
             for numbers in ((0,), (1, 2, 3), (0, 1, 0), (2**40, 5))}
    assert seeds == SEEDS
    streams = {rng.name: rng.value for rng in hardware.RNG}
    assert streams == dict(
        ORDER=0, CROP_AND_MASK=1, WEIGHTS=2, VALIDATION=3, RATIOS=4, FINE_TUNE=10,
        TEST_MASKS=12, FOLDS=13, LABELS=14)


# The machine


def test_keep_freed_memory_asks_glibc_and_nobody_else(monkeypatch):
    asked = []

    class Libc:
        def mallopt(self, parameter, value):
            asked.append((parameter, value))
            return 1

    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: Libc())
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))  # musl, macOS, Windows
    hardware.reuse_freed_memory()
    assert asked == []
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.36"))
    hardware.reuse_freed_memory()
    # malloc.h: M_TRIM_THRESHOLD is -1, M_MMAP_MAX is -4
    assert dict(asked) == {-4: 0, -1: 2**31 - 1}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc only")
def test_glibc_accepts_what_it_is_asked():
    results, real = [], hardware.ctypes.CDLL

    class Libc:
        def mallopt(self, *arguments):
            results.append(real("libc.so.6").mallopt(*arguments))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hardware.ctypes, "CDLL", lambda name: Libc())
        hardware.reuse_freed_memory()
    assert results == [1, 1]


def more_than_there_is():
    return torch.empty(2**55)


def a_broken_recording():
    """What a CUDA graph does that runs out of memory while it is recorded."""
    try:
        raise torch.OutOfMemoryError("CUDA out of memory.")
    except RuntimeError as error:
        raise RuntimeError("CUDA error: operation failed during capture") from error


def a_library_without_memory():
    raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize("ask", [more_than_there_is, a_broken_recording, a_library_without_memory])
def test_full_memory_is_explained_and_what_filled_it_is_let_go(ask):
    with pytest.raises(MemoryError, match="not enough memory: lower batch_size") as stopped:
        hardware.explain_full_memory(ask)()
    assert stopped.value.__context__ is None  # which would keep every tensor that was alive


def test_other_errors_are_not_taken_for_full_memory():
    with pytest.raises(RuntimeError, match="size of tensor"):
        hardware.explain_full_memory(torch.add)(torch.ones(2), torch.ones(3))
    assert hardware.explain_full_memory(torch.add)(1, other=2) == 3


def test_a_record_names_the_gpu_that_was_used(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU {device.index}")
    assert hardware.describe(torch.device("cuda", 1))["device"] == "GPU 1"
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert hardware.describe(torch.device("mps"))["device"] == "Apple arm64 GPU"


@pytest.mark.parametrize("threads, words", [(1, "CPU, 1 thread"), (2, "CPU, 2 threads")])
def test_describe_is_a_record_that_json_can_hold(monkeypatch, threads, words):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    record = hardware.describe(CPU)
    assert json.loads(json.dumps(record)) == record
    assert record["python"] == platform.python_version()
    assert record["torch"] == torch.__version__
    assert record["device"].endswith(words)


@pytest.mark.parametrize("set_by_user, expected", [({}, "3000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_waiting_threads_soon_leave_their_core_to_others(set_by_user, expected):
    """The setting must be there before torch is loaded, and is the user's where there is one."""
    code = ("import sys, os, mae_lib; "
            "print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)")
    env = {k: v for k, v in os.environ.items() if k != "GOMP_SPINCOUNT"} | set_by_user
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert found.stdout.split() == [expected, "False"]
