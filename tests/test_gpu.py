"""What learners do on a GPU, on a pretended one: nothing is left on the wrong device."""

import copy
import math
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbclient import NotebookClient
from pretended_gpu import GPU, Recorder, pretended_gpu
from test_compare import SMALL as SMALL_RUN
from test_compare import brief, folder  # noqa: F401
from test_step import trained
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from mae_lib import compare, evaluate
from mae_lib import pretrain as pretrain_module
from mae_lib.config import FineTuneConfig, PretrainConfig, variant_settings
from mae_lib.data.sources import load_data
from mae_lib.pretrain import pretrain
from mae_lib.runtime import hardware
from mae_lib.training.optim import adamw, set_learning_rate
from mae_lib.training.step import RecordedStep, TrainStep, fastest_step

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SMALL = dict(preset="tiny", img_size=32, patch_size=8, epochs=2, warmup_epochs=1, batch_size=8,
             lr=1e-3)


@pytest.fixture
def gpu():
    with pretended_gpu():
        yield GPU


def test_what_a_gpu_refuses_is_refused(gpu):
    x = torch.ones(2, 3, device=gpu)
    assert x.device == gpu and (2 * x + 1)[0].sum().device == gpu and x.cpu().device.type == "cpu"
    assert (x * torch.tensor(2.0)).device == gpu  # a number may lie on the CPU
    assert x[torch.tensor([0])].device == gpu  # indices too
    for wrong in (lambda: x + torch.ones(3), lambda: torch.cat([x, torch.ones(1, 3)]),
                  lambda: torch.equal(x, torch.ones(2, 3)), lambda: torch.ones(2)[x.long()]):
        with pytest.raises(RuntimeError, match="same device"):
            wrong()
    with pytest.raises(TypeError, match=r"Use Tensor.cpu\(\)"):
        x.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, generator=torch.Generator(), device=gpu)


def test_a_model_moves_with_its_gradients_and_copies(gpu):
    model = torch.nn.Linear(3, 2).to(gpu)
    model(torch.ones(1, 3, device=gpu)).sum().backward()
    assert {p.device for p in model.parameters()} == {p.grad.device for p in model.parameters()}
    assert next(copy.deepcopy(model).parameters()).device == gpu
    assert next(model.cpu().parameters()).device.type == "cpu"
    with pytest.raises(RuntimeError, match="same device"):
        model(torch.ones(1, 3, device=gpu))


@pytest.mark.parametrize("variant", ["original", "improved", "low-frequency"])
def test_pretraining_and_every_judge_say_what_they_say_on_a_cpu(variant, tmp_path):
    data = load_data("scenes", size=32, counts=(16, 20, 20), cache=tmp_path, progress=False)
    recipe = FineTuneConfig(epochs=2, warmup_epochs=1, batch_size=16)

    def everything(precision, device):
        device = hardware.pick_device(device)
        cfg = PretrainConfig(**variant_settings(variant, {**SMALL, "precision": precision}))
        run = pretrain(data.unlabeled, data.train, cfg, device=device, progress=False)
        assert {p.device.type for p in run.model.parameters()} == {device.type}
        quality = evaluate.reconstruction_quality(run.model, data.test, cfg.norm_pix)
        precision = hardware.pick_precision(device, precision)
        tuned = evaluate.fine_tune(run.model, data, recipe, 0, precision, progress=False)
        return [run.history.epochs()[-1]["val_loss"], quality["model"]["psnr"],
                evaluate.extract_features(run.model, data.test), tuned.correct]

    with pretended_gpu():
        there = everything("auto", "auto")
    for a, b in zip(there, everything("fp32", "cpu"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("variant, precision", [
    ("original", "fp32"), ("improved", "fp16")])
def test_steps_that_are_recorded_are_plain_steps(variant, precision, gpu):
    """All that changes from step to step enters a recording through tensors."""
    cfg = PretrainConfig(**variant_settings(variant, {**SMALL, "precision": precision}))
    _, plain_terms, plain = trained(TrainStep, cfg)
    step, terms, weights = trained(RecordedStep, cfg)
    assert set(step.recordings) == {8, 6, 4} and type(fastest_step(step.model, cfg)) is RecordedStep
    torch.testing.assert_close(terms, plain_terms)
    torch.testing.assert_close(weights, plain)


def test_recordings_do_not_outlive_the_state_that_they_read(gpu):
    cfg = PretrainConfig(**{**SMALL, "precision": "fp32"})
    images, found = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8), []
    for kind in (TrainStep, RecordedStep):
        step = kind(cfg.build_model().to(gpu), cfg)
        start = copy.deepcopy(step.state_dict())
        for i in range(6):
            step(images.to(gpu), i, 1e-2, 0.5)
        step.load_state_dict(start)
        found.append([float(step(images.to(gpu), 0, 0.0, 0.5)["loss"]) for _ in range(6)])
    assert found[1] == pytest.approx(found[0]) and len(set(found[0])) == 1


def test_each_layer_has_its_learning_rate_there_too(gpu):
    optimizer = adamw(PretrainConfig(**SMALL).build_model().to(gpu), 0.05, layer_decay=0.5)
    set_learning_rate(optimizer, 4.0)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert {rate.device for rate in rates} == {gpu}
    assert [rate.item() for rate in rates] == [4 * g["lr_scale"] for g in optimizer.param_groups]
    assert len({rate.item() for rate in rates}) > 3


def test_the_scale_of_losses_grows_and_goes_on_where_it_was_saved(gpu):
    cfg = PretrainConfig(**{**SMALL, "precision": "fp16"})
    first, second = (TrainStep(cfg.build_model().to(gpu), cfg) for _ in range(2))
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8).to(gpu)
    for i in range(3):
        first(images, i, 1e-3, 0.75)
    assert first.scaler.state_dict()["_growth_tracker"] == 3
    first.scaler.update(1024.0)
    second.load_state_dict(first.state_dict())
    assert second.scaler.state_dict() == first.scaler.state_dict()
    assert second.scaler.get_scale() == 1024


