"""Gates on a network itself: it is tried on a few images before any work, and looked through after it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mulnb.core.errors import UserError, notice, one_line
from mulnb.training import clone, frozen
from mulnb.your_model.adapt import (
    WANTED,
    Adapted,
    Factory,
    Model,
    adapt,
    described,
    first_floating,
    matrices,
    protected,
    same_weights,
    untrained,
)
from mulnb.your_model.copies import foreign, hooked, refuse_shared, still
from mulnb.your_model.inputs import Images, TensorImages

NO_GRADIENT = (
    "the model's outputs have no gradient: its forward pass works under torch.no_grad(), detaches, or uses no parameter that has "
    "requires_grad"
)
GRADIENT_IN_EVAL = ("salun", "influence")  # algorithms that read gradients off the network as it predicts
NEAR = 0.05  # of the largest output: rounding in half precision moves one by less, dropout and other batches by more
FAR = 1e3  # inputs so many times as large: logits leave [0, 1] there, outputs of a sigmoid do not


def check_outputs(model: Adapted, inputs: Tensor) -> int:
    """Try the network in eval and in train mode, on a copy of it, and return the number of classes K.

    Args:
        model: the working copy.
        inputs: a few network inputs [B, C, H, W].

    Raises:
        UserError: the network cannot read them, returns no logits, or cannot be trained: its outputs have no gradient, a sparse
            one, or one that goes to weights of others. Outputs of a sigmoid are only warned about.
    """
    _check_modes(model)
    inputs = inputs if len(inputs) > 1 else torch.cat([inputs, inputs])  # BatchNorm cannot train on one image
    trial = clone(model)
    trainable = any(parameter.requires_grad for parameter in trial.parameters())
    inputs = inputs.detach()

    with protected(inputs.device, 0), still(model.given()):
        found = []
        for training in (True, False):
            try:
                trial.train(training)
            except Exception as error:  # exported programs refuse to change their mode
                raise UserError(f"the model cannot be put into train and eval mode: {one_line(error)}") from None

            found.append(trial(inputs))
            if trainable and training:
                _check_own(model, trial, found[0], inputs)
                _check_gradients(trial, found[0])
            trial.requires_grad_(False)

        _probabilities(trial, inputs)
        _tell_of_other_heads(trial, inputs)
        _tell_of_other_draws(trial, inputs, found[1])

    second, first = found
    if first.shape != second.shape:
        raise UserError(
            f"the model returns {described(first)} in eval mode and {described(second)} in train mode: {WANTED} in both"
        )

    return first.shape[1]


def _tell_of_other_heads(model: Adapted, inputs: Tensor) -> None:
    """Say that only the first of several matrices is trained and measured. `model` is in eval mode: no head is auxiliary."""
    with torch.no_grad():
        output = model.module(inputs)
    if not isinstance(output, (tuple, list)) or hasattr(output, "logits"):
        return  # what has names says which are the logits

    heads = matrices(output)
    if len(heads) > 1:
        shapes = ", ".join(map(described, heads))
        notice(f"the model returns {shapes}: the first is taken for the logits; what the others say may change, unmeasured")


def _tell_of_other_draws(model: Adapted, inputs: Tensor, known: Tensor) -> None:
    """Say that what the network predicts of an image is not settled by the image. `model` is in eval mode.

    Args:
        model: a copy of the network.
        inputs: a few network inputs [B, C, H, W].
        known: its outputs [B, K] of them.
    """
    with torch.no_grad():
        if not _near(model(inputs), known):
            why = "differ from one pass to the next (dropout without training=self.training, or noise)"
            notice(f"the model's outputs in eval mode {why}: every number is that of one draw")
            return
        try:
            alone = model(inputs[:2])
        except UserError:
            return  # it reads batches of one size only, which is told when it meets another

    if not _near(alone, known[:2]):
        why = "of an image depend on the images beside it (BatchNorm without running statistics)"
        notice(f"the model's outputs in eval mode {why}: every number is that of one order")


def _near(one: Tensor, other: Tensor) -> bool:
    """Whether outputs of the same images are equal but for rounding, which other sizes of a batch change."""
    largest = float(other.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(one, other, rtol=0, atol=NEAR * largest, equal_nan=True)


def _check_own(model: Adapted, trial: Adapted, outputs: Tensor, inputs: Tensor) -> None:
    """Raises `UserError` if the outputs of a trial copy in train mode depend on weights that are those of no copy."""
    given = model.given()
    found = foreign(outputs, trial, given)
    if found:
        with protected(inputs.device, 0):
            other = clone(model).train()
            refuse_shared(found, foreign(other(inputs.detach().clone()), other, given), given)


def _check_gradients(trial: Adapted, outputs: Tensor) -> None:
    """Raises `UserError` unless a backward pass gives the trial copy gradients that every algorithm can work with."""
    if not outputs.requires_grad:
        raise UserError(NO_GRADIENT)

    name = hooked(trial.module)
    blamed = f"a gradient hook (that of weight '{name}', for example) does not work on a copy: remove it"
    try:
        outputs.sum().backward()
    except Exception as error:  # the user's own code
        raise UserError(f"the model's backward pass failed: {one_line(error)[:200]}{f'; {blamed}' if name else ''}") from error

    gradients = {key: value.grad for key, value in trial.module.named_parameters() if value.grad is not None}
    if not gradients and _quantised(trial.module) is None:  # that is told where it is to be trained
        raise UserError(f"the model is left without gradients: {blamed}" if name else NO_GRADIENT)
    for key, gradient in gradients.items():
        if gradient.layout != torch.strided:
            raise UserError(f"weight '{key}' has sparse gradients, which are not supported: build its layer with sparse=False")


def _probabilities(model: Adapted, inputs: Tensor) -> None:
    """Refuse softmax outputs; warn where they look like those of a sigmoid."""
    values = _outputs(model, inputs)
    close = max(1e-3, 4 * torch.finfo(values.dtype).eps)
    values = values.detach().float()
    if not _in_unit(values):
        return
    if values.shape[1] > 1 and bool(((values.sum(1) - 1).abs() < close).all()):
        raise UserError("the model returns probabilities: return the logits, before the softmax")

    try:
        far = [_outputs(model, inputs.detach() * factor).detach().float() for factor in (FAR, -FAR)]
    except UserError:
        return  # the network looks at the range of its inputs
    if all(_in_unit(found) and bool(found.isfinite().all()) for found in far) and not torch.equal(far[0], far[1]):
        message = "the model's outputs are those of a sigmoid, all in [0, 1]: mulnb needs the logits, before the sigmoid"
        warnings.warn(message, stacklevel=2)


def _outputs(model: Adapted, inputs: Tensor) -> Tensor:
    """What the network itself returns [B, K]; of a head with one logit, that one alone [B, 1]."""
    found = model(inputs)
    one = found.shape[1] == 2 and not bool(found[:, 0].any())  # `logits_of` put the zeros there
    return found[:, 1:] if one else found


def _in_unit(values: Tensor) -> bool:
    return bool((values >= 0).all()) and bool((values <= 1).all())


def check_trainable(model: Adapted) -> None:
    """Raises `UserError` unless the network has a parameter that may move, finite ones only, and no quantised layer."""
    name = _quantised(model.module)
    if name is not None:
        raise UserError(f"layer '{name}' is quantised and cannot be trained: give the model before that")

    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("no parameter of the model has requires_grad: there is nothing to train; unfreeze some first")
    check_finite(model)


def _check_modes(model: Adapted) -> None:
    """Raises `UserError` if train() and eval() change weights: training would go on with those of the other mode."""
    if all((type(part).train, type(part).eval) == (nn.Module.train, nn.Module.eval) for part in model.module.modules()):
        return  # torch's own: no copy is needed

    trial = clone(model)
    for mode in (True, False, True):
        before = [value.detach().clone() for value in trial.parameters()]
        trial.train(mode)
        moved = any(not torch.equal(one, other) for one, other in zip(before, trial.parameters(), strict=True))
        if moved:
            raise UserError(
                "the model's train() and eval() change its weights, as adapters do that are merged for eval: merge them for "
                "good first, or switch the merging off"
            )


def _quantised(network: nn.Module) -> str | None:
    """The name of the first quantised layer."""
    return next((name for name, layer in network.named_modules() if ".quantized." in type(layer).__module__), None)


def check_differentiable(model: Adapted, inputs: Tensor) -> None:
    """Raises `UserError` unless the outputs have a gradient with respect to the images [B, C, H, W]."""
    with frozen(model):
        if not model(inputs.detach().clone().requires_grad_()).requires_grad:
            raise UserError(
                "the model's outputs have no gradient with respect to the images, which loss_curvature needs: "
                "its forward pass detaches them; take that out, or use holdout_retraining"
            )


def usable(algorithms: Sequence[str], network: Adapted, inputs: Tensor) -> list[str]:
    """Those algorithms that can be tried: some need a gradient in eval mode too, or weights that are real numbers.

    Raises:
        UserError: none of them can.
    """
    trial = clone(network).eval()
    try:
        every = trial(inputs.detach().clone()).requires_grad
    except UserError:  # it works without gradients only
        every = False

    refused = (
        {} if every else dict.fromkeys(GRADIENT_IN_EVAL, "the model's outputs have no gradient in eval mode, which this needs")
    )
    weights = network.module.named_parameters()
    if odd := next((name for name, weight in weights if weight.requires_grad and weight.is_complex()), None):
        refused["influence"] = f"weight '{odd}' is complex, and this needs real numbers"

    found = [name for name in algorithms if name not in refused]
    if not found:
        raise UserError(f"{', '.join(algorithms)}: {refused[algorithms[0]]}: use neg_grad_plus or scrub")
    return found


def check_beside(network: Adapted, name: str, data: Images) -> None:
    """Raises `UserError` unless another network reads the images that the model reads, and has as many classes."""
    place = first_floating(network)
    classes = check_outputs(network, first_inputs(data.on(place.device, place.dtype)))
    if classes != data.memo["classes"]:
        raise UserError(f"{name} has {classes} classes, the model has {data.memo['classes']}")


def classes_of(network: Adapted, data: Images) -> int:
    """How many classes the network tells apart. A folder's grey images are shown in three channels where it needs them.

    torchvision's folders read grey files so, and who trained with them has a network that begins with three channels. Images
    that may be [C, H, W] or [H, W, C] are taken in the order that the network reads; if it reads both, a notice says which it is.
    """
    if not data.turned:
        return _classes_of(network, data)

    data.turned = False  # it is decided here
    classes, error = _tried(network, data)
    shape = list(data.pixels(torch.zeros(1, dtype=torch.long)).shape[1:])
    other, _ = _turned(network, data)
    if classes is not None:
        _turned(network, data)  # back
        if other is not None:
            notice(_both([*shape[1:], shape[0]]))
        return classes
    if other is not None:
        notice(f"images are taken as [C, H, W]: the model does not read them as [H, W, C] (then {shape})")
        return other

    _turned(network, data)
    raise error


def _both(shape: list[int]) -> str:
    """What to say of images that are read in either order of axes."""
    told = f"images {shape} are taken as [H, W, C], and the model reads both orders"
    return f"{told}: if they are features [C, H, W], give {[1, shape[0], shape[1] * shape[2]]}"


def _turned(network: Adapted, data: Images) -> tuple[int | None, UserError | None]:
    """`_tried` with the images in the other order of axes, in which they stay."""
    try:
        data.turn()
    except UserError as error:
        return None, error
    return _tried(network, data)


def _tried(network: Adapted, data: Images) -> tuple[int | None, UserError | None]:
    """How many classes the network tells apart, or why it does not read the images."""
    try:
        return _classes_of(network, data), None
    except UserError as error:
        return None, error


def _classes_of(network: Adapted, data: Images) -> int:
    grey = isinstance(data, TensorImages) and bool(data.files) and data.images.shape[1] == 1
    try:
        data.repeats = 1
        return check_outputs(network, first_inputs(data))
    except UserError as error:
        if not grey:
            raise
        data.repeats = 3
        try:
            return check_outputs(network, first_inputs(data))
        except UserError:
            data.repeats = 1
            raise error from None


def check_untrained(fresh: Factory, original: Model, factory: Factory | None, seed: int) -> None:
    """Raises `UserError` if `fresh` returns the original's trained weights: its oracle would know the forget set."""
    like = adapt(original, factory)
    with protected(next(like.parameters()).device, seed):
        untrained(fresh, like)(seed)


