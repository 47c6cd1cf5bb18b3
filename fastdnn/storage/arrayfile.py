"""Files of named arrays with a JSON header: what models and checkpoints are made of.

A file is a zip of uncompressed ``.npy`` members (`numpy.load` opens it) and one JSON header.
Nothing in it is executed or unpickled. Files are written beside their final name and moved into
place, so a reader sees the old file or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from fastdnn import checks

Path: TypeAlias = "str | os.PathLike[str]"
Kind: TypeAlias = Literal["model", "checkpoint"]
Arrays: TypeAlias = dict[str, NDArray[Any]]

FORMAT_NAME = "fastdnn"
FORMAT_VERSION = 1
HEADER_MEMBER = "__header__.npy"

# A header is configuration and a training history. 64 MiB holds millions of epochs and keeps a
# hostile file from turning its size into many times as much memory of Python objects.
MAX_HEADER_BYTES = 64 * 2**20

# Bytes read at once, so that reading needs the memory of the array only once.
_READ_BYTES = 2**20

_ARRAY_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")


class FileFormatError(ValueError):
    """A file is not what it should be: truncated, foreign, of another version, or hostile."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{os.fspath(path)}: {problem}")
        self.path = os.fspath(path)
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self.problem)


# --- writing --------------------------------------------------------------------------------


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that takes the place of `path` when the block ends without an error.

    The data goes to a temporary file of the same folder, is flushed to the disk, and moved into
    place. After an error the old file is as it was and the temporary one is gone. A symbolic
    link is followed.

    Raises
    ------
    OSError
        If the folder cannot be written, or `path` is a folder or a device.
    """
    target, temporary = _places(path)
    try:
        with _created(temporary, path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(target):
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def check_writable(path: Path) -> None:
    """Raise what `atomic_write` would raise before anything is written: ahead of long work."""
    temporary = _places(path)[1]
    _created(temporary, path).close()
    os.unlink(temporary)


def _places(path: Path) -> tuple[str, str]:
    """Where a file goes, and where it is written before."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"{os.fspath(path)}: the folder {folder} does not exist")
    if os.path.exists(target) and not os.path.isfile(target):
        raise OSError(f"{os.fspath(path)} is not a regular file, it is not replaced")
    return target, os.path.join(folder, f".fastdnn-{secrets.token_hex(8)}.tmp")


def _created(temporary: str, path: Path) -> IO[bytes]:
    """The new temporary file; an error names the path that the caller knows."""
    try:
        # "x" rather than tempfile: the permissions are those of an ordinary new file.
        return open(temporary, "xb")
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(f"{os.fspath(path)} cannot be written: {reason}") from error


