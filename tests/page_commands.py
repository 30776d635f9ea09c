"""The files and commands of a documentation page, and a shell that runs them as printed.

In a page, a fence with a title is a file (```yaml title="small.yaml"), a `bash` fence or an indented block is commands, and
a `text` fence after commands is what the last of them prints, with `...` for what is left out. One that begins with
`hubwright:` is an error: that command fails, or was interrupted by the reader. Other fences are shown and not run.
"""

from __future__ import annotations

import contextlib
import doctest
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from markdown_it import MarkdownIt

from hubwright.hub_sync.files import cache_dir

ROOT = Path(__file__).resolve().parents[1]
_TITLE = re.compile(r'^\w+ title="([^"]+)"$')


@dataclass(frozen=True)
class File:
    """A file of a page."""

    name: str
    text: str


@dataclass
class Command:
    """A command line of a page and what the page says that it prints."""

    text: str
    prints: str = ""

    @property
    def fails(self) -> bool:
        """True if what it prints is an error, or that it was interrupted."""
        return bool(re.search(r"^hubwright:", self.prints, re.MULTILINE))

    @property
    def interrupted(self) -> bool:
        """True if a reader stops it with Ctrl-C."""
        return "hubwright: interrupted" in self.prints

    def check(self, output: str) -> None:
        """Raises AssertionError if the output does not hold what the page says."""
        text = self.prints.strip().removesuffix("...").strip()
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        match = doctest.OutputChecker().check_output(f"...{text}...", output, flags)
        assert match or not text, f"{self.text}\nis said to print\n{self.prints}\nand prints\n{output[-3000:]}"


def parse_page(page: Path) -> list[File | Command]:
    """Files and commands in their order, each command as one line. Raises AssertionError for output without a command."""
    blocks: list[File | Command] = []
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        kind = token.info.split()[0] if token.info else ""
        if title := _TITLE.match(token.info):
            blocks.append(File(title[1], token.content))
        elif token.type == "code_block" or kind == "bash":
            lines = token.content.replace("\\\n", "").splitlines()
            blocks += [Command(line.strip()) for line in lines if line.strip() and line[0] != "#"]
        elif kind == "text":
            assert blocks and isinstance(blocks[-1], Command), (
                f"{page.name}: output without a command: {token.content}"
            )
            blocks[-1].prints = token.content
    return blocks


def snippets(page: Path) -> list[str]:
    """The untitled YAML fences of a page."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    return [token.content for token in tokens if token.type == "fence" and token.info == "yaml"]


def write_files(blocks: list[File | Command], folder: Path) -> None:
    """Write the files of a page into a folder."""
    for block in blocks:
        if isinstance(block, File):
            (folder / block.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.name).write_text(block.text, encoding="utf-8")


@dataclass(frozen=True)
class Result:
    """What a command did."""

    output: str
    status: int
    seconds: float


class Shell:
    """One `bash` in which commands run in turn, so that `eval` and `&` act as they do for a reader.

    It inherits PATH, a few settings and the cache of packages; its home is new.

    Args:
        folder: where it starts, and where `home` and its log lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._log, home = folder, folder / "shell.log", folder / "home"
        names = ("LANG", "HUBWRIGHT_TEST_WHEELS", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
        self._env = {name: os.environ[name] for name in names if name in os.environ}
        self._env |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(home)}
        # Packages that were fetched before are taken from where they are; engines are this shell's own.
        self._cache = home / ".cache" / "hubwright"
        self._cache.mkdir(parents=True)
        for name in ("seeds", "wheels"):
            (cache_dir() / name).mkdir(parents=True, exist_ok=True)
            (self._cache / name).symlink_to(cache_dir() / name)
        self._log.touch()
        self._process = subprocess.Popen(
            ["bash"], cwd=folder, env=self._env, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=self._log.open("a"), stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, command: str, interrupt_at: str = "") -> Result:
        """Result of one command; of one that ends in `&`, as soon as it is started.

        Args:
            interrupt_at: send SIGINT, as Ctrl-C does, once this is printed.
        """
        assert self._process.stdin
        place, begin = self._log.stat().st_size, time.monotonic()
        self._process.stdin.write(f"{{ {command}\n}} </dev/null\nprintf '\\n@@@ %s\\n' $?\n")
        self._process.stdin.flush()
        while not (end := re.search(r"^\n?@@@ (\d+)$", output := self._text(place), re.MULTILINE)):
            assert self._process.poll() is None, f"the shell ended: {output[-2000:]}"
            if interrupt_at and interrupt_at in output:
                interrupt_at = ""
                children = psutil.Process(self._process.pid).children()
                max(children, key=lambda child: child.create_time()).send_signal(signal.SIGINT)
            time.sleep(0.05)
        return Result(output[: end.start()], int(end[1]), time.monotonic() - begin)

    def _text(self, place: int) -> str:
        with self._log.open("rb") as log:
            log.seek(place)
            return log.read().decode(errors="replace")

    def close(self) -> None:
        """End the shell and all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait(30)
        if (self._cache / "engines").is_dir():
            subprocess.run(["hubwright", "engine", "stop", "--all"], cwd=self._folder, env=self._env, check=False)
