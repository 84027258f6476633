"""Steps on a GPU are the steps of a CPU, sooner. What needs no GPU to be true is tested without one."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys

import pytest
import torch
import torch.nn.functional as F

from mulnb import models, pool, training
from mulnb.config import Recipe
from mulnb.core import paths
from mulnb.fast import graphs as gpu
from mulnb.proxies import SignalRecorder
from mulnb.training import Examples

needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")]


def examples(n: int = 100, side: int = 16, where: str = "cpu") -> Examples:
    generator = torch.Generator().manual_seed(7)
    pixels = torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, 5, (n,), generator=generator)
    return Examples(pixels.to(where), labels.to(where), torch.full((3,), 0.5), torch.full((3,), 0.25))


def network(arch: str = "small_cnn", seed: int = 0):
    return models.build(arch, num_classes=5, width=16, seed=seed)


def same(a, b, tolerance: float) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.allclose(x.cpu().float(), y.cpu().float(), atol=tolerance, rtol=tolerance) for x, y in pairs)


def test_augmentation_shifts_in_black_and_mirrors():
    """The one indexed read is a padded crop and a flip, image by image, in any layout."""
    x = torch.randint(1, 256, (6, 3, 8, 10), dtype=torch.uint8)
    moves = torch.tensor([[0, 0, 0], [0, 0, 1], [4, -4, 0], [-4, 4, 1], [1, 2, 0], [-3, 0, 1]])
    for layout in (torch.contiguous_format, torch.channels_last):
        result = training.moved(x.contiguous(memory_format=layout), moves)
        for image, out, (down, right, mirrored) in zip(x, result, moves.tolist(), strict=True):
            crop = F.pad(image, (4, 4, 4, 4))[:, 4 + down : 12 + down, 4 + right : 14 + right]
            assert torch.equal(out, crop.flip(2) if mirrored else crop)
        assert result.is_contiguous(memory_format=torch.channels_last)


def test_augmentation_changes_training_and_nothing_else():
    """The order of the first epoch is the same with and without it, evaluation never sees it, the same seed repeats it."""
    data, plain = examples(), Recipe(epochs=2, batch=32, lr=0.05)
    augmented = plain.model_copy(update={"augment": True})
    order = []
    training.fit(network(), data, augmented, 3, recorder=_Listener(order))
    expected = torch.randperm(len(data), generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.cat(order)[: len(data)], expected)
    one, two = (training.fit(network(), data, augmented, 3) for _ in range(2))
    assert same(one, two, 0) and not same(one, training.fit(network(), data, plain, 3), 1e-3)
    assert torch.equal(training.predict(one, data), training.predict(one, data))


class _Listener:
    def __init__(self, order):
        self.record = lambda batch, logits: order.append(batch.index)


def test_side_by_side_and_stacked_are_the_same_augmented_trainings():
    data, seeds = examples(60, side=8), [4, 5, 6]
    subsets = [torch.randperm(60, generator=torch.Generator().manual_seed(seed))[:45] for seed in seeds]
    recipe = Recipe(epochs=2, batch=16, lr=0.02, augment=True)
    networks = [network(seed=seed) for seed in seeds]
    stacked = pool.predict_each(pool.train_stacked(networks, data, subsets, recipe, seeds), data)
    in_turn = pool.predict_each(pool.train_in_turn(networks, data, subsets, recipe, seeds), data)
    fits = [training.fit(copy.deepcopy(n), data, recipe, s, index=i) for n, s, i in zip(networks, seeds, subsets, strict=True)]
    alone = torch.stack([training.predict(fitted, data) for fitted in fits])
    assert torch.equal(in_turn, alone)
    assert torch.allclose(stacked, alone, atol=1e-3, rtol=1e-3)


def test_a_stack_computes_in_float32_whatever_the_recipe_says():
    data, seeds = examples(40, side=8), [1, 2]
    subsets = [torch.arange(30)] * 2
    results = []
    for precision in ("fp32", "bf16"):
        recipe = Recipe(epochs=1, batch=16, lr=0.02, precision=precision)
        stack = pool.train_stacked([network(seed=seed) for seed in seeds], data, subsets, recipe, seeds)
        results.append(pool.predict_each(stack, data))
    assert torch.equal(*results)


def test_bf16_training_is_float32_training_to_bf16s_precision():
    """Autocast covers the network alone: losses, signals and weights stay float32."""
    data, seen = examples(), []

    def objective(model, batch):
        loss, logits = training.cross_entropy(model, batch)
        seen.append((loss.dtype, logits.dtype))
        return loss, logits

    start = network()
    recipes = [Recipe(epochs=1, batch=50, lr=0.01, precision=precision) for precision in ("fp32", "bf16")]
    full, half = (training.fit(copy.deepcopy(start), data, recipe, 0, objective=objective) for recipe in recipes)
    assert set(seen) == {(torch.float32, torch.float32)}
    assert all(parameter.dtype == torch.float32 for parameter in half.parameters())
    assert same(full, half, 0.05) and not same(full, half, 1e-7)


class TestOnAGpu:
    pytestmark = needs_gpu

    @pytest.fixture(autouse=True)
    def _exact(self, monkeypatch):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
        monkeypatch.setenv("MULNB_GRAPHS", "1")  # asked for, as benchmarks/gpu.sh does

    def test_replayed_steps_are_the_steps_taken_one_by_one(self, monkeypatch):
        data = examples(1000, where="cuda")
        recipe = Recipe(epochs=3, batch=64, lr=0.02, schedule="cosine", augment=True)
        replayed = training.fit(network("resnet18").cuda(), data, recipe, 0)
        monkeypatch.setenv("MULNB_GRAPHS", "0")
        alone = training.fit(network("resnet18").cuda(), data, recipe, 0)
        assert same(replayed, alone, 2e-2)
        agree = training.predict(replayed, data).argmax(1) == training.predict(alone, data).argmax(1)
        assert agree.float().mean() > 0.9

    def test_a_replayed_step_was_recorded_and_takes_the_current_rate(self):
        data = examples(1000, where="cuda")
        step = training.Step(network().cuda().train(), data, Recipe(epochs=1, batch=64, lr=0.1))
        take = gpu.Replayed([step], 64)
        piece = torch.arange(64, device="cuda")
        for _ in range(gpu.WARM_UP + 1):
            take([piece], [None], 0)
        assert take._graph is not None
        step.set_rate(0.0)
        before = copy.deepcopy(step.model)
        [(batch, loss, logits)] = take([piece + 64], [None], 5)
        assert all(torch.equal(p, q) for p, q in zip(before.parameters(), step.model.parameters(), strict=True))
        assert batch.epoch == 5 and torch.equal(batch.index, piece + 64) and torch.equal(batch.labels, data.labels[64:128])
        assert torch.allclose(loss, F.cross_entropy(logits, batch.labels))

    def test_networks_side_by_side_are_the_networks_one_after_another(self, monkeypatch):
        data, seeds = examples(600, where="cuda"), [1, 2, 3]
        subsets = [torch.randperm(600, generator=torch.Generator().manual_seed(seed))[:420] for seed in seeds]
        recipe = Recipe(epochs=2, batch=64, lr=0.01)
        networks = [network("resnet18", seed) for seed in seeds]
        together = pool.train_in_turn(networks, data, subsets, recipe, seeds)
        monkeypatch.setattr(pool, "SIDE_BY_SIDE", 1)
        monkeypatch.setenv("MULNB_GRAPHS", "0")
        apart = pool.train_in_turn(networks, data, subsets, recipe, seeds)
        assert (together.argmax(2) == apart.argmax(2)).float().mean() > 0.9

    def test_nothing_waits_for_the_device_within_an_epoch(self):
        data = examples(1000, where="cuda")
        step = training.Step(network("resnet18").cuda().train(), data, Recipe(epochs=1, batch=64, lr=0.01, precision="bf16"))
        take = gpu.Replayed([step], 64)
        pieces = torch.randperm(1000, device="cuda").split(64)
        recorder = SignalRecorder(1000, data.device)
        for piece in pieces[: gpu.WARM_UP + 1]:  # recording itself may wait
            take([piece], [None], 0)
        torch.cuda.set_sync_debug_mode("error")
        try:
            for piece in pieces:
                step.set_rate(0.01)
                [(batch, _, logits)] = take([piece], [None], 0)
                recorder.record(batch, logits)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.slow
def test_the_gpu_bench_goes_on_where_it_stopped(tmp_path, monkeypatch, capsys):
    """Rehearsed without a GPU: the first call measures what its time allows, the second the rest, the third nothing."""
    spec = importlib.util.spec_from_file_location("gpu_bench", paths.CHECKOUT / "benchmarks" / "gpu.py")
    script = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_bench", script)  # dataclasses look their module up
    spec.loader.exec_module(script)
    out = tmp_path / "gpu.json"

    def call(*options: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["gpu.py", *options])
        code = script.main()
        return code, [line.split(" s  ", 1)[1].split(": {")[0] for line in capsys.readouterr().out.splitlines() if " s  " in line]

    code, first = call("--rehearse", "--out", str(out), "--seconds", "0.2")
    assert code == 3
    code, second = call("--rehearse", "--out", str(out))
    parts = json.loads(out.read_text())["parts"]
    assert code == 0 and first and list(parts) == [*first, *second]
    assert not any("failed" in part for part in parts.values())
    assert call("--rehearse", "--out", str(out)) == (0, [])
    if not torch.cuda.is_available():
        assert call("--out", str(tmp_path / "real.json"))[0] == 2
