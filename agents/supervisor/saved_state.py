"""
Stores a learner's state: named arrays in one file, under one hash.

The file is an .npz that `numpy.load` reads, written with a fixed stamp so that equal states are
equal bytes, whole or not at all. No pickle is written and none is read. It knows no learner.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from config.errors import DataError
from config.files.whole import whole_file

type Arrays = Mapping[str, NDArray[Any]]


def digest_of(arrays: Arrays) -> str:
    """Return the SHA-256 of the arrays' names, types, shapes and bytes."""
    h = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        h.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        h.update(np.ascontiguousarray(array).tobytes())
    return h.hexdigest()


def write_state(path: Path, arrays: Arrays) -> None:
    """Write the arrays to one file. Raises ConfigError where it cannot be written."""
    with whole_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, arrays[name], allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), buffer.getvalue())


def read_state(path: Path) -> dict[str, NDArray[Any]]:
    """
    Return the arrays of a file.

    Raises DataError if the file is missing or is not such a state.
    """
    try:
        with path.open("rb") as f, np.load(f, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as e:
        raise DataError(f"expected a supervisor state at {path}, was no file") from e
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as e:
        raise DataError(f"expected a supervisor state in {path.name}, was unreadable: {e}") from e
