"""Classes of the project as resources: as a driver would describe them.

    class Store:                             →   a connection that `store.close()` gives back
        def close(self): self.conn.close()
        def __getattr__(self, name):         →   and that speaks to the server as what it keeps does
            return getattr(self.conn, name)

``owners`` finds them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from leakcheck.driver import RECEIVER, ClassKind, DriverClass, Operation, UseAfterRelease, WithEffect

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leakcheck.project.names import Class

EXITS = frozenset({"__exit__", "__aexit__"})


def described(
    cls: Class,
    methods: Mapping[str, bool],
    openings: Mapping[str, Operation],
    attribute: str,
    kept: DriverClass,
    *,
    release: str | None,
) -> DriverClass:
    """The class as a driver would describe it; ``methods`` as in ``releasing_methods``, ``release`` the one to call.

    What it keeps can be reached, and given back, past the object: ``store.conn.close()``.
    """
    operations = {n: Operation(n, releases="receiver", awaited=a) for n, a in methods.items() if not n.startswith("__")}
    leaves = methods.keys() & EXITS
    name = cls.qualname
    if release is not None:
        words = f"{'await ' if methods[release] else ''}{{name}}.{release}()"
    else:
        words = f"with {name}(...) as {{name}}:" if leaves else kept.release.replace("{name}", f"{{name}}.{attribute}")
    return DriverClass(
        id=f"{cls.path}:{name}",
        kind=ClassKind.CONNECTION,
        noun=f"`{name}`",
        methods={**{n: o for n, o in kept.methods.items() if o.releases == RECEIVER}, **operations, **openings},
        attributes=dict.fromkeys((attribute, *openings), kept.id),
        with_effect=WithEffect.RELEASES if leaves else WithEffect.KEEPS,
        use_after_release=UseAfterRelease.HARMLESS,
        release=words,
    )


def speaking(wrapped: DriverClass, kept: DriverClass) -> DriverClass:
    """An object that hands on all that it is asked for: what is said to it, the connection says to the server.

    What is assigned to it stays with the object: it switches no autocommit.
    """
    assert kept.session is not None
    said = {n: o for n, o in kept.methods.items() if o.sends or o.executes is not None or o.derives is not None}
    session = replace(kept.session, autocommit=(), made_autocommit=())
    return replace(wrapped, methods={**said, **wrapped.methods}, session=session)
