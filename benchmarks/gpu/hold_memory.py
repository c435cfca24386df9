"""Holds all of a card's memory but some, until its standard input closes.

python -m benchmarks.gpu.hold_memory GIB_LEFT
"""

from __future__ import annotations

import ctypes
import sys


def main() -> None:
    """Allocate, print "held", wait."""
    cuda = ctypes.CDLL("libcuda.so.1")
    context, memory = ctypes.c_void_p(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    _check(cuda.cuInit(0))
    _check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0))
    _check(cuda.cuCtxSetCurrent(context))
    _check(cuda.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)))
    size = free.value - int(float(sys.argv[1]) * (1 << 30))
    _check(cuda.cuMemAlloc_v2(ctypes.byref(memory), ctypes.c_size_t(size)))
    print("held", flush=True)
    sys.stdin.read()


def _check(status: int) -> None:
    if status:
        raise RuntimeError(f"CUDA's driver returned {status}")


if __name__ == "__main__":
    main()
