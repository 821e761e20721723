"""Asking memory ahead for what a kernel is going to look at: the records of many labels are in no cache."""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, types
from numba.core import cgutils
from numba.extending import intrinsic

_READ, _KEEP, _VALUES = 0, 3, 1
"""What the instruction wants to be told: the place is to be read, to be kept in all caches, and holds no code."""


def fetch(array: Any, index: int) -> None:
    """Ask for the first bytes of ``array[index]``, and do not wait for them; for kernels. Nothing is changed.

    The index is not looked at: any is allowed, and negative ones do not count from the end.
    """


if not config.DISABLE_JIT:  # type: ignore[attr-defined]

    @intrinsic  # type: ignore[no-redef, untyped-decorator]
    def fetch(context: Any, array: Any, index: Any) -> Any:
        """The instruction of the processor."""

        def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            held = target.make_array(signature.args[0])(target, builder, arguments[0])
            stride = cgutils.unpack_tuple(builder, held.strides)[0]
            place = builder.gep(builder.bitcast(held.data, cgutils.voidptr_t), [builder.mul(stride, arguments[1])])
            number = ir.IntType(32)
            kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, number, number, number])
            asked = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
            builder.call(asked, [place, number(_READ), number(_KEEP), number(_VALUES)])
            return target.get_dummy_value()

        return types.void(array, types.intp), generate
