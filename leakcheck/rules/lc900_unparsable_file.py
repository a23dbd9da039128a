"""A file could not be read as Python, so nothing in it was checked.

## What it does

Reports a file that is not valid Python, or whose text cannot be decoded.

## Why is this bad?

A file that is skipped in silence looks like a file without leaks. Functions in other files that call
into it are judged without knowing what it does.

## Example

```python
def count_orders(:
    return 0
```

## Use instead

```python
def count_orders():
    return 0
```

A file that is not meant to be Python, such as a template, belongs into `extend-exclude`.

## Fix safety

No fix is offered: change the code by hand, as shown above.

## Limits

Syntax that is newer than the Python by which leakcheck runs counts as an error: the message names that version.
"""

from __future__ import annotations

from leakcheck.rule import Rule

RULE = Rule(code="LC900", name="unparsable-file", page=__doc__)