def test_waiting_for_the_gpu_while_recording_is_refused(gpu):
    x, graph = torch.ones(3, device=gpu), torch.cuda.CUDAGraph()
    for waits in (lambda: x.sum().item(), lambda: x.cpu(), lambda: torch.ones(3).to(gpu)):
        with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(graph):
            waits()


def test_a_gpu_that_cannot_record_steps_trains_without(gpu, monkeypatch, capsys):
    """Also where a recording breaks off between the optimizer's step and the new scale."""
    def update(scaler, *new_scale, real=torch.amp.GradScaler.update):
        if any(isinstance(mode, Recorder) for mode in _get_current_dispatch_mode_stack()):
            raise RuntimeError("a pretended GPU has no graphs")
        real(scaler, *new_scale)

    monkeypatch.setattr(torch.amp.GradScaler, "update", update)
    cfg = PretrainConfig(**{**SMALL, "precision": "fp16"})
    step = fastest_step(cfg.build_model().to(gpu), cfg)
    for i in range(6):
        images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8).to(gpu)
        assert step(images, i, 1e-3, 0.75)["loss"].isfinite()
    assert not step.recordings and step.scaler.state_dict()["_growth_tracker"] == 6
    assert capsys.readouterr().err == (
        "Cannot record steps here (a pretended GPU has no graphs): "
        "training continues without that, more slowly.\n")


@pytest.mark.slow  # torch.compile takes most of a minute
def test_compiled_steps_are_recorded_and_are_plain_steps(gpu):
    """To the tolerance of rounding, the loss scale included, after plain steps were recorded."""
    cfg = PretrainConfig(**{**SMALL, "precision": "fp16"})
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8).to(gpu)
    plain, step = (RecordedStep(cfg.build_model().to(gpu), cfg) for _ in range(2))
    for i in range(12):
        if i == 5:
            step.compile()
            assert not step.recordings and step.compile_from == math.inf
        torch.testing.assert_close(step(images, i, 1e-3, 0.75), plain(images, i, 1e-3, 0.75))
    assert "losses" in vars(step) and set(step.recordings) == {4}
    assert step.scaler.state_dict() == plain.scaler.state_dict()
    for a, b in zip(step.model.parameters(), plain.model.parameters(), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("when", [
    "at once", "while it compiles", "in the backward pass", "while it is recorded"])
def test_a_gpu_that_cannot_compile_steps_trains_without(when, gpu, monkeypatch, capsys):
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("Cannot find a working triton installation.")

    def compiling(function, **_):
        def run(*args):
            if when == "while it compiles":
                Fails.backward(None, None)
            if when == "while it is recorded":
                found = function(*args)
                found["loss"].item()  # waits, which no recording allows
                return found
            return {name: Fails.apply(x) for name, x in function(*args).items()}

        return run if when != "at once" else Fails.backward(None, None)

    monkeypatch.setattr(torch, "compile", compiling)
    cfg = PretrainConfig(**{**SMALL, "precision": "fp16"})
    images = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8).to(gpu)
    step, plain = (RecordedStep(cfg.build_model().to(gpu), cfg) for _ in range(2))
    step.compile()
    for i in range(9):
        torch.testing.assert_close(step(images, i, 1e-3, 0.75), plain(images, i, 1e-3, 0.75))
    assert set(step.recordings) == {4} and step.scaler.state_dict()["_growth_tracker"] == 9
    why = "operation not permitted when stream is capturing"
    if when != "while it is recorded":
        why = "Cannot find a working triton installation."
    assert capsys.readouterr().err == (
        f"Cannot compile steps here ({why}): training continues without that, more slowly.\n")


