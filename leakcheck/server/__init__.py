"""The language server: an editor's buffers in, diagnostics and code actions out, on the standard streams.

    features   what the protocol asks for, and the loop that answers        (the only module that knows pygls)
    session    what is open, what is known of it, and when it is analysed again
    projects   which configuration governs a buffer, and its findings      (runs beside the loop)
    documents  the open buffers, over the files on disk
    positions  rows and columns, between ours and the editor's
    rendering  findings as the protocol's diagnostics
    actions    what an editor may do about a finding

It is the same engine as the command line's: only the function that reads files differs.
"""
