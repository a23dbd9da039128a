"""leakcheck finds database connections that are taken and not given back.

The public names are here: ``check(["app"], Config()).diagnostics`` is what the command line prints.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing for it would cost more than `leakcheck --version`
if TYPE_CHECKING:
    from leakcheck.config import Config
    from leakcheck.diagnostic import Diagnostic, LeakcheckError
    from leakcheck.engine import check
    from leakcheck.report import Report

__version__ = "0.1.0"
__all__ = ["Config", "Diagnostic", "LeakcheckError", "Report", "__version__", "check"]

_HOMES = {
    "Config": "leakcheck.config",
    "Diagnostic": "leakcheck.diagnostic",
    "LeakcheckError": "leakcheck.diagnostic",
    "Report": "leakcheck.report",
    "check": "leakcheck.engine",
}


def __getattr__(name: str) -> object:
    """Load a public name when it is first asked for: ``leakcheck --version`` needs none of them."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
