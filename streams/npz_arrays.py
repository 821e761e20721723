"""The arrays of an ``.npz`` archive, mapped into memory where it does not compress them. Nothing is ever unpickled."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from streams.source import DecodeError

_LOCAL_HEADER = struct.Struct("<4s22xHH")
"""Of a zip member: signature, and lengths of the name and of the extra field behind it."""

_DAMAGE = (ValueError, OSError, EOFError, RuntimeError, struct.error, zipfile.BadZipFile, zlib.error)
"""What the readers of zip archives and of arrays raise where bytes are not what they should be."""


class NpzArrays:
    """Arrays of an archive by name.

    Parameters
    ----------
    path
        The archive.

    Raises
    ------
    DecodeError
        The file is no zip archive.

    Notes
    -----
    An array is read when it is first asked for and kept. If its member is stored, as `numpy.savez` does, it is mapped
    and takes no memory of its own; if compressed (`numpy.savez_compressed`), it is read whole.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._held: dict[str, NDArray[Any]] = {}
        try:
            self._zip = zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise
        except _DAMAGE as error:
            raise DecodeError(self.path.name, f"a NumPy archive must be a zip file, found: {error}") from None
        self.names = [name.removesuffix(".npy") for name in self._zip.namelist() if name.endswith(".npy")]

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> NDArray[Any]:
        """An array, not to be changed.

        Raises
        ------
        DecodeError
            It is damaged, or holds Python objects.
        """
        if name not in self._held:
            try:
                self._held[name] = self._read(name)
            except _DAMAGE as error:
                raise DecodeError(self.path.name, f"array {name!r} must be intact, found: {error}") from None
        return self._held[name]

    def _read(self, name: str) -> NDArray[Any]:
        member = self._zip.getinfo(name + ".npy")
        with self._zip.open(member) as file:
            version = npy.read_magic(file)
            read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, column_major, dtype = read_header(file)
            if dtype.hasobject:
                raise ValueError("Python objects, which are never unpickled")
            begin = file.tell()
            n_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
            if n_bytes != member.file_size - begin:
                raise ValueError(f"{member.file_size - begin} bytes for shape {shape} of {dtype}")
            order: Any = "F" if column_major else "C"
            if member.compress_type != zipfile.ZIP_STORED or n_bytes == 0:
                return np.frombuffer(file.read(), dtype).reshape(shape, order=order)
        with open(self.path, "rb") as raw:
            raw.seek(member.header_offset)
            _, name_length, extra_length = _LOCAL_HEADER.unpack(raw.read(_LOCAL_HEADER.size))
        offset = member.header_offset + _LOCAL_HEADER.size + name_length + extra_length + begin
        return np.memmap(self.path, dtype, "r", offset, shape, order)

    def close(self) -> None:
        """Let go of the file and of the arrays; may be called twice."""
        self._held.clear()
        self._zip.close()
