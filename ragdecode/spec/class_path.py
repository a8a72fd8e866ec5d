"""LangChain classes named in YAML: which paths may be imported, and what must be there.

A path in YAML could otherwise name any callable of the machine, so three things are asked of it: its package is
one of LangChain's (or the part that names it is trusted), what it names is a class, and that class is of the kind
that the part is about.
"""

from __future__ import annotations

import importlib
import inspect
import re
import warnings
from collections.abc import Mapping
from typing import Any

from ragdecode.errors import InputError, RunError
from ragdecode.spec.nearest import did_you_mean

#: packages whose classes may be named: LangChain's own, and its partner packages ``langchain_<name>``
_ALLOWED = re.compile(r"langchain(?:_[a-z0-9]+(?:_[a-z0-9]+)*)?")
_PATH = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
#: arguments that switch a protection of LangChain off: unpickling, requests to inner networks, code, shell
_UNSAFE = re.compile(r"(?:allow_)?(?:dangerous|unsafe)\w*|trust_remote_code")

_TRUST = "'trust: true' in the same part allows it: it runs that package's code"


def refusal(path: str, *, trust: bool = False) -> str | None:
    """Why a path is refused whatever it leads to; None if it may be imported. Imports nothing."""
    if not _PATH.fullmatch(path):
        return f"expected a class, as 'Name' or 'package.module.Name', found {path!r}"
    if "." in path and not trust and not _ALLOWED.fullmatch(path.split(".", 1)[0]):
        packages = "langchain, langchain_core, langchain_community, langchain_<name>"
        return f"{path!r} is not of a LangChain package ({packages}); {_TRUST}"
    return None


def check_class(setting: str, path: str, arguments: Mapping[str, Any], *, trust: bool) -> None:
    """For the settings of a part that names a class: refuse at once what may not be named, whatever it leads to.

    Args:
        setting: Where the path stands; begins the message.
        path: As in `load_class`.
        arguments: As in `check_arguments`.
        trust: The part's ``trust``.

    Raises:
        ValueError: It is of a package that is not allowed, or an argument switches off a protection.
    """
    if reason := refusal(path, trust=trust):
        raise ValueError(f"{setting}: {reason}")
    try:
        check_arguments(arguments, trust=trust, where="arguments")
    except InputError as error:
        raise ValueError(f"{error.message}; {error.hint}") from error


def load_class(path: str, *, base: str, module: str, trust: bool = False, where: str) -> type:
    """Import the class that YAML names.

    Args:
        path: ``package.module.Class``, or a short name that is looked up in ``module``.
        base: Dotted path of the class that it must derive from, as ``langchain_core.vectorstores.VectorStore``.
        module: Where short names are looked up, as ``langchain_community.vectorstores``.
        trust: Also packages that are not LangChain's.
        where: The part and setting, as ``loader langchain: loader``; begins the message of an error.

    Returns:
        The class.

    Raises:
        InputError: The path is no dotted name, of a package that is not allowed or not installed, or names nothing,
            no class, an abstract class or one of another kind.
    """
    if reason := refusal(path, trust=trust):
        raise InputError(f"{where}: {reason}", hint=f"short names are those of {module}")
    home, _, name = path.rpartition(".")
    home = home or module
    found = _imported(home, name, path, where)
    if found is None:
        raise InputError(f"{where}: {home} has no class {name!r}", hint=_near(home, name, base))
    expected = _class(base)
    if not isinstance(found, type) or not issubclass(found, expected):
        raise InputError(
            f"{where}: {path!r} is not a {expected.__name__}", hint=f"name a class that derives from {base}"
        )
    if found is expected or inspect.isabstract(found):
        raise InputError(f"{where}: {path!r} is abstract: it is made to be derived from", hint=_near(home, name, base))
    return found


