"""What checks the shapes that the package's annotations name, at every call of the tests."""

from typing import Any

from beartype import beartype

# Those that name shapes; jaxtyping's wrapper around every function of the others would cost time for nothing.
ROOMS = ["gradlens.probes", "gradlens.analyzers", "gradlens.training"]


def checked(function):
    """beartype, for annotations with a shape in them: plain types are mypy's, and tests pass stand-ins for them."""
    hints = {name: hint if "jaxtyping." in repr(hint) else Any for name, hint in function.__annotations__.items()}
    if all(hint is Any for hint in hints.values()):
        return function
    function.__annotations__ = hints
    return beartype(function)