def save_arrays(
    path: Path, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, kind: Kind
) -> None:
    """Write arrays and a JSON header to one file, atomically.

    Parameters
    ----------
    path : str or PathLike
        Used as it is: no ending is added.
    header : dict
        Anything JSON can say; no NaN.
    arrays : dict of name -> ndarray
        Arrays of numbers or bools.
    kind : {"model", "checkpoint"}

    Raises
    ------
    TypeError, ValueError
        If the header is not JSON, or an array is not of numbers, or its name not a plain one.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "example.npz")
    >>> save_arrays(path, {"epoch": 3}, {"W1": np.eye(2)}, kind="checkpoint")
    >>> load_arrays(path, kind="checkpoint")[0]
    {'epoch': 3}
    """
    arrays = {name: _writable(name, array) for name, array in arrays.items()}
    document = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "kind": kind,
        "arrays": {
            name: {"dtype": array.dtype.str, "shape": list(array.shape)}
            for name, array in arrays.items()
        },
        "header": dict(header),
    }
    try:
        text = json.dumps(document, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        raise type(error)(f"header cannot be written as JSON: {error}") from error
    if len(text) > MAX_HEADER_BYTES:
        raise ValueError(f"header takes {len(text)} bytes, expected at most {MAX_HEADER_BYTES}")
    with atomic_write(path) as file, zipfile.ZipFile(file, "w") as archive:
        _write_member(archive, HEADER_MEMBER, np.frombuffer(text, dtype=np.uint8))
        for name, array in arrays.items():
            _write_member(archive, name + ".npy", array)


def _writable(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if not _ARRAY_NAME.fullmatch(name):
        raise ValueError(
            f"array name is {name!r}, expected letters, digits, '_', '.' or '-' after a letter"
        )
    array = np.asarray(array)
    if not checks.is_real(array.dtype):
        raise TypeError(f"array {name} has dtype {array.dtype}, expected bool, integer or float")
    # Little endian and C order: the bytes do not depend on the machine or on the caller's layout.
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).reshape(array.shape)


def _write_member(archive: zipfile.ZipFile, name: str, array: NDArray[Any]) -> None:
    # A ZipInfo made by hand carries no clock: the same model gives the same bytes.
    with archive.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
        npy.write_array(member, array, version=(1, 0), allow_pickle=False)


# --- reading --------------------------------------------------------------------------------


def load_arrays(path: Path, *, kind: Kind) -> tuple[dict[str, Any], Arrays]:
    """Read a file of `save_arrays`, believing nothing it says.

    Parameters
    ----------
    path : str or PathLike
    kind : {"model", "checkpoint"}
        What the file must be.

    Returns
    -------
    header : dict
    arrays : dict of name -> ndarray
        C-contiguous, writable, native byte order.

    Raises
    ------
    FileFormatError
        If the file is not such a file, is damaged, or contradicts itself. No more memory is
        taken than the file takes on disk.
    FileNotFoundError, OSError
        If there is no file, or it cannot be opened.
    """
    with open(path, "rb") as file:
        try:
            with zipfile.ZipFile(file) as archive:
                return _read_archive(path, archive, os.fstat(file.fileno()).st_size, kind)
        except FileFormatError:
            raise
        except zipfile.BadZipFile as error:
            raise FileFormatError(
                path, f"not a fastdnn file, or a damaged one ({error})"
            ) from error
        except Exception as error:
            # On hostile bytes zipfile, json and the .npy parser raise a dozen classes, most of
            # them undocumented (struct.error, OverflowError, RecursionError, MemoryError ...).
            raise FileFormatError(path, f"damaged: {type(error).__name__}: {error}") from error


def _read_archive(
    path: Path, archive: zipfile.ZipFile, file_size: int, kind: Kind
) -> tuple[dict[str, Any], Arrays]:
    members = {info.filename: info for info in archive.infolist()}
    if len(members) != len(archive.infolist()):
        raise FileFormatError(path, "two members have the same name")
    if HEADER_MEMBER not in members:
        raise FileFormatError(path, "has no fastdnn header: it was written by something else")
    for name, info in members.items():
        if info.compress_type != zipfile.ZIP_STORED:
            raise FileFormatError(path, f"member {name} is compressed, expected it uncompressed")
    # Members are stored as they are, so a file cannot hold more than its own size; together with
    # the comparison of every declared shape below this leaves no room for a size bomb.
    if sum(info.file_size for info in members.values()) > file_size:
        raise FileFormatError(path, "its members claim more bytes than the file has")
    if members[HEADER_MEMBER].file_size > MAX_HEADER_BYTES:
        raise FileFormatError(path, f"its header is larger than {MAX_HEADER_BYTES} bytes")

    text = _read_member(path, archive, members[HEADER_MEMBER])
    if text.dtype != np.uint8 or text.ndim != 1:
        raise FileFormatError(path, "its header is not text")
    declared, header = _read_header(path, text.tobytes(), kind)
    expected = {HEADER_MEMBER, *(name + ".npy" for name in declared)}
    if set(members) != expected:
        odd = ", ".join(sorted(set(members) ^ expected))
        raise FileFormatError(path, f"its members are not those its header lists: {odd}")
    arrays = {}
    for name, entry in declared.items():
        array = _read_member(path, archive, members[name + ".npy"])
        found = {"dtype": array.dtype.str, "shape": list(array.shape)}
        if entry != found:
            raise FileFormatError(path, f"array {name} is {found}, its header says {entry}")
        arrays[name] = array.astype(array.dtype.newbyteorder("="), copy=False)
    return header, arrays


def _read_header(
    path: Path, text: bytes, kind: Kind
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The declared arrays and the caller's header, from the JSON text."""
    document = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    if not isinstance(document, dict) or document.get("format") != FORMAT_NAME:
        raise FileFormatError(path, f"its header does not say format {FORMAT_NAME!r}")
    version = document.get("version")
    if version != FORMAT_VERSION:
        raise FileFormatError(
            path,
            f"has format version {version!r}, this fastdnn reads {FORMAT_VERSION}; "
            f"upgrade fastdnn or save the file again",
        )
    if document.get("kind") != kind:
        raise FileFormatError(path, f"is a {document.get('kind')!r} file, expected a {kind!r} file")
    declared, header = document.get("arrays"), document.get("header")
    if not isinstance(declared, dict) or not isinstance(header, dict):
        raise FileFormatError(path, "its header lacks the sections 'arrays' and 'header'")
    return declared, header


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    """One .npy member, after comparing its declared size with the bytes it really has."""
    with archive.open(info) as member:
        version = npy.read_magic(member)
        if version != (1, 0):
            raise FileFormatError(path, f"{info.filename} has .npy version {version}")
        shape, fortran_order, dtype = npy.read_array_header_1_0(member)
        if not checks.is_real(dtype):
            raise FileFormatError(path, f"{info.filename} has dtype {dtype}, expected numbers")
        n_bytes = dtype.itemsize
        for length in shape:
            n_bytes *= length  # Python integers: a hostile shape cannot overflow
        if fortran_order or min(shape, default=0) < 0 or n_bytes != info.file_size - member.tell():
            raise FileFormatError(
                path, f"{info.filename} declares shape {shape}, which its size contradicts"
            )
        array = np.empty(shape, dtype)
        buffer = array.reshape(-1).view(np.uint8)
        for start in range(0, n_bytes, _READ_BYTES):  # the last read compares the checksum
            chunk = buffer[start : start + _READ_BYTES]
            chunk[:] = np.frombuffer(member.read(chunk.size), dtype=np.uint8)
        return array