def check_oracle(oracle: Adapted, original: Adapted, data: Images) -> None:
    """Raises `UserError` unless this may be a model that was retrained without the request."""
    check_beside(oracle, "oracle", data)
    if same_weights(oracle, original):
        raise UserError("oracle has the weights of the original: give a model that was trained without the request")


def untrained_beside(fresh: Factory, network: Adapted, data: Images) -> Callable[[int], Adapted]:
    """seed -> an untrained network from the user's `fresh`, which reads these images and has the classes of `network`.

    Raises (when called):
        UserError: `fresh` builds no such network.
    """
    build = untrained(fresh, network)

    def make(seed: int) -> Adapted:
        made = build(seed)
        classes = check_outputs(made, first_inputs(data))
        if classes != data.memo["classes"]:
            raise UserError(f"fresh builds a network with {classes} classes, the model has {data.memo['classes']}")
        return made

    return make


def first_inputs(data: Images) -> Tensor:
    """Network inputs of a few images, on which a network is tried."""
    return data.inputs(torch.arange(min(8, len(data)), device=data.device))


def check_finite(model: Adapted) -> None:
    """Raises `UserError` if a weight is not finite."""
    for name, parameter in model.module.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise UserError(f"weight '{name}' of the model is not finite: the training that made it diverged")
