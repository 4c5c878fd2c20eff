"""The methods of inversion. A method is one module; params.yaml names it.

A method module has `Options`, a pydantic model of its settings, and `prepare(base, training, options)`, which takes a plain training of a new
word and returns the training as the method does it. `LAYERS` names a set of the denoiser's layers that it cannot do without.
Settings are read before torch is needed, so a method imports torch inside `prepare`. A name with a dot is a module of somebody else's package.
"""

import re
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

METHODS = tuple(module.name for module in iter_modules(__path__))
"""The names of the methods that come with wordmint."""


def method(name: str) -> Any:
    """Return the module of a method.

    Raises:
        ValueError: there is no method of this name, or its module is incomplete.
    """
    if name not in METHODS and not re.fullmatch(r"\w+(\.\w+)+", name):
        raise ValueError(f"method {name!r} is unknown; choose one of {', '.join(METHODS)}, or name a module such as package.method")
    try:
        module = import_module(name if "." in name else f"{__name__}.{name}")
    except ImportError as error:
        raise ValueError(f"method {name!r} cannot be imported ({error}); install its package, or choose one of {', '.join(METHODS)}") from error
    if not hasattr(module, "Options") or not hasattr(module, "prepare"):
        raise ValueError(f"method {name!r} lacks Options or prepare; docs/methods.md says what a method is")
    return module
