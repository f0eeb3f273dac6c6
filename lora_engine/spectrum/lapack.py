"""SciPy's routines of BLAS and LAPACK, called at their addresses.

They work on parts of a matrix in place, which SciPy's own wrappers copy, and let other threads run
meanwhile.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

_COUNT = threading.Lock()
"""Held while the number of OpenBLAS's threads is changed: it belongs to the process."""


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """OpenBLAS, behind NumPy and SciPy, works on one thread; torch's own threads stay.

    For narrow products between those of torch: the threads of the two wait for each other by
    spinning, which takes a processor each.
    """
    from threadpoolctl import threadpool_limits

    with _COUNT, threadpool_limits(1, user_api="blas"):
        yield


def call(name: str, *arguments: bytes | float | np.ndarray) -> None:
    """One routine of BLAS or LAPACK with its arguments as Fortran takes them, all by address.

    Whole numbers go as int, others as double; of an array goes where it begins.
    """
    address = _address(name)
    if address is None:
        raise LookupError(name)
    kept = [_by_address(argument) for argument in arguments]
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(kept))
    kind(address)(*(address for address, _ in kept))


def has(name: str) -> bool:
    """Whether SciPy's LAPACK holds a routine."""
    return _address(name) is not None


def _address(name: str) -> int | None:
    """Where a routine lies: as SciPy offers it, or else in the library behind SciPy."""
    from scipy.linalg import cython_blas, cython_lapack

    for table in (cython_lapack.__pyx_capi__, cython_blas.__pyx_capi__):
        if name in table:
            get_name, get_pointer = (
                ctypes.pythonapi.PyCapsule_GetName,
                ctypes.pythonapi.PyCapsule_GetPointer,
            )
            get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
            get_pointer.restype = ctypes.c_void_p
            get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
            return int(get_pointer(table[name], get_name(table[name])))
    linked = ctypes.CDLL(cython_lapack.__file__)
    for spelling in (f"scipy_{name}_", f"{name}_"):
        if hasattr(linked, spelling):
            return ctypes.cast(getattr(linked, spelling), ctypes.c_void_p).value
    return None


def _by_address(argument: bytes | float | np.ndarray) -> tuple[int, object]:
    """The address of an argument, and what keeps it alive."""
    if isinstance(argument, np.ndarray):
        return argument.ctypes.data, argument
    held: ctypes.Array[ctypes.c_char] | ctypes.c_int | ctypes.c_double
    if isinstance(argument, bytes):
        held = ctypes.create_string_buffer(argument)
    else:
        held = ctypes.c_int(argument) if isinstance(argument, int) else ctypes.c_double(argument)
    return ctypes.addressof(held), held