def check_arguments(arguments: Mapping[str, Any], *, trust: bool, where: str) -> None:
    """Refuse arguments that switch off a protection, at any depth, unless the part is trusted.

    Args:
        arguments: Keyword arguments of the class, as YAML has them.
        trust: Allow them.
        where: The part and setting; begins the message.

    Raises:
        InputError: One of them is ``allow_dangerous_deserialization`` or its like, and true.
    """
    if trust:
        return
    stack: list[tuple[str, Any]] = [(str(name), value) for name, value in arguments.items()]
    while stack:
        path, value = stack.pop()
        if value and _UNSAFE.fullmatch(path.rpartition(".")[2]):
            raise InputError(
                f"{where}: the argument {path!r} switches off a protection (it lets data run code, or reach what it "
                "should not)",
                hint=f"leave it out; {_TRUST}",
            )
        if isinstance(value, Mapping):
            stack.extend((f"{path}.{name}", inner) for name, inner in value.items())
        elif isinstance(value, (list, tuple)):
            stack.extend((f"{path}.{number}", inner) for number, inner in enumerate(value))


def construct(found: type, arguments: Mapping[str, Any], *, where: str) -> Any:
    """Make an object of a class with the arguments of YAML.

    Raises:
        InputError: The class does not take them, or needs a package that is not installed.
        RunError: Anything else that goes wrong in it, such as a server that does not answer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return found(**arguments)
    except ImportError as error:
        raise InputError(
            f"{where}: {found.__name__} needs a package that is not installed: {_short(error)}",
            hint="install it with pip",
        ) from error
    except (TypeError, ValueError) as error:  # pydantic's errors are ValueErrors
        given = ", ".join(map(str, arguments)) or "none"
        raise InputError(
            f"{where}: {found.__name__} does not take these arguments ({given}): {_short(error)}",
            hint=f"its arguments are {', '.join(_parameters(found)) or 'in its documentation'}",
        ) from error
    except OSError as error:
        raise RunError(f"{where}: {found.__name__} cannot be made: {_short(error)}") from error
    except Exception as error:  # a package can fail in any way
        raise RunError(f"{where}: {found.__name__} cannot be made: {type(error).__name__}: {_short(error)}") from error


def _parameters(found: type) -> list[str]:
    fields = getattr(found, "model_fields", None)
    if fields:
        return list(fields)
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:297]}..."


def _imported(home: str, name: str, path: str, where: str) -> Any:
    """The attribute of the module, or None; modules may import it only when it is asked for."""
    package = home.split(".", 1)[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages about themselves: no news to who names a class in YAML
            return getattr(importlib.import_module(home), name, None)
    except ModuleNotFoundError as error:
        missing = error.name or home
        if missing == package:
            message, hint = f"{path!r} needs the package {package}, which is not installed", _install(package)
        elif home == missing or home.startswith(f"{missing}."):
            message, hint = f"there is no module {missing!r} in {package}", f"check the path {path!r}"
        else:
            message, hint = f"{path!r} needs the package {missing!r}, which is not installed", _install(missing)
        raise InputError(f"{where}: {message}", hint=hint) from error
    except Exception as error:  # a package can fail in any way while it is imported
        raise InputError(
            f"{where}: {home} cannot be imported: {type(error).__name__}: {_short(error)}",
            hint="repair or update the package that it belongs to",
        ) from error


def _install(package: str) -> str:
    top = package.partition(".")[0].replace("_", "-")
    return "pip install 'ragdecode[langchain]'" if top == "langchain-community" else f"pip install {top}"


def _class(path: str) -> type:
    module, _, name = path.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, type)
    return found


def _near(home: str, name: str, base: str) -> str | None:
    """The nearest class of the kind in the module; by name only where the module imports its classes on demand."""
    module = importlib.import_module(home)
    named = getattr(module, "__all__", None) or [
        one for one, value in vars(module).items() if isinstance(value, type) and issubclass(value, _class(base))
    ]
    return did_you_mean(name, [one for one in named if one != name])
