"""Files that are written whole or not at all, and compressed as their names say."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary name beside ``path`` to write to, renamed to it at the end of the block.

    If the block ends with an exception, what was written is removed, and a file that stood at ``path`` stays. After a
    crash at any moment ``path`` holds the old content or the new one, whole.

    Raises
    ------
    FileNotFoundError
        The folder is not there.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "toy.txt"
    >>> with whole_file(target) as partial:
    ...     _ = partial.write_text("done")
    ...     target.exists()
    False
    >>> target.read_text()
    'done'
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target}: the folder of a file to write must be there, got {target.parent}")
    # The ending stays last, since some writers choose or append one by it.
    partial = target.with_name(f".{os.getpid()}.partial.{target.name}")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write ``content`` as `whole_file` does."""
    with whole_file(path) as partial:
        partial.write_bytes(content)


def compressor(file: BinaryIO, path: Path) -> Any:
    """What compresses into ``file`` as the ending of ``path`` says; ``file`` itself where it says nothing."""
    if path.suffix == ".gz":
        # No time and no name in the header: the same events are the same bytes.
        return gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0)
    if path.suffix == ".zst":
        import zstandard

        return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return file
