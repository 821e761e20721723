"""Features of a pretrained transformer: those of transformers itself, with prompts where they belong."""

from __future__ import annotations

import numpy as np
import pytest

from learners.deep import backbone as module
from learners.deep.backbone import Backbone, device_of, open_backbone
from learners.deep.payloads import Reader
from learners.deep.pretrained import Pretrained
from tests.learners.tiny_transformers import images, save_bert, save_vit, texts

pytestmark = pytest.mark.deep

KINDS = ["vit", "bert"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    pytest.importorskip("transformers", reason="needs transformers")
    folder = tmp_path_factory.mktemp("models")
    return {"vit": save_vit(folder / "vit"), "bert": save_bert(folder / "bert")}


@pytest.fixture(scope="module")
def made(folders):
    """A backbone and a network of transformers that nobody has touched, of each kind."""
    from transformers import AutoModel

    found = {}
    for kind, folder in folders.items():
        untouched = AutoModel.from_pretrained(folder, attn_implementation="sdpa").eval().requires_grad_(False)
        found[kind] = Backbone(Pretrained(folder), "cpu"), untouched
    return found


def items_of(kind, folders, n=5):
    read = Reader(Pretrained(folders[kind]), None)
    return read(images(n) if kind == "vit" else texts(n))


def alike(kind, folders, n=3):
    """Events of as many tokens."""
    read = Reader(Pretrained(folders[kind]), None)
    return read(images(n) if kind == "vit" else [f"w{number} w1 w2" for number in range(n)])


def given(kind, items):
    import torch

    stacked = torch.from_numpy(np.stack(items))
    return {"pixel_values": stacked} if kind == "vit" else {"input_ids": stacked}


def blocks(model):
    import torch

    n_blocks = model.config.num_hidden_layers
    return next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == n_blocks)


def run(block, tokens):
    found = block(tokens)
    return found[0] if isinstance(found, tuple) else found


def ended(kind, model, tokens):
    """What comes after the last block."""
    return model.layernorm(tokens) if kind == "vit" else tokens


def pooled(kind, tokens):
    return tokens[:, 0] if kind == "vit" else tokens.mean(1)


