"""A copy of a user's network is a network of its own: what torch's copy leaves behind, and what it goes on sharing.

Only copies are ever trained. Torch copies a parameter without its gradient hooks and attributes, and a function not at all: one
that took the place of a `forward` still computes with the weights of the network that was copied.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mulnb.core.errors import UserError

HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")  # of a parameter


# --- what torch's copy leaves behind ---------------------------------------------------------------------------------------


def carry_over(given: nn.Module, memo: dict[int, Any]) -> None:
    """Give the copies of parameters the gradient hooks and the attributes (`p.no_weight_decay = True`) of the originals.

    Args:
        given: the network that was copied.
        memo: that of `copy.deepcopy`: id of an object -> its copy.
    """
    for parameter in given.parameters():
        new = memo.get(id(parameter))
        if new is None or new is parameter:
            continue

        vars(new).update(_copied(vars(parameter), memo))
        for name in HOOKS:
            if hooks := getattr(parameter, name):
                setattr(new, name, OrderedDict(_copied(hooks, memo)))


def _copied(held: Mapping[Any, Any], memo: dict[int, Any]) -> dict[Any, Any]:
    """Copies of the values; what refuses to be copied is shared."""
    found = {}
    for key, value in held.items():
        try:
            found[key] = copy.deepcopy(value, memo)
        except Exception:  # the user's own objects may refuse in any way
            found[key] = value
    return found


def hooked(network: nn.Module) -> str | None:
    """The name of the first parameter with a gradient hook."""
    for name, value in network.named_parameters():
        if any(getattr(value, kind) for kind in HOOKS):
            return name
    return None


# --- what a copy goes on sharing -------------------------------------------------------------------------------------------


def leaves(output: Tensor) -> list[Tensor]:
    """The tensors that the gradient of an output goes to: the ends of its graph."""
    found, seen, todo = [], set(), [output.grad_fn]

    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if type(node).__name__ == "AccumulateGrad":
            found.append(node.variable)
        todo += [before for before, _ in node.next_functions]

    return found


def foreign(output: Tensor, network: nn.Module, given: nn.Module | None) -> list[Tensor]:
    """The ends of an output's graph that are no parameters of `network`, or that `given`, which it is a copy of, has too."""
    theirs = set() if given is None else {id(value) for value in given.parameters()}
    own = {id(value) for value in network.parameters()} - theirs
    return [leaf for leaf in leaves(output) if id(leaf) not in own]


def refuse_shared(found: list[Tensor], again: list[Tensor], given: nn.Module | None) -> None:
    """Raises `UserError` if the outputs of two copies of `given` depend on the same weights: these are nobody's copies.

    Args:
        found, again: what is `foreign` in the outputs of either copy. A tensor that each has for itself is in one of them only.
        given: the network that was copied; it says what a weight is called.
    """
    shared = {id(leaf) for leaf in again}
    place = next((leaf for leaf in found if id(leaf) in shared), None)
    if place is None:
        return

    names = {} if given is None else {id(value): name for name, value in given.named_parameters()}
    which = f" ('{names[id(place)]}' of the model given)" if id(place) in names else ""
    raise UserError(
        f"the model's forward uses weights that a copy of it does not have{which}: a function that was put in a forward's place, "
        "a hook or a global brings them in; write that as a method, of a module that has these weights as its own"
    )


# --- what a forward pass leaves behind -------------------------------------------------------------------------------------


@contextmanager
def still(network: nn.Module | None) -> Iterator[None]:
    """What forward passes within write into buffers, some also in eval mode, is undone at the end."""
    held = []
    for part in network.modules() if network is not None else ():
        held += [(part, name, value, _kept(value)) for name, value in part._buffers.items()]

    try:
        yield
    finally:
        for part, name, value, was in held:
            part._buffers[name] = value
            if was is not None and not _same(value, was):
                with torch.no_grad():
                    value.copy_(was)


def _kept(value: Tensor | None) -> Tensor | None:
    """A copy of a buffer's values; None where nothing can be written into it."""
    fixed = value is None or value.layout != torch.strided or value.is_meta or value.is_inference()
    return None if fixed else value.detach().clone()


def _same(value: Tensor, was: Tensor) -> bool:
    try:
        return torch.equal(value, was)
    except RuntimeError:  # some of the smallest types cannot be compared
        return True
