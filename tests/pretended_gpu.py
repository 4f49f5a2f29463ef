"""A GPU where there is none: its tensors are computed on the CPU, but kept apart from the CPU's.

Inside `with pretended_gpu():` torch says that there is a T4, tensors can be moved to it, and what a
real one refuses is refused: tensors of both devices in one operation, or one of its own as an
array. So code that forgot to move something fails here too. CUDA graphs record every operation and
do it again with the same memory. torch.compile traces and runs what it would for a GPU, but writes
no kernels. Speed and half precision are not pretended.
"""

import contextlib
import weakref
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode_stack

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
DEVICE, IS_CUDA, SET_DATA = Tensor.device.__get__, Tensor.is_cuda.__get__, Tensor.data.__set__
_on_gpu: dict[int, weakref.ref] = {}  # by id


def is_on_gpu(x) -> bool:
    return id(x) in _on_gpu


def tensors_in(x) -> Iterator[Tensor]:
    """Those in nested tuples, lists and dicts; torch's own tree_leaves takes far longer."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, tuple | list):
        for part in x:
            yield from tensors_in(part)
    elif isinstance(x, dict):
        yield from tensors_in(list(x.values()))


def _is_gpu(device) -> bool:
    return torch.device(device).type == "cuda"


def _marked(found, gpu: bool):
    """`found`, whose tensors now count as being on the GPU or on the CPU."""
    for x in tensors_in(found):
        _on_gpu.pop(key := id(x), None)
        if gpu:
            _on_gpu[key] = weakref.ref(x, lambda _, key=key: _on_gpu.pop(key, None))
    return found


class Generator(torch.Generator):
    def __new__(cls, device="cpu"):
        made = super().__new__(cls, device="cpu")
        made.place = GPU if _is_gpu(device) else CPU
        return made

    @property
    def device(self):
        return self.place


class PretendedGpu(TorchFunctionMode):
    """Sees every function of torch that is called, and on which device its tensors should be."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), func.__name__
        if func == DEVICE:
            return GPU if is_on_gpu(args[0]) else CPU
        if func == IS_CUDA:
            return is_on_gpu(args[0])
        if name in ("numpy", "__array__") and is_on_gpu(args[0]):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to "
                            "copy the tensor to host memory first.")
        if func in (Tensor.cpu, Tensor.cuda):
            return self._moved(args[0], args[0], func is Tensor.cuda)
        if func is Tensor.to:
            return self._to(*args, **kwargs)
        tensors = list(tensors_in((args, kwargs))) if _on_gpu else []
        gpu = any(map(is_on_gpu, tensors))
        elsewhere = gpu and any(x.dim() and not is_on_gpu(x) for x in tensors)  # a number may be
        if elsewhere and not self._may_meet(name, args):
            raise RuntimeError("Expected all tensors to be on the same device, but found at least "
                               f"two devices, cuda:0 and cpu! ({name})")
        if kwargs.get("device") is not None:
            gpu, kwargs["device"] = _is_gpu(kwargs["device"]), CPU
        generator = kwargs.get("generator")
        if generator is not None and (generator.device.type == "cuda") != gpu:
            raise RuntimeError("Expected a generator on the device of the result.")
        found = func(*args, **kwargs)
        if func == SET_DATA:
            _marked(args[0], is_on_gpu(args[1]))
        return _marked(found, True) if gpu else found

    @staticmethod
    def _may_meet(name: str, args: tuple) -> bool:
        if name == "__getitem__":  # indices may lie on the CPU
            return is_on_gpu(args[0])
        return name in ("copy_", "__setitem__", "__set__", "_has_compatible_shallow_copy_type")

    def _to(self, x, *args, **kwargs):
        gpu, args = is_on_gpu(x), list(args)
        if args and isinstance(args[0], Tensor):
            gpu, args[0] = is_on_gpu(args[0]), args[0].dtype
        elif args and isinstance(args[0], str | torch.device):
            gpu, args[0] = _is_gpu(args[0]), CPU
        if kwargs.get("device") is not None:
            gpu, kwargs["device"] = _is_gpu(kwargs["device"]), CPU
        return self._moved(x, x.to(*args, **kwargs), gpu)

    @staticmethod
    def _moved(x: Tensor, found: Tensor, gpu: bool) -> Tensor:
        if is_on_gpu(x) != gpu:
            if any(isinstance(mode, Recorder) for mode in _get_current_dispatch_mode_stack()):
                raise RuntimeError("operation not permitted when stream is capturing")
            found = x.clone() if found is x else found
        return _marked(found, gpu)