def drawn(*shape, seed=0):
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
def test_without_prompts_it_is_the_model_of_transformers(made, folders, kind):
    backbone, model = made[kind]
    for item, row in zip(items_of(kind, folders), backbone.features(items_of(kind, folders)), strict=True):
        expected = pooled(kind, model(**given(kind, [item])).last_hidden_state)[0]
        np.testing.assert_allclose(row.numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_tokens_of_their_block_alone(made, folders, kind):
    backbone, model = made[kind]
    items = alike(kind, folders)
    prompts = {0: drawn(3, 2, 16), 2: drawn(3, 4, 16, seed=1)}
    import torch

    tokens = model(**given(kind, items), output_hidden_states=True).hidden_states[0]
    n_tokens = tokens.shape[1]
    for number, block in enumerate(blocks(model)):
        if number in prompts:
            tokens = torch.cat([tokens, prompts[number]], 1)
        tokens = run(block, tokens)[:, :n_tokens]
    expected = pooled(kind, ended(kind, model, tokens))
    np.testing.assert_allclose(backbone.features(items, prompts).numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_that_stay_are_the_feature(made, folders, kind):
    import torch

    backbone, model = made[kind]
    items, prompts = alike(kind, folders), drawn(3, 2, 16)
    tokens = model(**given(kind, items), output_hidden_states=True).hidden_states[0]
    tokens = torch.cat([tokens, prompts], 1)
    for block in blocks(model):
        tokens = run(block, tokens)
    expected = ended(kind, model, tokens)[:, -2:].mean(1)
    np.testing.assert_allclose(backbone.features(items, {0: prompts}, stays=True).numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_feature_before_the_last_block(made, folders, kind):
    backbone, model = made[kind]
    items = alike(kind, folders)
    expected = pooled(kind, model(**given(kind, items), output_hidden_states=True).hidden_states[-2])
    np.testing.assert_allclose(backbone.features(items, before_last=True).numpy(), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_goes_before_keys_and_values(made, folders, kind):
    """What attention is called with: of the block, the prefix in each head; of others, the tokens."""
    import torch
    from torch.overrides import TorchFunctionMode

    calls = []

    class Recording(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            if function is torch.nn.functional.scaled_dot_product_attention:
                calls.append((args, kwargs or {}))
            return function(*args, **(kwargs or {}))

    backbone, _ = made[kind]
    items, prefix = alike(kind, folders), drawn(3, 2, 5, 16)
    with Recording():
        features = backbone.features(items, {1: prefix}, gradient=True)
    n_tokens = calls[0][0][1].shape[2]
    assert [args[1].shape[2] - n_tokens for args, _ in calls] == [0, 5] + [0] * (len(calls) - 2)
    for half, tensor in enumerate(calls[1][0][1:3]):
        heads = prefix[:, half].reshape(3, 5, 2, 8).transpose(1, 2)
        assert torch.equal(tensor[:, :, :5], heads)
        assert tensor.shape[2] == n_tokens + 5
    assert calls[1][0][0].shape[2] == n_tokens
    assert not torch.allclose(features, backbone.features(items), atol=1e-3)


@pytest.mark.parametrize(("halves", "stays"), [((), False), ((), True), ((2,), False)])
def test_texts_of_other_lengths_change_nothing_but_by_rounding(made, folders, halves, stays):
    """With a gradient texts of several lengths go together, and what fills the shorter ones up is not attended to."""
    backbone, _ = made["bert"]
    items = items_of("bert", folders, 9)
    assert len({len(item) for item in items}) > 3
    block = 0 if stays else 1
    prompts = drawn(9, *halves, 3, 16)
    together = backbone.features(items, {block: prompts}, gradient=True, stays=stays)
    alone = [
        backbone.features([item], {block: prompts[i : i + 1]}, stays=stays)[0].numpy() for i, item in enumerate(items)
    ]
    np.testing.assert_allclose(together.numpy(), alone, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("halves", [(), (2,)])
def test_an_event_sees_its_own_prompts_alone(made, folders, kind, halves):
    import torch

    backbone, _ = made[kind]
    items, prompts = alike(kind, folders), drawn(3, *halves, 2, 16)
    other = prompts.clone()
    other[1] += 1
    before, after = (backbone.features(items, {1: value}) for value in (prompts, other))
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True]


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_go_to_prompts_alone(made, folders, kind):
    backbone, _ = made[kind]
    prompts = {block: drawn(3, 2, 16, seed=block).requires_grad_() for block in (0, 2)}
    # One number of each row: what a layer's norm puts out adds up to the same, whatever comes in.
    backbone.features(alike(kind, folders), prompts, gradient=True)[:, 0].sum().backward()
    assert all(value.grad.abs().sum() > 0 for value in prompts.values())
    assert all(weight.grad is None and not weight.requires_grad for weight in backbone.model.parameters())
    assert not backbone.features(alike(kind, folders), prompts).requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_a_feature_is_the_same_bits_in_any_company(made, folders, kind):
    import torch

    backbone, _ = made[kind]
    items = items_of(kind, folders, 24)
    alone = torch.cat([backbone.features([item]) for item in items])
    for _ in range(2):
        assert torch.equal(backbone.features(items), alone)
        assert torch.equal(backbone.features(items[7:20]), alone[7:20])


@pytest.mark.parametrize("same", [True, False])
def test_events_go_together_where_that_was_found_to_change_nothing(made, folders, monkeypatch, same):
    import torch

    backbone = Backbone(Pretrained(folders["vit"]), "cpu")
    sizes = []
    go = backbone._pass
    monkeypatch.setattr(backbone, "_pass", lambda items, *rest: sizes.append(len(items)) or go(items, *rest))
    monkeypatch.setattr(torch, "equal", lambda a, b: same)
    items = items_of("vit", folders, 19)
    backbone.features(items)
    assert sizes == [1] * 8 + [8] + ([8] if same else [1] * 8) + [1, 1, 2, 1]
    sizes.clear()
    backbone.features(items, {1: drawn(19, 2, 16)})
    assert sizes[:9] == [1] * 8 + [8]
    sizes.clear()
    backbone.features(items, gradient=True)
    assert sizes == [19]


def test_half_precision_is_near(made, folders):
    backbone = Backbone(Pretrained(folders["bert"]), "cpu", half=True)
    items = items_of("bert", folders)
    prompts = {1: drawn(5, 2, 16)}
    exact = made["bert"][0].features(items, prompts).numpy()
    for gradient in (False, True):
        near = backbone.features(items, prompts, gradient=gradient).numpy()
        assert near.dtype == np.float32
        assert 0 < np.abs(near - exact).max() < 0.1


def test_no_events_have_no_rows(made):
    assert made["vit"][0].features([]).shape == (0, 16)


def test_backbones_are_shared_while_somebody_holds_one(folders):
    pretrained = Pretrained(folders["vit"])
    first = open_backbone(pretrained, "cpu")
    assert open_backbone(Pretrained(folders["vit"]), "cpu") is first
    assert open_backbone(pretrained, "cpu", half=True) is not first
    folder = str(pretrained.folder.resolve())
    assert [key[0] for key in module._HELD].count(folder) == 1
    del first
    assert folder not in [key[0] for key in module._HELD]


def test_a_model_without_a_list_of_blocks_is_refused(folders):
    pretrained = Pretrained(folders["vit"])
    pretrained.n_blocks = 7
    with pytest.raises(ValueError, match=r"model must have a list of its 7 blocks, got lists of \[4\]"):
        Backbone(pretrained, "cpu")


def test_a_prefix_that_finds_no_attention_is_refused(folders, monkeypatch):
    backbone = Backbone(Pretrained(folders["vit"]), "cpu")
    monkeypatch.setattr(backbone, "_with_prefix", lambda args, named: (args, named))
    with pytest.raises(ValueError, match="insertion must be 'prompt': the model does not reckon attention where"):
        backbone.features(items_of("vit", folders, 1), {0: drawn(1, 2, 3, 16)})
    assert backbone.features(items_of("vit", folders, 1)).shape == (1, 16)


def test_devices(monkeypatch):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu' or 'cuda', got 'tpu'"):
        device_of("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == device_of("cpu") == "cpu"
    with pytest.warns(RuntimeWarning, match="device must be a GPU that PyTorch can use, found none: the CPU learns"):
        assert device_of("cuda") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (device_of("auto"), device_of("cuda"), device_of("cpu")) == ("cuda", "cuda", "cpu")


def test_a_model_that_came_with_a_task_is_taken_without_it(tmp_path, made, folders):
    """As a whole classifier saves it, its names begin with that of the model."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig.from_pretrained(folders["vit"])
    whole = ViTForImageClassification(config).eval()
    whole.save_pretrained(tmp_path)
    items = items_of("vit", folders)
    with torch.no_grad():
        expected = whole.vit(**given("vit", items)).last_hidden_state[:, 0]
    found = Backbone(Pretrained(str(tmp_path)), "cpu").features(items)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)
