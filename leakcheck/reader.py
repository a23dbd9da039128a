"""Reading: the ``read`` function that a command line, an editor or a test lends, as the analysis sees it.

reader = Reader(read_file, frozenset({"app/db.py"}))
reader("app/db.py")     →   its bytes; what cannot be read is in ``reader.failures`` afterwards
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from leakcheck.trail import Trail

Read = Callable[[str], bytes]

_PARSE_ONLY = 0x400  # ast.PyCF_ONLY_AST, without importing ast


class NoAnalysis(Struct, frozen=True):
    """Why a file has no analysis; the place is its start where there is no better one."""

    message: str
    row: int = 1
    column: int = 1


class Reader:
    """The ``read`` function as the analysis sees it: notes, on the way, what the engine must know of each target.

    A target that cannot be read, or is no text at all, reads as empty and becomes a failure. A ``trail`` takes down
    what is read, and the folders that are listed.
    """

    def __init__(self, read: Read, targets: frozenset[str], trail: Trail | None = None) -> None:
        self._read = read if trail is None else lambda path: trail.noted(path, read)
        self.trail = trail
        self._targets = targets
        self.failures: dict[str, NoAnalysis] = {}
        self.commented: set[str] = set()
        self.sizes: dict[str, int] = {}

    def __call__(self, path: str) -> bytes:
        """The bytes of a file. Only for files that are no target it raises OSError."""
        if path not in self._targets:
            return self._read(path)
        if path in self.failures:
            return b""
        try:
            data = self._read(path)
        except OSError as error:
            self.failures[path] = NoAnalysis(f"cannot be read: {error.strerror or error}")
            return b""
        if b"\0" in data:
            self.failures[path] = NoAnalysis("it holds a NUL byte: it is no Python, or encoded as UTF-16")
            return b""
        if path not in self.sizes and _may_be_commented(data):
            self.commented.add(path)
        self.sizes[path] = len(data)
        return data

    def parses(self, path: str) -> bool:
        """Whether the running Python accepts a file; if not, the analysis may know a newer grammar, or what it is."""
        import warnings

        if path.endswith(".ipynb"):
            return False  # though most are expressions
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the code's own escapes, not ours to print
                compile(self(path), path, "exec", flags=_PARSE_ONLY, dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError, LookupError):
            return False
        return True

    def text(self, path: str) -> str:
        """The text of a target; what cannot be decoded is replaced, since it is only searched for comments."""
        return decoded(self(path))


def _may_be_commented(data: bytes) -> bool:
    if b"LC" not in data and b"leakcheck:" not in data:
        return False
    from leakcheck.suppression import may_contain

    return may_contain(data)


def decoded(data: bytes) -> str:
    """Source bytes as text, by byte-order mark or coding cookie, without failing."""
    import tokenize

    try:
        encoding, _ = tokenize.detect_encoding(iter(data.splitlines(keepends=True)[:2]).__next__)
    except (SyntaxError, LookupError):
        encoding = "utf-8-sig"
    return data.decode(encoding, errors="replace")
