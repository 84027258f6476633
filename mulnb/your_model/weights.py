"""Weights in files and mappings: what a checkpoint holds, under the names that a network has for it."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mulnb.core import paths
from mulnb.core.errors import UserError, one_line

KEYS = ("state_dict", "model_state_dict", "model")  # under which trainings save a state dict


def unwrapped(found: Any) -> Any:
    """The state dict in a training's checkpoint: under one of `KEYS`, or the only one that it has; else what was given."""
    while isinstance(found, Mapping):
        inside = {key: value for key, value in found.items() if isinstance(value, Mapping)}
        known = next((key for key in KEYS if key in inside), None)
        if known is None:
            states = [key for key, value in inside.items() if value and is_state(value)]
            known = states[0] if len(states) == 1 else None
        if known is None:
            break
        found = inside[known]
    return found


def is_state(found: Any) -> bool:
    """Whether this is a state dict: nothing but tensors."""
    return isinstance(found, Mapping) and all(isinstance(value, Tensor) for value in found.values())


def renamed(weights: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Weights under the names that the network has for them.

    Args:
        weights: a state dict.
        known: the names in the network.

    Returns:
        The same weights, their names without what DataParallel, torch.compile or a module around the network put before them.
    """
    found = {}
    for key, value in weights.items():
        name = str(key)
        while name.startswith(("module.", "_orig_mod.")):  # of DataParallel and torch.compile
            name = name.removeprefix("module.").removeprefix("_orig_mod.")
        found[name] = value

    while found and not any(name in known for name in found):
        around = next(iter(found)).partition(".")[0] + "."  # "net." of a LightningModule, for example
        if not all(name.startswith(around) for name in found):
            break
        found = {name.removeprefix(around): value for name, value in found.items()}
    return found


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The state dict in a checkpoint file, also in one of a training."""
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist: expected a checkpoint (.safetensors, .pt or .pth)") from None
    except pickle.UnpicklingError as error:  # torch's own message is a page, about how to load what may be harmful
        if "Unsupported global" in str(error):
            raise UserError(f"{path} holds more than tensors, a whole module perhaps: save model.state_dict() instead") from None
        raise UserError(f"{path} cannot be read as a state dict: it is no file of torch.save, or a damaged one") from None
    except Exception as error:  # a damaged file may fail anywhere in the reader
        if "TorchScript" in str(error):  # torch's own message is about how to load what may be harmful
            raise UserError(f"{path} holds a TorchScript module: save model.state_dict() of the Python module instead") from None
        raise UserError(f"{path} cannot be read as a state dict: {one_line(error)}") from None

    found = unwrapped(found)
    if not is_state(found):
        has = f" but {', '.join(map(str, found))[:100]}" if isinstance(found, Mapping) else ""
        raise UserError(f"{path} holds no state dict{has}: save model.state_dict()")
    return found


def check_kinds(weights: Mapping[str, Any], network: Mapping[str, Tensor], source: str) -> None:
    """Raises `UserError` if weights are whole or complex numbers where a network has floating-point ones: torch casts them.

    Args:
        weights: a state dict, under the names of the network.
        network: that of the network.
        source: what messages call the weights.
    """
    for name, value in weights.items():
        if name in network and network[name].is_floating_point() and isinstance(value, Tensor) and not value.is_floating_point():
            raise UserError(
                f"{source}: weight '{name}' is {value.dtype}, and the network has {network[name].dtype} there: "
                "give the weights before they were quantised or converted"
            )


def save_weights(model: nn.Module, path: str | Path) -> Path:
    """Write the weights of a module as a .safetensors file. Raises `UserError` where that cannot be written, or not hold them."""
    if not isinstance(model, nn.Module):
        raise UserError(f"save_weights: the model is a {type(model).__name__}: expected a torch.nn.Module")
    from safetensors.torch import save_model

    where = "leave out the file, and save model.state_dict() by torch.save"
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise UserError(f"the model cannot be written as .safetensors: '{name}' of its state dict is no tensor; {where}")

    def write(temporary: Path) -> None:
        try:
            save_model(model, str(temporary))  # it keeps tied weights once, and says so in the file
        except OSError:
            raise
        except Exception as error:  # tensors that are parts of each other, for example
            raise UserError(f"the model cannot be written as .safetensors: {one_line(error)[:160]}; {where}") from None

    return paths.write_file(paths.file_ending(path, ".safetensors", "the file of the weights"), write)


def check_savable(model: nn.Module) -> None:
    """Raises `UserError` if `save_weights` could not write this model: better before the work than after it."""
    with tempfile.TemporaryDirectory() as folder:
        save_weights(model, Path(folder) / "model.safetensors")
