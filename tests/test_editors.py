"""The set-ups that ``docs/editors.md`` shows: run in a real Neovim and a real Emacs, read by a parser otherwise."""

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
IGNORED = LEAK.replace("= pool.getconn()", "= pool.getconn()  # leakcheck: ignore[LC102] -- reason")
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


def in_project(folder: Path, command: list[str]) -> subprocess.CompletedProcess[str]:
    """An editor, run in a folder; the command `leakcheck` that it finds is this one."""
    commands = folder / "bin"
    commands.mkdir()
    script = commands / "leakcheck"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m leakcheck "$@"\n')
    script.chmod(0o755)
    environment = os.environ | {
        "HOME": str(folder),
        "PATH": f"{commands}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.skipif(shutil.which("nvim") is None, reason="Neovim is not installed")
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_neovim(tmp_path: Path, newline: str) -> None:
    shop = tmp_path / "shop.py"
    shop.write_bytes(LEAK.replace("\n", newline).encode())
    (tmp_path / "run.lua").write_text(SCRIPT.format(setup=block("neovim")))
    done = in_project(
        tmp_path,
        ["nvim", "--headless", "-n", "-u", "NONE", "-i", "NONE", "-c", "filetype on", "-c", "luafile run.lua"],
    )
    assert done.returncode == 0, done.stderr
    column = len(LEAK.splitlines()[6].split("pool.getconn")[0].encode())  # Neovim counts bytes
    assert f"LC102 leakcheck 6:{column}" in done.stdout + done.stderr
    assert shop.read_bytes() == IGNORED.replace("\n", newline).encode()


def test_helix() -> None:
    settings = tomllib.loads(block("helix"))
    assert "leakcheck" in settings["language"][0]["language-servers"]
    assert settings["language-server"]["leakcheck"] == {"command": "leakcheck", "args": ["server"]}


EMACS = """\
{setup}
(require 'eglot)
(setq eglot-sync-connect 60 eglot-connect-timeout 90)
(find-file "shop.py")
(python-mode)
(call-interactively 'eglot)
(defun wait-for (what ready)
  (let ((end (+ (float-time) 60)))
    (while (and (not (funcall ready)) (< (float-time) end)) (accept-process-output nil 0.05))
    (unless (funcall ready) (message "waited in vain for %s" what) (kill-emacs 1))))
(flymake-mode 1)
(flymake-start)
(wait-for "findings" 'flymake-diagnostics)
(let ((found (car (flymake-diagnostics))))
  (message "%s" (flymake-diagnostic-text found))
  (goto-char (flymake-diagnostic-beg found))
  (message "at %d:%d" (line-number-at-pos) (current-column)))
(defun completing-read (_prompt choices &rest _)
  (seq-find (lambda (title) (string-match "^Ignore" title)) (all-completions "" choices)))
(setq last-nonmenu-event ?a)
(call-interactively 'eglot-code-actions)
(wait-for "the edit" 'buffer-modified-p)
(save-buffer)
(wait-for "silence" (lambda () (not (flymake-diagnostics))))
"""


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_emacs(tmp_path: Path, newline: str) -> None:
    library = max(Path("/usr/share/emacs/site-lisp/elpa").glob("eglot-*"), default=tmp_path)  # part of Emacs from 29 on
    emacs = ["emacs", "--batch", "-Q", "-L", str(library)]
    if (
        shutil.which("emacs") is None
        or subprocess.run([*emacs, "-l", "eglot"], check=False, capture_output=True).returncode
    ):
        pytest.skip("Emacs with eglot is not installed")
    shop = tmp_path / "shop.py"
    shop.write_bytes(LEAK.replace("\n", newline).encode())
    (tmp_path / "run.el").write_text(EMACS.format(setup=block("emacs")))
    done = in_project(tmp_path, [*emacs, "-l", "run.el"])
    assert done.returncode == 0, done.stderr
    assert "LC102" in done.stderr
    assert f"at 7:{len(LEAK.splitlines()[6].split('pool.getconn')[0])}\n" in done.stderr
    assert shop.read_bytes() == IGNORED.replace("\n", newline).encode()
