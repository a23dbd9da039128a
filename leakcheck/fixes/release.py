"""The shape ``try: … finally: release``: the connection goes back on every way out of the region.

    conn = pool.getconn()                conn = pool.getconn()
    cur = conn.cursor()                  try:
    cur.execute(sql)              →          cur = conn.cursor()
    pool.putconn(conn)                       cur.execute(sql)
                                         finally:
                                             pool.putconn(conn)

A ``try`` that is the whole region gets the ``finally`` itself. Where the pool is not known to roll back, and the
function commits, what is raised is rolled back first: the next user must not commit it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import libcst as cst

from leakcheck.cfg.walk import walk
from leakcheck.driver_session import AfterRelease
from leakcheck.fixes.guards import asks_if_bound, bound_tests, guards
from leakcheck.fixes.remarks import with_remarks
from leakcheck.fixes.roles import Role, mentions
from leakcheck.fixes.tree import TRIES, RefusedError, only

if TYPE_CHECKING:
    from collections.abc import Sequence

    from leakcheck.fixes.region import Region

_CONTINUED = re.compile(r"\\\r?\n")


def release_of(region: Region, name: str = "") -> cst.BaseExpression:
    """The release as the program writes it, else as the driver's file does. Raises RefusedError.

    ``name`` is another variable that holds the connection, for what nothing in the region releases.
    """
    name = name or region.name
    acquisition = region.found.acquisition
    template = acquisition.resource.release
    if "leaving" in template or template.endswith(":"):
        raise RefusedError(f"nothing but leaving its `with` releases `{name}`")
    written = {region.tree.text(call).strip(): call for call in _true_releases(region)}
    if len(written) > 1:
        raise RefusedError(f"`{name}` is released in different ways: `{'`, `'.join(sorted(written))}`")
    for call in written.values():
        return _checked(region, call, name)
    pool = region.pool if not acquisition.steps else None
    if "{pool}" in template and pool is None:
        raise RefusedError(f"which pool `{name}` must go back to is not visible here")
    return _checked(region, cst.parse_expression(template.format(name=name, pool=pool)), name)


def _true_releases(region: Region) -> list[cst.BaseExpression]:
    """The removed releases that do release, without ``conn and``."""
    real = {id(i.node) for i in region.found.exploration.releases.values()}
    found = []
    for node in region.removed.values():
        call = node.right if isinstance(node, cst.BooleanOperation) else node
        inner = call.expression if isinstance(call, cst.Await) else call
        assert isinstance(call, cst.BaseExpression)
        if (id(inner) in real or id(call) in real) and region.holds(node):
            found.append(call)
    return found


def _checked(region: Region, release: cst.BaseExpression, name: str) -> cst.BaseExpression:
    """The release, if it reads nothing that the region may change."""
    text = region.tree.text(release)
    if isinstance(release, cst.Await) and not region.tree.unit.is_async:
        raise RefusedError(f"`{text}` needs an `async def`")
    read = {region.tree.text(n) for n in walk(release) if isinstance(n, (cst.Name, cst.Attribute))} - {name}
    for statement in region.statements:
        for node in walk(statement):
            for target in _targets(node):
                if region.tree.text(target) in read:
                    row = region.tree.row(node)
                    raise RefusedError(f"line {row} binds `{region.tree.text(target)}`, which the release needs")
    return release


def _targets(node: cst.CSTNode) -> Sequence[cst.CSTNode]:
    """What a node binds, one by one."""
    match node:
        case cst.AssignTarget(target=target) | cst.AugAssign(target=target) | cst.AnnAssign(target=target):
            pass
        case cst.NamedExpr(target=target) | cst.For(target=target) | cst.AsName(name=target) | cst.Del(target=target):
            pass
        case cst.FunctionDef(name=target) | cst.ClassDef(name=target) | cst.ImportAlias(name=target, asname=None):
            pass
        case _:
            return ()
    return [n for n in walk(target) if isinstance(n, (cst.Name, cst.Attribute))]


def with_finally(region: Region, body: list[cst.BaseStatement], call: cst.BaseExpression) -> list[cst.BaseStatement]:
    """The checkout and its region, with the release in a ``finally``."""
    line = cst.SimpleStatementLine(body=[cst.Expr(call.deep_clone())])
    release = asking(region, block(region, [with_remarks(line, region)]))
    rollback = rollback_of(region)
    lone = body[0] if len(body) == 1 and rollback is None else None
    statement: cst.Try | cst.TryStar
    final = cst.Finally(body=release, leading_lines=_above_finally(region, body[-1]))
    if isinstance(lone, (cst.Try, cst.TryStar)) and lone.finalbody is None:
        statement = lone.with_changes(finalbody=final)
    elif isinstance(lone, cst.Try) and lone.finalbody is not None and _does_nothing(region, lone.finalbody):
        statement = lone.with_changes(finalbody=lone.finalbody.with_changes(body=release))
    elif isinstance(lone, cst.Try) and lone.finalbody is not None:
        guarded = cst.Try(body=lone.finalbody.body, finalbody=cst.Finally(body=release))
        statement = lone.with_changes(finalbody=lone.finalbody.with_changes(body=block(region, [guarded])))
    else:
        blank, body = without_leading_blanks(body)
        statement = cst.Try(
            leading_lines=blank,
            body=block(region, body),
            handlers=[] if rollback is None else [_raising_again(region, rollback)],
            finalbody=final,
        )
    guards = region.block.body[region.start : region.first]  # the checkout, and `if conn is None: return` behind it
    return [*guards, *(_from_none(region, statement) if region.needs_none else [statement])]


def _does_nothing(region: Region, final: cst.Finally) -> bool:
    """Whether a ``finally`` is a ``pass`` of which nothing is said."""
    lines: Sequence[cst.CSTNode] = final.body.body
    idle = all(isinstance(only(one) or one, cst.Pass) for one in lines)
    return idle and "#" not in region.tree.text(final)


def rollback_of(region: Region) -> cst.BaseExpression | None:
    """The rollback, said as the function says its commits, that a pool needs which is not known to roll back."""
    resource = region.found.acquisition.resource
    if resource.after_release is not AfterRelease.KEPT or resource.is_owner:
        return None
    used = [m for m in mentions(region.tree, region.name) if m.role is Role.METHOD]
    commit = next((m.call for m in used if m.attribute == "commit"), None)
    if commit is None or any(m.attribute == "rollback" and _is_after_any_error(region, m.node) for m in used):
        return None
    call = cst.Call(cst.Attribute(cst.Name(region.name), cst.Name("rollback")))
    return cst.Await(call) if isinstance(region.tree.parent(commit), cst.Await) else call


def _is_after_any_error(region: Region, node: cst.CSTNode) -> bool:
    """Whether a node is run whatever ``Exception`` is raised before it."""
    for parent in region.tree.ancestors(node):
        match parent:
            case cst.Finally() | cst.ExceptHandler(type=None):
                return True
            case cst.ExceptHandler(type=cst.Name(value="Exception" | "BaseException")):
                return True
            case _:
                pass
    return False


def _raising_again(region: Region, call: cst.BaseExpression) -> cst.ExceptHandler:
    """The handler that does this, and raises what it caught."""
    done = asking(region, block(region, [cst.SimpleStatementLine([cst.Expr(call.deep_clone())])]))
    lines = [*done.body, cst.SimpleStatementLine([cst.Raise()])]
    return cst.ExceptHandler(type=cst.Name("BaseException"), body=done.with_changes(body=lines))


def with_handler(region: Region, body: list[cst.BaseStatement], call: cst.BaseExpression) -> list[cst.BaseStatement]:
    """The checkout and its region, with the release where something raises."""
    blank, body = without_leading_blanks(body)
    statement = cst.Try(leading_lines=blank, body=block(region, body), handlers=[_raising_again(region, call)])
    kept = region.block.body[region.start : region.first]
    return [*kept, *(_from_none(region, statement) if region.needs_none else [statement])]


def _above_finally(region: Region, last: cst.BaseStatement) -> Sequence[cst.EmptyLine]:
    """What stood above the ``finally`` that the new one takes the place of: blank lines, comments."""
    old = region.statements[-1]
    if not isinstance(old, TRIES) or old.finalbody is None or (isinstance(last, TRIES) and last.finalbody is not None):
        return ()
    return old.finalbody.leading_lines


def _from_none(region: Region, statement: cst.Try | cst.TryStar) -> list[cst.BaseStatement]:
    """The statement with ``conn = None`` in front of it, which asks for that instead of whether the name is bound."""
    if region.may_be_none:
        for test in bound_tests(statement, region.name):
            raise RefusedError(f"line {region.tree.row(test)} asks whether `{region.name}` is bound")
    changed = statement.visit(_AskingForNone(region.name))
    assert isinstance(changed, (cst.Try, cst.TryStar))
    target = cst.AssignTarget(cst.Name(region.name))
    unset = cst.SimpleStatementLine([cst.Assign([target], cst.Name("None"))], leading_lines=statement.leading_lines)
    return [unset, changed.with_changes(leading_lines=[])]


class _AskingForNone(cst.CSTTransformer):
    """Puts ``conn is not None`` where it is asked whether the name is bound."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def leave_Comparison(  # noqa: N802  LibCST calls it so
        self, original_node: cst.Comparison, updated_node: cst.Comparison
    ) -> cst.Comparison:
        """The comparison, changed where it asks that."""
        if not asks_if_bound(original_node, self._name):
            return updated_node
        return updated_node.with_changes(left=cst.Name(self._name), comparisons=[_not_none()])

    def leave_BooleanOperation(  # noqa: N802  LibCST calls it so
        self, original_node: cst.BooleanOperation, updated_node: cst.BooleanOperation
    ) -> cst.BaseExpression:
        """``"conn" in locals() and conn`` is ``conn``."""
        is_said_again = asks_if_bound(original_node.left, self._name) and guards(original_node, self._name)
        return updated_node.right if is_said_again else updated_node