class Graph:
    """A CUDA graph: what was done while it was recorded, done again in the same memory."""

    def __init__(self):
        self.calls, self.new = [], True

    def replay(self):
        if self.new:  # a real recording computes nothing yet, this one has
            self.new = False
            return
        with torch.no_grad(), torch._C.DisableTorchFunction():
            for function, args, kwargs, found in self.calls:
                again = function(*args, **kwargs)
                for mine, new in zip(found, tensors_in(again), strict=True):
                    if mine is not new:
                        mine.copy_(new)


class Recorder(TorchDispatchMode):
    def __init__(self, graph: Graph, *_):
        super().__init__()
        self.graph = graph

    @classmethod
    def is_infra_mode(cls):  # or torch.compile would refuse to run
        return True

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        found = func(*args, **kwargs or {})
        self.graph.calls.append((func, args, kwargs or {}, list(tensors_in(found))))
        return found


REAL = torch.compile, torch.cuda.is_available


def compiled(function, **options):
    """torch.compile, which sees tensors of the CPU, with a backend that needs no GPU."""
    run = REAL[0](function, **{**options, "backend": "aot_eager"})

    def on_gpu(*args):
        with torch.overrides._pop_mode_temporarily(), \
                mock.patch.object(torch.cuda, "is_available", REAL[1]):
            found = run(*args)
        return _marked(found, True)

    return on_gpu


@contextlib.contextmanager
def pretended_gpu(capability: tuple[int, int] = (7, 5)):
    """There is a GPU of this compute capability; a T4's by default."""
    new = torch.nn.Parameter.__new__

    def parameter(cls, data=None, requires_grad=True):
        return _marked(new(cls, data, requires_grad), is_on_gpu(data))

    group = torch.optim.Optimizer._group_tensors_by_device_and_dtype

    def grouped(lists, *rest):
        return {(tensors[0][0].device, dtype): (tensors, places)
                for (_, dtype), (tensors, places) in group(lists, *rest).items()}

    answers = {
        "is_available": True, "device_count": 1, "get_device_capability": capability,
        "get_device_name": "pretended GPU", "mem_get_info": (15 * 2**30, 16 * 2**30),
        "synchronize": None, "empty_cache": None, "is_bf16_supported": True,
    }
    with contextlib.ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, lambda *_, a=answer: a))
        for name in ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check"):
            if hasattr(torch.optim.Optimizer, name):  # asks the driver
                stack.enter_context(mock.patch.object(torch.optim.Optimizer, name, lambda _: None))
        stack.enter_context(mock.patch.object(torch, "Generator", Generator))
        stack.enter_context(mock.patch.object(torch.nn.Parameter, "__new__", parameter))
        for name in ("Stream", "graph_pool_handle", "current_stream"):
            stack.enter_context(mock.patch.object(torch.cuda, name, mock.MagicMock()))
        stack.enter_context(mock.patch.object(
            torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(grouped)))
        stack.enter_context(mock.patch.object(torch.cuda, "stream", contextlib.nullcontext))
        stack.enter_context(mock.patch.object(torch.cuda, "CUDAGraph", Graph))
        stack.enter_context(mock.patch.object(torch.cuda, "graph", Recorder))
        stack.enter_context(mock.patch.object(torch, "compile", compiled))
        stack.enter_context(PretendedGpu())
        yield


def rehearse() -> contextlib.ExitStack:
    """For a notebook: a pretended GPU, scenes in the place of downloads, and all of it small."""
    from dataclasses import replace

    from mae_lib import course
    from mae_lib.data import sources as data
    from mae_lib.model import PRESETS

    load, choose = data.load_data, course.Session.choose

    def load_data(name, *, counts=None, **options):
        if name in ("stl10", "cifar10"):
            size = {"stl10": 96, "cifar10": 32}[name]
            made = load("scenes", size=size, counts=(130, 100, 100), progress=False)
            return replace(made, name=name, classes=data.STL_CLASSES)
        counts = tuple(count if count <= 1000 else 160 for count in counts or (64,) * 3)
        return load(name, counts=counts, **options)

    def fewer(session, **by_level):
        chosen = choose(session, **by_level)
        if not isinstance(chosen, int) or chosen == 64:
            return chosen
        return 240 if chosen >= 100 else min(chosen, 6)  # images or steps; epochs or repetitions

    data.load_data, course.Session.choose = load_data, fewer
    PRESETS["specified"].update(embed_dim=24, depth=2, num_heads=2, decoder_embed_dim=16,
                                decoder_depth=1, decoder_num_heads=2)
    stack = contextlib.ExitStack()
    stack.enter_context(pretended_gpu())
    return stack