@pytest.mark.parametrize("compile_from, times", [(0, 1), (1e6, 0), (math.inf, 0), (None, 0)])
def test_a_step_is_compiled_once_if_enough_training_is_to_come(compile_from, times, gpu,
                                                              monkeypatch):
    """And not for a run of a few seconds, unless that is asked for."""
    asked = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: asked.append(1) or function)
    monkeypatch.setattr(pretrain_module, "LOG_SECONDS", 0)
    images = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8)
    named = {} if compile_from is None else {"compile_from": compile_from}
    pretrain(images, images, PretrainConfig(**SMALL), progress=False, **named)  # four steps
    assert len(asked) == times


@pytest.mark.parametrize("first, later, times", [(10.0, 0.01, 0), (0.2, 0.2, 1)])
def test_the_first_steps_do_not_decide_what_pays(first, later, times, gpu, monkeypatch):
    """They take longer, because the GPU warms up and records."""
    asked, clock, cfg = [], [0.0], PretrainConfig(**{**SMALL, "epochs": 4})
    paces = iter([first, first, *[later] * 6])

    class Step(TrainStep):
        compile_from = 0.5

        def __call__(self, *given):
            clock[0] += next(paces)
            return super().__call__(*given)

        def compile(self):
            asked.append(1)
            self.compile_from = math.inf

    monkeypatch.setattr(pretrain_module, "LOG_SECONDS", 0)
    monkeypatch.setattr(pretrain_module, "fastest_step", lambda model, cfg, _: Step(model, cfg))
    monkeypatch.setattr(pretrain_module.time, "perf_counter", lambda: clock[0])
    images = torch.randint(256, (16, 3, 32, 32), dtype=torch.uint8)
    pretrain(images, images, cfg, progress=False)
    assert len(asked) == times


def test_memory_that_is_full_while_recording_is_explained(gpu, monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")

    monkeypatch.setattr(torch.cuda, "graph", full)
    images = torch.randint(256, (64, 3, 32, 32), dtype=torch.uint8)
    with pytest.raises(MemoryError, match="lower batch_size"):
        pretrain(images, images, PretrainConfig(**SMALL), progress=False)


def test_the_main_job_runs_there(
    folder, tmp_path, monkeypatch, capsys, gpu, brief  # noqa: F811
):
    words = f"--data imagefolder:{folder} --out {tmp_path} {SMALL_RUN} --precision auto".split()
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    compare.main()
    assert "pretended GPU" in (tmp_path / "results.json").read_text()
    assert "fp16" in (tmp_path / "results.json").read_text()
    assert len(list((tmp_path / "figures").glob("*.png"))) == 3


@pytest.mark.slow  # the pretended GPU is slower than a CPU: a minute and more for each
@pytest.mark.parametrize("path", [
    path for path in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")) if "session.device" in path.read_text()
], ids=lambda path: path.stem)
def test_notebooks_run_at_the_level_of_a_t4(path, tmp_path, monkeypatch):
    """With little data. What they print there is another matter."""
    notebook = nbformat.read(path, as_version=4)
    first = f"import sys; sys.path.append({str(Path(__file__).parent)!r})\n"
    first += "import pretended_gpu; rehearsal = pretended_gpu.rehearse()"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    monkeypatch.delenv("MAE_LIB_LEVEL", raising=False)
    here = {"metadata": {"path": str(tmp_path)}}  # where it keeps its runs
    NotebookClient(notebook, timeout=900, resources=here).execute()
    said = [output.text for cell in notebook.cells if cell.cell_type == "code"
            for output in cell.outputs if output.get("name") == "stdout"]
    assert said[0].startswith("Ready on cuda, run level quick")
