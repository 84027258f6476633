"""Training steps on a GPU without the cost of launching them: recorded once as a CUDA graph, then replayed.

A step of a small network is a few hundred kernels of a few microseconds each, and Python needs longer to launch a kernel than the
GPU to run it. A graph launches them all at once, and the steps of several networks run side by side in it. On a CPU nothing is
recorded.

`MULNB_GRAPHS=1` turns the recording on. It is off otherwise: the code has not run on a GPU yet, and `benchmarks/gpu.sh` has to
show first that the numbers are right and the time is shorter. `MULNB_COMPILE=1` also fuses a network's elementwise operations
(`torch.compile`: half a minute for the first network of an architecture, so it is for long trainings).

Source: "Whole-network capture" in PyTorch's notes on CUDA semantics.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

Step = Callable[[Tensor, Tensor | None, int], tuple[Any, Tensor, Tensor]]  # `step.Step`
WARM_UP = 3  # ordinary steps before the recording: cuDNN chooses its kernels in them, and the optimizer makes its buffers


_plain: ContextVar[bool] = ContextVar("mulnb_plain_steps", default=False)


@contextmanager
def plain_steps() -> Iterator[None]:
    """Record no CUDA graphs inside the `with` block, whatever `MULNB_GRAPHS` says."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


class Replayed:
    """Steps of one or more networks, taken together: `replayed([piece], [moves], epoch)` is `[step(piece, moves, epoch)]`.

    The first `WARM_UP` steps are ordinary ones. Then one step of each batch size is recorded (the batches of an epoch differ by
    one example at most) and replayed from there on. If a recording fails, a warning says so and all steps stay ordinary ones.

    Args:
        steps: one `step.Step` for each network.
        recorded: whether recording is possible at all; an objective that holds state cannot be replayed.
    """

    def __init__(self, steps: Sequence[Step], recorded: bool = True) -> None:
        self._steps = steps
        self._possible = recorded and os.environ.get("MULNB_GRAPHS") == "1" and not _plain.get()
        self._taken = 0
        self._recordings: dict[int, _Recording] = {}  # by batch size

    def __call__(self, pieces: Sequence[Tensor], moves: Sequence[Tensor | None], epoch: int) -> list[tuple[Any, Tensor, Tensor]]:
        if not (self._possible and pieces[0].is_cuda):
            return self._one_by_one(pieces, moves, epoch)

        if self._taken < WARM_UP:
            self._taken += 1
            with _aside():
                return self._one_by_one(pieces, moves, epoch)

        size = len(pieces[0])
        if size not in self._recordings:
            try:
                self._recordings[size] = _Recording(self._steps, pieces, moves)
            except RuntimeError as error:
                warnings.warn(f"the step could not be recorded as a CUDA graph, each is launched alone: {error}", stacklevel=2)
                self._possible = False
                return self._one_by_one(pieces, moves, epoch)

        return self._recordings[size].replay(pieces, moves, epoch)

    def _one_by_one(
        self, pieces: Sequence[Tensor], moves: Sequence[Tensor | None], epoch: int
    ) -> list[tuple[Any, Tensor, Tensor]]:
        """Ordinary steps."""
        found = []
        for step, piece, move in zip(self._steps, pieces, moves, strict=True):
            found.append(step(piece, move, epoch))
        return found


class _Recording:
    """One step of every network as a CUDA graph, each in a stream of its own. Recording runs nothing: no weight moves."""

    def __init__(self, steps: Sequence[Step], pieces: Sequence[Tensor], moves: Sequence[Tensor | None]) -> None:
        # what a graph reads and writes stays where it was recorded: batches are copied in, outputs are copied out
        self._pieces = [piece.clone() for piece in pieces]
        self._moves = [None if move is None else move.clone() for move in moves]

        self._graph = torch.cuda.CUDAGraph()
        self._streams = [torch.cuda.Stream() for _ in steps]
        self._outputs = []

        torch.cuda.synchronize()
        with torch.cuda.graph(self._graph):
            here = torch.cuda.current_stream()
            for stream, step, piece, move in zip(self._streams, steps, self._pieces, self._moves, strict=True):
                stream.wait_stream(here)
                with torch.cuda.stream(stream):
                    self._outputs.append(step(piece, move, 0))

            # the graph ends when every network's step has ended
            for stream in self._streams:
                here.wait_stream(stream)

    def replay(self, pieces: Sequence[Tensor], moves: Sequence[Tensor | None], epoch: int) -> list[tuple[Any, Tensor, Tensor]]:
        """The same step on other batches."""
        for kept, new in zip([*self._pieces, *self._moves], [*pieces, *moves], strict=True):
            if new is not None:
                kept.copy_(new)
        self._graph.replay()

        found = []
        for piece, (batch, loss, logits) in zip(pieces, self._outputs, strict=True):
            batch = batch._replace(index=piece, labels=batch.labels.clone(), epoch=epoch)
            found.append((batch, loss.clone(), logits.clone()))
        return found


@contextmanager
def _aside() -> Iterator[None]:
    """A side stream; PyTorch asks that the steps before a recording run in one."""
    here, aside = torch.cuda.current_stream(), torch.cuda.Stream()
    aside.wait_stream(here)
    with torch.cuda.stream(aside):
        yield
    here.wait_stream(aside)


def compiled(model: nn.Module, where: torch.device) -> Callable[[Tensor], Tensor]:
    """The network with its elementwise operations fused, if `MULNB_COMPILE=1` and it is on a GPU; otherwise `model` itself.

    Networks of one architecture share the compiled code.
    """
    if where.type == "cuda" and os.environ.get("MULNB_COMPILE") == "1":
        return torch.compile(model, dynamic=False)
    return model
