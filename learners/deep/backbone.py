"""A pretrained transformer, with places between its blocks where prompts can be put in."""

from __future__ import annotations

import itertools
import threading
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.deep.pretrained import Pretrained

Item = NDArray[Any]
"""What the transformer is given of one event: int64 (tokens,), or float32 (channels, height, width)."""

Prompts = Mapping[int, Any]
"""By the number of the block, vectors that each event is given there: a tensor (events, length, width), or for prefixes
(events, 2, length, width), of which the first half goes before the keys and the second before the values."""

TOGETHER, TOGETHER_ON_GPU = 32, 256
"""Events that go through the transformer at once, at most."""

ALIKE = (8, 4, 2, 1)
"""Events of one shape that a processor passes together where there is no gradient."""


class Backbone:
    """Features of texts or images by a pretrained transformer.

    Parameters
    ----------
    pretrained
        Its weights.
    device
        Of PyTorch.
    half
        Whether to reckon in half precision (bfloat16), features excepted.

    Notes
    -----
    Prompts are put in by functions that PyTorch calls before and after a block, and prefixes where attention is
    reckoned, so that any encoder of transformers will do whose blocks stand in one list and take vectors first. No
    dropout. One pass at a time; the others wait.

    On a processor, where there is no gradient, up to eight events of as many tokens go through the network together, if
    the first ones of that length and number were found to have the same bits in company and alone; else they go one by
    one. So features do not depend on how events were put together. On a GPU they do, by rounding.
    """

    def __init__(self, pretrained: Pretrained, device: str, *, half: bool = False) -> None:
        import torch

        self.model = _load(pretrained.folder).to(torch.float32).eval().requires_grad_(False).to(device)
        self.pretrained, self.device, self.half = pretrained, torch.device(device), half
        self._takes_first = pretrained.takes_first_token
        self._is_gpu = self.device.type != "cpu"
        self._lock = threading.Lock()
        self._prompts: Prompts = {}
        self._stays = False
        self._block, self._n_prefixed = -1, 0
        self._before_last: Any = None
        # A weak one, so that weights that nobody holds go at once.
        me = weakref.proxy(self)
        for number, block in enumerate(self._find_blocks(torch)):
            block.register_forward_pre_hook(lambda _, a, k, number=number: me._enter(number, a, k), with_kwargs=True)
            block.register_forward_hook(lambda _, __, found, number=number: me._leave(number, found))
        self._same_alone: dict[Any, bool] = {}

    def _find_blocks(self, torch: Any) -> Any:
        n_blocks = self.pretrained.n_blocks
        lists = [part for part in self.model.modules() if isinstance(part, torch.nn.ModuleList)]
        for found in lists:
            if len(found) == n_blocks:
                return found
        raise ValueError(
            f"model must have a list of its {n_blocks} blocks, got lists of {[len(part) for part in lists]}"
        )

    def features(
        self,
        items: Sequence[Item],
        prompts: Prompts | None = None,
        *,
        before_last: bool = False,
        stays: bool = False,
        gradient: bool = False,
    ) -> Any:
        """A row an event: float32 (events, width).

        Parameters
        ----------
        items
            The events.
        prompts
            What is put in, a row of each tensor an event.
        before_last
            Whether the feature is taken before the last block, and so before the norm at the end.
        stays
            Whether prompts, which must be those of one block, are kept to the end, where the feature is their mean.
        gradient
            Whether it has one.

        Raises
        ------
        ValueError
            Prefixes were given, and the model does not reckon attention where they can be put in.
        """
        import torch

        given = prompts or {}
        rows: list[Any] = []
        order: list[int] = []
        with self._lock, torch.set_grad_enabled(gradient), self._autocast(torch):
            for part in self._parts(items, together=gradient or self._is_gpu):
                order += part
                mine = {block: value[part] for block, value in given.items()}
                taken = [items[event] for event in part]
                if gradient or self._is_gpu:
                    rows.append(self._pass(taken, mine, before_last, stays).float())
                else:
                    rows.append(self._alike(taken, mine, before_last, stays).float())
        if not rows:
            return torch.zeros((0, self.pretrained.width), device=self.device)
        return torch.cat(rows)[np.argsort(order)]

    def _parts(self, items: Sequence[Item], *, together: bool) -> Iterator[list[int]]:
        """Numbers of events that go together, those of fewer tokens first; only of as many, if not ``together``."""
        by_length = sorted(range(len(items)), key=lambda event: items[event].shape[-1])
        if together:
            most = TOGETHER_ON_GPU if self._is_gpu else TOGETHER
            yield from (by_length[start : start + most] for start in range(0, len(items), most))
            return
        for _, same in itertools.groupby(by_length, key=lambda event: items[event].shape):
            part = list(same)
            for size in ALIKE:
                while len(part) >= size:
                    yield part[:size]
                    part = part[size:]

    def _alike(self, items: list[Item], prompts: Prompts, before_last: bool, stays: bool) -> Any:
        """The rows of events of one shape, each of which is the same as if the event were alone."""
        import torch

        shapes = tuple(sorted((block, tuple(value.shape[1:])) for block, value in prompts.items()))
        key = len(items), items[0].shape, shapes, before_last, stays, torch.get_num_threads()
        if len(items) == 1 or self._same_alone.get(key):
            return self._pass(items, prompts, before_last, stays)
        alone = torch.cat(
            [
                self._pass([item], {block: value[i : i + 1] for block, value in prompts.items()}, before_last, stays)
                for i, item in enumerate(items)
            ]
        )
        if key not in self._same_alone:
            self._same_alone[key] = torch.equal(alone, self._pass(items, prompts, before_last, stays))
        return alone

    def _pass(self, items: list[Item], prompts: Prompts, before_last: bool, stays: bool) -> Any:
        import torch

        given, there = self._given(items, torch)
        self._prompts, self._stays, self._n_prefixed, self._before_last = prompts, stays, 0, None
        is_prefix = any(value.ndim == 4 for value in prompts.values())
        try:
            with _attending_with(self) if is_prefix else nullcontext():
                tokens = self.model(**given).last_hidden_state
            tokens = self._before_last if before_last else tokens
        finally:
            self._prompts, self._before_last = {}, None
        if is_prefix and self._n_prefixed != len(prompts):
            raise ValueError("insertion must be 'prompt': the model does not reckon attention where a prefix can go in")
        if stays:
            length = next(iter(prompts.values())).shape[1]
            return tokens[:, -length:].mean(1)
        if self._takes_first:
            return tokens[:, 0]
        if there is None:
            return tokens.mean(1)
        return (tokens * there[:, :, None]).sum(1) / there.sum(1, keepdim=True)

    def _given(self, items: list[Item], torch: Any) -> tuple[dict[str, Any], Any]:
        """What the model is called with, and for texts of several lengths which tokens there are."""
        if self.pretrained.sees:
            return {"pixel_values": torch.from_numpy(np.stack(items)).to(self.device)}, None
        lengths = np.array([len(item) for item in items])
        ids = np.full((len(items), max(1, int(lengths.max()))), self.pretrained.config.get("pad_token_id") or 0)
        for row, item in zip(ids, items, strict=True):
            row[: len(item)] = item
        there = torch.from_numpy(np.arange(ids.shape[1]) < np.maximum(1, lengths)[:, np.newaxis]).to(self.device)
        given = {"input_ids": torch.from_numpy(ids).to(self.device), "attention_mask": there.long()}
        return given, None if (lengths == ids.shape[1]).all() else there.float()

    def _autocast(self, torch: Any) -> Any:
        return torch.autocast(self.device.type, torch.bfloat16) if self.half else nullcontext()

    # What is called at a block.

    def _enter(self, number: int, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Put the block's prompts after the tokens, and let them be attended to."""
        import torch

        self._block = number
        tokens = args[0]
        n_more = 0
        prompts = self._prompts.get(number)
        if prompts is not None and prompts.ndim == 3:
            tokens = torch.cat([tokens, prompts.to(tokens.dtype)], 1)
            n_more = prompts.shape[1]
        elif self._stays and number > min(self._prompts):
            n_more = self._prompts[min(self._prompts)].shape[1]
        if n_more == 0:
            return None
        named = {name: _widened(torch, value, n_more) if _is_mask(value) else value for name, value in named.items()}
        rest = tuple(_widened(torch, value, n_more) if _is_mask(value) else value for value in args[1:])
        return (tokens, *rest), named

    def _leave(self, number: int, found: Any) -> Any:
        """Cut off the block's prompts, unless they stay."""
        tokens = found[0] if isinstance(found, tuple) else found
        prompts = self._prompts.get(number)
        if prompts is not None and prompts.ndim == 3 and not self._stays:
            tokens = tokens[:, : tokens.shape[1] - prompts.shape[1]]
        if number == max(0, self.pretrained.n_blocks - 2):
            self._before_last = tokens
        return (tokens, *found[1:]) if isinstance(found, tuple) else tokens

    def _with_prefix(self, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of attention with the prefix of the block that is reckoned, if it has one."""
        import torch

        prefix = self._prompts.get(self._block)
        if prefix is None:
            return args, named
        query, key, value = args[:3]
        n, n_heads, _, width = key.shape
        before = prefix.to(key.dtype).view(n, 2, -1, n_heads, width).transpose(2, 3)
        self._n_prefixed += 1
        mask = named.get("attn_mask")
        if mask is not None:
            length = before.shape[3]
            named["attn_mask"] = _widened(torch, mask, length, queries=False).roll(length, 3)
        keys, values = torch.cat([before[:, 0], key], 2), torch.cat([before[:, 1], value], 2)
        return (query, keys, values, *args[3:]), named


def open_backbone(pretrained: Pretrained, device: str, *, half: bool = False) -> Backbone:
    """A backbone that stays as it is; one that somebody holds already is shared."""
    key = str(pretrained.folder.resolve()), pretrained.fingerprint, device, half
    with _OPENING:
        held = _HELD.get(key)
        if held is None:
            held = _HELD[key] = Backbone(pretrained, device, half=half)
    return held


_HELD: weakref.WeakValueDictionary[tuple[str, str, str, bool], Backbone] = weakref.WeakValueDictionary()
_OPENING = threading.Lock()


def device_of(name: str) -> str:
    """The device of a setting, as PyTorch calls it.

    Parameters
    ----------
    name
        ``cpu``; ``cuda``: a GPU, or where there is none the processor, with a warning; ``auto``: the same, without one.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {name!r}")
    import torch

    if name != "cpu" and torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        message = "device must be a GPU that PyTorch can use, found none: the CPU learns"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return "cpu"


@contextmanager
def _attending_with(backbone: Backbone) -> Iterator[None]:
    """Attention of blocks that have a prefix is reckoned with it: PyTorch hands every call to the mode that is open."""
    from torch.nn.functional import scaled_dot_product_attention
    from torch.overrides import TorchFunctionMode

    class Mode(TorchFunctionMode):  # type: ignore[misc]
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is scaled_dot_product_attention:
                args, kwargs = backbone._with_prefix(args, dict(kwargs or {}))
            return function(*args, **(kwargs or {}))

    with Mode():
        yield


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Nothing is printed while weights are loaded."""
    level, shows_progress = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shows_progress:
            logging.enable_progress_bar()


def _load(folder: Path) -> Any:
    """The network, without the pooling at its end where it can be had without."""
    from transformers import AutoModel
    from transformers.utils import logging

    given = {"local_files_only": True, "trust_remote_code": False, "attn_implementation": "sdpa"}
    with _quiet(logging):
        try:
            return AutoModel.from_pretrained(folder, add_pooling_layer=False, **given)
        except TypeError:
            return AutoModel.from_pretrained(folder, **given)


def _is_mask(value: Any) -> bool:
    return getattr(value, "ndim", 0) == 4


def _widened(torch: Any, mask: Any, n_keys: int, *, queries: bool = True) -> Any:
    """A mask (events, heads, queries, keys) under which more keys are attended to, by themselves as by all others."""
    if queries and mask.shape[2] > 1:
        # A token that there is, as the first one always is, tells which others there are.
        mask = torch.cat([mask, mask[:, :, :1].expand(-1, -1, n_keys, -1)], 2)
    allowed = True if mask.dtype == torch.bool else 0.0
    return torch.nn.functional.pad(mask, (0, n_keys), value=allowed)
