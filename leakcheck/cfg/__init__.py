"""From one function's syntax to its control-flow graph. Knows no library and no names but Python's own."""
