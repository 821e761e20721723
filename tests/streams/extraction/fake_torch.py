"""What the encoders use of PyTorch, over NumPy, on a GPU that is not there and takes the time of one that is.

Numbers are computed at once; when they would be there is kept apart: each stream has its own time, until which what was
queued on it takes, copies wait for nothing where they come from pinned memory, and whoever waits for an event sleeps
until its time. Only multiplications and copies take any.
"""

import math
import sys
import time
from contextlib import contextmanager, nullcontext
from types import ModuleType, SimpleNamespace

import numpy as np
from scipy.special import erf


class OutOfMemoryError(RuntimeError):
    """As PyTorch calls it."""


class Machine:
    """The GPU: how long it takes, how much it holds, and what it did.

    Parameters
    ----------
    linear_s, copy_s
        Seconds of a multiplication by weights, and of a copy there or back.
    room
        Cells of the largest array that a multiplication may make.
    """

    def __init__(self, linear_s=0.0, copy_s=0.0, room=math.inf):
        self.linear_s, self.copy_s, self.room = linear_s, copy_s, room
        self.now = None
        self.done = []
        self.blocked, self.emptied, self.refused = 0, 0, []

    def takes(self, what, seconds):
        """Queue something on the stream in hand."""
        begun = max(time.perf_counter(), self.now.free)
        self.now.free = begun + seconds
        self.done.append((self.now.number, what, begun, self.now.free))

    def times(self, what):
        return [(begun, ended) for _, kind, begun, ended in self.done if kind == what]

    def copies(self, what, waits):
        self.takes(what, self.copy_s)
        if waits:
            self.blocked += 1
            time.sleep(max(0.0, self.now.free - time.perf_counter()))


class Tensor(np.ndarray):
    """An array that knows where it is."""

    on_gpu, pinned, machine = False, False, None

    def __array_finalize__(self, other):
        self.on_gpu, self.machine = getattr(other, "on_gpu", False), getattr(other, "machine", None)

    @property
    def device(self):
        return SimpleNamespace(type="cuda" if self.on_gpu else "cpu")

    def pin_memory(self):
        pinned = self.copy()
        pinned.pinned = True
        return pinned

    def to(self, device, dtype=None, non_blocking=False):
        moved = self.astype(dtype or self.dtype)
        if device.type == "cuda" and not self.on_gpu:
            moved.on_gpu = True
            self.machine.copies("there", not (non_blocking and self.pinned and moved.dtype == self.dtype))
        return moved

    def copy_(self, other, non_blocking=False):
        assert other.on_gpu
        self[...] = other
        self.machine.copies("back", not (non_blocking and self.pinned))

    def numpy(self):
        assert not self.on_gpu, "PyTorch has no array of NumPy for what is on a GPU"
        return np.asarray(self)

    def float(self):
        return self.astype(np.float32)

    def half(self):
        return self.astype(np.float16)

    def is_floating_point(self):
        return self.dtype.kind == "f"

    def record_stream(self, stream):
        assert self.on_gpu

    def view(self, *shape):
        return self.reshape(shape) if shape and isinstance(shape[0], int) else super().view(*shape)

    def transpose(self, *axes):
        return self.swapaxes(*axes) if len(axes) == 2 and self.ndim > 2 else super().transpose(*axes)


class Stream:
    """Work in order; ``free`` is when all of it will have been done."""

    made = 0

    def __init__(self, device=None):
        self.free = 0.0
        Stream.made += 1
        self.number = Stream.made

    def wait_stream(self, other):
        self.free = max(self.free, other.free)


class Event:
    def __init__(self, enable_timing=False):
        self._timed = enable_timing

    def record(self, stream):
        self._at = max(time.perf_counter(), stream.free)

    def synchronize(self):
        time.sleep(max(0.0, self._at - time.perf_counter()))

    def elapsed_time(self, other):
        assert self._timed
        assert other._timed
        return 1000 * (other._at - self._at)


def module(machine):
    """The module, on that machine; put it in the place of torch."""
    torch, functional = ModuleType("torch"), ModuleType("torch.nn.functional")
    machine.now = Stream()

    def tensor(array, on_gpu=False):
        made = np.asarray(array).view(Tensor)
        made.on_gpu, made.machine = on_gpu, machine
        return made

    @contextmanager
    def stream(chosen):
        before, machine.now = machine.now, chosen
        try:
            yield
        finally:
            machine.now = before

    def empty(shape, dtype, pin_memory=False):
        made = tensor(np.empty(shape, dtype))
        made.pinned = pin_memory
        return made

    def empty_cache():
        machine.emptied += 1

    def linear(x, weight, bias):
        assert x.on_gpu == weight.on_gpu
        if math.prod(x.shape[:-1]) > machine.room:
            machine.refused.append(math.prod(x.shape[:-1]))
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the manual.")
        if x.on_gpu:
            machine.takes("linear", machine.linear_s)
        return x @ weight.T + bias

    def layer_norm(x, shape, weight, bias, epsilon):
        x = x.astype(np.float32)
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon)
        return (x * weight + bias).astype(weight.dtype)

    def attention(query, key, value, attn_mask):
        scores = (query @ key.swapaxes(-1, -2)) / math.sqrt(query.shape[-1])
        scores = np.where(attn_mask, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        return ((shares / shares.sum(-1, keepdims=True)) @ value).astype(value.dtype)

    torch.device = lambda name: SimpleNamespace(type=name)
    torch.float16, torch.float32 = np.dtype(np.float16), np.dtype(np.float32)
    torch.from_numpy, torch.empty, torch.inference_mode = tensor, empty, nullcontext
    torch.arange = lambda n, device: tensor(np.arange(n), device.type == "cuda")
    torch.set_num_threads = lambda n: None
    torch.cuda = SimpleNamespace(
        Stream=Stream,
        Event=Event,
        stream=stream,
        is_available=lambda: True,
        synchronize=lambda device: time.sleep(max(0.0, machine.now.free - time.perf_counter())),
        OutOfMemoryError=OutOfMemoryError,
        empty_cache=empty_cache,
    )
    functional.embedding = lambda rows, table: table[rows]
    functional.linear, functional.layer_norm = linear, layer_norm
    functional.gelu = lambda x: (x * 0.5 * (1 + erf(x.astype(np.float32) * math.sqrt(0.5)))).astype(x.dtype)
    functional.scaled_dot_product_attention = attention
    functional.normalize = lambda x, dim: x / np.sqrt((x * x).sum(dim, keepdims=True))
    torch.nn = SimpleNamespace(functional=functional)
    return torch


class OneOfTwo:
    """An encoder whose worker has a GPU of its own; its rows tell which one that is, as the worker was told."""

    def __init__(self, linear_s):
        self._linear_s = linear_s
        self._device = None

    def warm_up(self):
        import os

        from streams.extraction.encoders.torch_device import TorchDevice

        sys.modules["torch"] = module(Machine(self._linear_s))
        self._device = TorchDevice("cuda")
        self._weights = self._device.load(
            {"weight": np.eye(4, dtype=np.float32), "bias": np.full(4, int(os.environ["CUDA_VISIBLE_DEVICES"]), "f4")}
        )

    @property
    def device_s(self):
        return self._device.busy_s

    def __call__(self, payloads):
        from streams.extraction.encoders.devices import computed

        def network(numerics, weights):
            rows = np.repeat(numerics.ids[:, :1].float(), 4, axis=1)
            return numerics.linear(rows * 0, weights["weight"], weights["bias"]) + rows * [0, 1, 0, 0]

        return np.concatenate(computed(self._device, network, self._weights, ([[payload]] for payload in payloads)))
