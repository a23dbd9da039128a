"""Names of annotations to what is written under them, here or in the file that they are imported from.

    from app.deps import Database     # there: Database = Annotated[Session, Depends(get_db)]
    def order(db: Database): ...      →   the annotation as it stands there, and the scope of that file

Only what is spelled out under the name is followed: a subscript, or a choice of several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leakcheck import expression as ex
from leakcheck.project.names import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from leakcheck.project.facts import ModuleFacts
    from leakcheck.project.modules import Modules

_IMPORTS = 4
"""A name that is imported on and on is followed so far."""


class Aliases:
    """Follows names of annotations; ``facts`` answers for the files of the project."""

    def __init__(self, modules: Modules, facts: Callable[[str], ModuleFacts | None]) -> None:
        self._modules = modules
        self._facts = facts

    def written(self, note: ex.Expression, module: ModuleFacts) -> Iterator[tuple[ex.Expression, Scope]]:
        """What an annotation of a file is written as: itself, or what stands under its name, each in its scope."""
        if isinstance(note, ex.Name):
            yield from self._under(note.id, module, _IMPORTS)
        elif isinstance(note, ex.Attribute) and isinstance(note.base, ex.Name):
            for target in module.scope.imports.get(note.base.id, (note.base.id,)):
                yield from self._imported(f"{target}.{note.name}", module, _IMPORTS)
        else:
            yield note, Scope(module)

    def _under(self, name: str, module: ModuleFacts, imports: int) -> Iterator[tuple[ex.Expression, Scope]]:
        for value in module.scope.assignments.get(name, ()):
            if isinstance(value, (ex.Item, ex.Choice)):
                yield value, Scope(module)
        for target in module.scope.imports.get(name, ()) if imports else ():
            yield from self._imported(target, module, imports)

    def _imported(self, target: str, module: ModuleFacts, imports: int) -> Iterator[tuple[ex.Expression, Scope]]:
        path, name = self._modules.member(target, module.path) or ("", "")
        defining = self._facts(path) if name else None
        if defining is not None:
            yield from self._under(name, defining, imports - 1)
