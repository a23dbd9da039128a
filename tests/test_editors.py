"""The set-ups that ``docs/editors.md`` shows: run in a real Neovim, read by a parser otherwise."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from test_server import LEAK

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "editors.md").read_text(encoding="utf-8")

SCRIPT = """\
-- Neovim 0.7 has no vim.lsp.start; it came with 0.8.
vim.lsp.start = vim.lsp.start or function(config)
  vim.lsp.buf_attach_client(0, vim.lsp.start_client(config))
end
{setup}
local function wait(what, ready)
  if not vim.wait(60000, ready, 20) then
    io.stderr:write("waited in vain for " .. what)
    vim.cmd("cquit 1")
  end
end

vim.cmd("edit shop.py")
wait("findings", function() return #vim.diagnostic.get(0) > 0 end)
local found = vim.diagnostic.get(0)[1]
io.stdout:write(found.code or found.user_data.lsp.code, " ", found.source, " ", found.lnum, ":", found.col, "\\n")

vim.ui.select = function(items, options, choose)
  for _, item in ipairs(items) do
    if options.format_item(item):find("^Ignore") then return choose(item) end
  end
end
vim.api.nvim_win_set_cursor(0, {{ found.lnum + 1, found.col }})
vim.lsp.buf.code_action()
wait("the edit", function() return vim.bo.modified end)
vim.cmd("write")
wait("silence", function() return #vim.diagnostic.get(0) == 0 end)
vim.cmd("qall")
"""


def block(marker: str) -> str:
    """The text of the fenced block under a marker."""
    found = re.search(rf"^<!-- {marker} -->\n```\w*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


@pytest.mark.skipif(shutil.which("nvim") is None, reason="Neovim is not installed")
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_neovim(tmp_path: Path, newline: str) -> None:
    commands = tmp_path / "bin"
    commands.mkdir()
    script = commands / "leakcheck"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leakcheck "$@"\n')
    script.chmod(0o755)
    shop = tmp_path / "shop.py"
    shop.write_bytes(LEAK.replace("\n", newline).encode())
    (tmp_path / "run.lua").write_text(SCRIPT.format(setup=block("neovim")))
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    done = subprocess.run(
        ["nvim", "--headless", "-n", "-u", "NONE", "-i", "NONE", "-c", "filetype on", "-c", "luafile run.lua"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    column = len(LEAK.splitlines()[6].split("pool.getconn")[0].encode())  # Neovim counts bytes
    assert f"LC102 leakcheck 6:{column}" in done.stdout + done.stderr
    expected = LEAK.replace("= pool.getconn()", "= pool.getconn()  # leakcheck: ignore[LC102] -- reason")
    assert shop.read_bytes() == expected.replace("\n", newline).encode()


def test_helix() -> None:
    settings = tomllib.loads(block("helix"))
    assert "leakcheck" in settings["language"][0]["language-servers"]
    assert settings["language-server"]["leakcheck"] == {"command": "leakcheck", "args": ["server"]}


def test_emacs() -> None:
    setup = block("emacs")
    assert setup.count("(") == setup.count(")")
    assert '("leakcheck" "server")' in setup
