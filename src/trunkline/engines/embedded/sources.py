"""Where blocks come from: files that a person names, spools of the HTTP intake, a watched folder.

A watched file is taken once, when it is whole: renamed into the folder, or unchanged for two seconds. When all of it
is durable it is moved to `taken/`; one that cannot be read is renamed to `.failed`, with the reason beside it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from trunkline.engines.embedded.files import Block, FileBlocks, Framing, SourceBroken
from trunkline.ports import EngineStore, NearlyAllRejected, Progress

STABLE_S = 2.0
UNFINISHED = (".tmp", ".part", ".failed", ".reason")


class FileMover(Protocol):
    """The part of the disk that a watched folder needs."""

    def rename(self, path: Path, target: Path) -> None:
        """Give a file another name."""

    def write(self, path: Path, parts: Iterable[bytes]) -> int:
        """Write a new file whole and durably."""


class NamedFiles:
    """The files of one `ingest`, one after another."""

    def __init__(
        self, store: EngineStore, files: Sequence[tuple[Path, str, str]], framing: Callable[[str], Framing]
    ) -> None:
        """`files` are (path, mapping, source); each goes on where its last commit stood."""
        self._store, self._framing = store, framing
        self._waiting = list(reversed(files))
        self._open: FileBlocks | None = None
        self._lock = threading.Lock()
        self.troubles: list[Exception] = []

    @property
    def exhausted(self) -> bool:
        """Every file was read to its end."""
        return self._open is None and not self._waiting

    def fill(self, octets: int) -> list[Block]:
        """The next blocks of the file that is open, and of those behind it."""
        blocks: list[Block] = []
        while octets > 0 and not self.exhausted:
            with self._lock:
                block = self._next(octets)
            if block is not None:
                blocks.append(block)
                octets -= max(1, len(block.octets))
        return blocks

    def wait(self, timeout_s: float) -> None:
        """Files are there or they are not."""

    def drop(self, file: int, reason: str) -> None:
        """Stop one file; it goes on at its position when it is offered again."""
        with self._lock:
            if self._open is not None and self._open.file.file == file:
                self._close()
            self.troubles.append(NearlyAllRejected(reason))

    def committed(self, progress: Sequence[Progress]) -> None:
        """The store knows."""

    def _next(self, octets: int) -> Block | None:
        if self._open is None:
            path, mapping, source = self._waiting.pop()
            try:
                file = self._store.begin_file(path, mapping, source, "ingest")
                self._open = FileBlocks(file, self._framing(mapping))
            except (FileNotFoundError, IsADirectoryError, PermissionError, SourceBroken) as error:
                self.troubles.append(
                    error if isinstance(error, SourceBroken) else SourceBroken(f"{path}: {error.strerror}")
                )
                return None
        try:
            block = self._open.next(octets)
        except SourceBroken as error:
            self.troubles.append(error)
            self._close()
            return None
        if block is not None and block.last:
            self._close()
        return block

    def _close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None


class LiveSources:
    """What comes while the platform runs: spools first, then files of the watched folders."""

    def __init__(
        self,
        store: EngineStore,
        mover: FileMover,
        watched: Sequence[tuple[Path, str, str]],
        framing: Callable[[str], Framing],
        clock_s: Callable[[], float] = time.monotonic,
        *,
        forever: bool = True,
        not_read: frozenset[str] = frozenset(),
    ) -> None:
        """`watched` are (folder, mapping, source); without `forever` it ends when nothing is left to read.

        Spools of the sources `not_read` are carried by whoever writes them.
        """
        self._forever, self._idle, self._not_read = forever, False, not_read
        self._store, self._mover, self._watched, self._framing, self._clock_s = (
            store,
            mover,
            watched,
            framing,
            clock_s,
        )
        self._spools: dict[int, FileBlocks] = {}
        self._files: dict[int, FileBlocks] = {}
        self._taken: dict[int, Path] = {}
        self._sizes: dict[Path, tuple[int, int, float]] = {}
        self._looked_s = -STABLE_S
        self._something = threading.Event()
        self._counting = threading.Lock()
        self._appended_to: dict[int, int] = {}
        self._read_to: dict[int, int] = {}
        self._lock = threading.Lock()
        for folder, _, _ in watched:
            (folder / "taken").mkdir(parents=True, exist_ok=True)

    @property
    def exhausted(self) -> bool:
        """There may always come more, unless only what is there was asked for."""
        return self._idle and not self._forever

    @property
    def unread_octets(self) -> int:
        """What was appended to spools and is not yet committed."""
        with self._counting:
            return sum(max(0, end - self._read_to.get(file, 0)) for file, end in self._appended_to.items())

    def arrived(self, file: int, end: int) -> None:
        """A spool is durable up to `end`; any thread may call."""
        with self._counting:
            self._appended_to[file] = max(end, self._appended_to.get(file, 0))
        self._something.set()

    def wait(self, timeout_s: float) -> None:
        """Return when a spool grew, or when the time is over."""
        if timeout_s > 0:
            time.sleep(timeout_s)
        self._something.wait(0.25)
        self._something.clear()

    def fill(self, octets: int) -> list[Block]:
        """What is there now."""
        with self._lock:
            blocks = self._from_spools(octets)
            octets -= sum(len(block.octets) for block in blocks)
            if octets > 0:
                blocks += self._from_files(octets)
            self._idle = not blocks
            return blocks

    def drop(self, file: int, reason: str) -> None:
        """Set a watched file aside with the reason beside it."""
        with self._lock:
            blocks = self._files.pop(file, None)
            if blocks is not None:
                blocks.close()
            self._set_aside(file, reason)

    def committed(self, progress: Sequence[Progress]) -> None:
        """Move watched files away when all of them is durable."""
        with self._counting:
            for file in progress:
                if file.ended:
                    self._appended_to.pop(file.file, None)
                    self._read_to.pop(file.file, None)
                else:
                    self._read_to[file.file] = file.offset
        for file in progress:
            path = self._taken.get(file.file)
            if file.ended == "done" and path is not None:
                self._mover.rename(path, path.parent / "taken" / path.name)
                del self._taken[file.file]

    def _from_spools(self, octets: int) -> list[Block]:
        blocks: list[Block] = []
        for file in self._store.open_files("spool"):
            if octets <= 0:
                break
            if file.source in self._not_read:
                continue
            if file.file not in self._spools and file.path.exists():
                self._spools[file.file] = FileBlocks(file, self._framing(file.mapping))
            spool = self._spools.get(file.file)
            end = self._store.durable_end(file.file)
            if spool is None or spool.ended or (end is not None and end <= spool.offset):
                continue
            block = spool.next(octets, end)
            if block is not None:
                blocks.append(block)
                octets -= len(block.octets)
            if block is not None and block.last:
                spool.close()
        return blocks

    def _from_files(self, octets: int) -> list[Block]:
        self._look()
        blocks: list[Block] = []
        for number, file in list(self._files.items()):
            while octets > 0:
                try:
                    block = file.next(octets)
                except SourceBroken as error:
                    del self._files[number]
                    self._set_aside(number, str(error))
                    break
                assert block is not None, "a file always has a last block"
                blocks.append(block)
                octets -= max(1, len(block.octets))
                if block.last:
                    file.close()
                    del self._files[number]
                    break
        return blocks

    def _look(self) -> None:
        """See which files of the watched folders are whole, not oftener than needed."""
        now = self._clock_s()
        if now - self._looked_s < min(0.25, STABLE_S / 4):
            return
        self._looked_s = now
        there: dict[Path, tuple[int, int, float]] = {}
        for folder, mapping, source in self._watched:
            for path in sorted(folder.iterdir()):
                if path.name.startswith(".") or path.suffix in UNFINISHED or not path.is_file():
                    continue
                if path in self._taken.values():
                    continue
                status = path.stat()
                size, changed, since = self._sizes.get(path, (-1, -1, now))
                if (status.st_size, status.st_mtime_ns) != (size, changed):
                    since = now
                there[path] = status.st_size, status.st_mtime_ns, since
                if now - since >= STABLE_S or self._was_renamed_in(path):
                    self._take(path, mapping, source)
        self._sizes = there

    def _was_renamed_in(self, path: Path) -> bool:
        """A file whose content is older than two seconds was finished elsewhere."""
        return time.time() - path.stat().st_mtime >= STABLE_S

    def _take(self, path: Path, mapping: str, source: str) -> None:
        try:
            file = self._store.begin_file(path, mapping, source, "watched")
        except FileNotFoundError:
            return  # taken away again before it was read
        self._taken[file.file] = path
        try:
            self._files[file.file] = FileBlocks(file, self._framing(mapping))
        except SourceBroken as error:
            self._set_aside(file.file, str(error))

    def _set_aside(self, file: int, reason: str) -> None:
        path = self._taken.pop(file, None)
        self._store.end_file(file, reason)
        if path is not None and path.exists():
            self._mover.write(path.with_name(path.name + ".reason"), [reason.encode() + b"\n"])
            self._mover.rename(path, path.with_name(path.name + ".failed"))
