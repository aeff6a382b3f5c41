from __future__ import annotations

from dataclasses import replace

from torch import nn

from gradlens.core.types import UserError
from gradlens.models._activation_kinds import ACTIVATIONS, kind_of, make_activation
from gradlens.models._classifier import Classifier, ModelCard
from gradlens.models._functional import called_activations, called_as_statements, replace_calls, swapped_class
from gradlens.models.watching import is_activation

__all__ = ["ACTIVATIONS", "activation_names", "swap_activations"]


def swap_activations(model: nn.Module, to: str = "gelu") -> int:
    """Replace every activation by another, in place; returns the number of sites.

    to: relu, gelu, silu, softplus, elu, celu, smoothrelu or mish; those with a parameter also as
    ``softplus:alpha=10``. A site is each place of an elementwise activation module of torch or timm,
    also of a shared one, one inside another layer, or a hard variant such as Hardswish; and each place
    in the code of a forward that calls one as a function: ``F.relu(x)``, ``torch.relu(x)``, ``x.relu_()``.
    Parameters keep their names, except that a PReLU takes its own away. Modules are replaced by ones
    that are not in place; a function that was still writes into its argument. Gates stay: sigmoids,
    and as functions relu6, softplus and tanh, which are mostly part of one.

    Not reached: activations written out as arithmetic (``x * torch.sigmoid(x)``, ``x.clamp(min=0)``),
    functions passed on in variables, in lambdas or imported inside a forward, TorchScript, and code
    without a readable source. Units are recorded at activation modules, not at functions. The card of a
    ``Classifier`` follows.

    A network without a site raises UserError; so does one that calls an in-place module as a statement,
    or a function under a decorator.
    """
    make_activation(to)
    _check_statements(model)
    callers = [m for m in model.modules() if not _is_librarys(m)]
    # What cannot be swapped is refused before anything is.
    _ = [swapped_class(m, to) for m in callers]
    sites = _swap_modules(model, to) + sum(replace_calls(m, to) for m in callers)
    if sites == 0:
        raise UserError(
            f"found no activation module in {type(model).__name__} to swap for {to}, and no call of one such as "
            "F.relu; give its activations as modules (nn.ReLU)"
        )
    if isinstance(model, Classifier):
        model.card = _told(model.card, to, sites)
    return sites


def _told(card: ModelCard, to: str, sites: int) -> ModelCard:
    """A card that opens the same model again."""
    options = card.options and {**card.options, "activation": to}
    notes = (*card.notes, f"{sites} activations swapped for {to}")
    return replace(card, activation=to, options=options, notes=notes)


def activation_names(model: nn.Module) -> tuple[str, ...]:
    """The kinds of a model's activations, modules and functions alike: ``("gelu", "softplus:alpha=10")``."""
    names: set[str] = set()
    for module in model.modules():
        if _is_site(module):
            names.add(kind_of(module))
        elif not _is_librarys(module):
            names.update(called_activations(module))
    return tuple(sorted(names))


def _is_site(module: nn.Module) -> bool:
    # A GLU halves the channels, so nothing elementwise can stand in its place.
    return is_activation(module) and not isinstance(module, nn.GLU)


def _is_librarys(module: nn.Module) -> bool:
    """One of the libraries' own activation modules: replaced as a whole, or a gate that stays."""
    return type(module).__module__.startswith(("torch.nn.modules.activation", "timm.layers.activations"))


def _swap_modules(model: nn.Module, to: str) -> int:
    sites = 0
    for parent in model.modules():
        # Not named_children, which leaves out the second place of a module that its parent holds twice.
        for name, child in parent._modules.items():
            if child is not None and _is_site(child):
                setattr(parent, name, make_activation(to).train(child.training))
                sites += 1
    return sites


def _check_statements(model: nn.Module) -> None:
    """An in-place module that is called as a statement works through its argument, which a new one leaves alone."""
    for parent in model.modules():
        in_place = {n for n, c in parent._modules.items() if c and _is_site(c) and getattr(c, "inplace", False)}
        for name in sorted(in_place and in_place & called_as_statements(parent)):
            raise UserError(
                f"{type(parent).__name__} calls self.{name}(x) without using what it returns, since it works in "
                f"place; write x = self.{name}(x)"
            )
