"""SciPy's routines of BLAS and LAPACK, called at their addresses.

They work on parts of a matrix in place, which SciPy's own wrappers copy, and let other threads run
meanwhile.
"""

from __future__ import annotations

import ctypes

import numpy as np


def call(name: str, *arguments: bytes | float | np.ndarray) -> None:
    """One routine of BLAS or LAPACK with its arguments as Fortran takes them, all by address.

    Whole numbers go as int, others as double; of an array goes where it begins.
    """
    from scipy.linalg import cython_blas, cython_lapack

    tables = (cython_lapack.__pyx_capi__, cython_blas.__pyx_capi__)
    capsule = next(table[name] for table in tables if name in table)
    kept = [_by_address(argument) for argument in arguments]
    get_name, get_pointer = (
        ctypes.pythonapi.PyCapsule_GetName,
        ctypes.pythonapi.PyCapsule_GetPointer,
    )
    get_name.restype, get_name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    get_pointer.restype = ctypes.c_void_p
    get_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(kept))
    kind(get_pointer(capsule, get_name(capsule)))(*(address for address, _ in kept))


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