def _not_none() -> cst.ComparisonTarget:
    return cst.ComparisonTarget(cst.IsNot(), cst.Name("None"))


def asking(region: Region, release: cst.IndentedBlock) -> cst.IndentedBlock:
    """The release, under the question whether there is something to give back where that is not certain."""
    if not region.needs_test:
        return release
    test = cst.Comparison(cst.Name(region.name), [_not_none()])
    return block(region, [cst.If(test, release)])


def block(region: Region, body: Sequence[cst.BaseStatement]) -> cst.IndentedBlock:
    """A block that is indented as those in the region are, with the lines that a backslash continues."""
    inner = (node for statement in region.statements for node in walk(statement))
    indent = next((node.indent for node in inner if isinstance(node, cst.IndentedBlock)), region.block.indent)
    deeper = indent or region.tree.unit.part.module.default_indent
    moved = [_continued(line, deeper) if _CONTINUED.search(region.tree.text(line)) else line for line in body]
    return cst.IndentedBlock(body=moved, indent=indent)


def _continued(line: cst.BaseStatement, deeper: str) -> cst.BaseStatement:
    """A statement that is moved deeper, with its continued lines where they stood under the first."""
    moved = line.visit(_Deeper(deeper))
    assert isinstance(moved, cst.BaseStatement)
    return moved


class _Deeper(cst.CSTTransformer):
    """Moves what stands behind a backslash at the end of a line."""

    def __init__(self, by: str) -> None:
        super().__init__()
        self._by = by

    def leave_SimpleWhitespace(  # noqa: N802  LibCST calls it so
        self, original_node: cst.SimpleWhitespace, updated_node: cst.SimpleWhitespace
    ) -> cst.SimpleWhitespace:
        """The white space with all its lines but the first moved."""
        return updated_node.with_changes(value=_CONTINUED.sub(rf"\g<0>{self._by}", original_node.value))


def without_leading_blanks(
    body: list[cst.BaseStatement],
) -> tuple[Sequence[cst.EmptyLine], list[cst.BaseStatement]]:
    """The blank lines in front of the first statement, and the statements without them."""
    first = body[0]
    lines: Sequence[cst.EmptyLine] = first.leading_lines  # type: ignore[attr-defined]  # every kind of line has them
    count = next((i for i, line in enumerate(lines) if line.comment is not None), len(lines))
    return lines[:count], [first.with_changes(leading_lines=lines[count:]), *body[1:]]
