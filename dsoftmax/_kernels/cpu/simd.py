"""Vectors as values of compiled code: what a loop computes with stays in registers.

A loop over `pointer`s is vectorised by LLVM only if every step of it is, and hands what it makes to
the next loop through memory: a softmax of such loops takes twice as long as its exponentials.  With
vectors the maximum, the exponentials and their sums are one loop.

A `Lanes` is 64 bytes of float32 or float64, or the float64 that so many float32 become.  LLVM
splits it where the machine's vectors are shorter, into independent parts that fill its pipelines.
The operators are element by element, with a number on one side for all of the lanes; products may
be fused with the sum that they are a term of.

The operators share the type and its codegen, and so are one file.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

VECTOR_BYTES = 64

_INT32 = ir.IntType(32)


class Lanes(types.Type):  # type: ignore[misc]  # Numba has no types
    """The type of a vector of so many elements of a type."""

    def __init__(self, element: Any, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(f"Lanes({element}, {count})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: Lanes) -> None:
        element = manager.lookup(lanes.element).get_value_type()
        super().__init__(manager, lanes, ir.VectorType(element, lanes.count))


def lanes_in_vector(dtype: Any) -> int:
    """How many elements of a dtype fill a vector."""
    return VECTOR_BYTES // np.dtype(dtype).itemsize


def _operator(op: Callable[..., Any], build: Callable[..., Any]) -> None:
    """Define an operator of vectors by what builds its instruction for two of them."""

    @type_callable(op)
    def type_of_operation(context: Any) -> Callable[[Any, Any], Any]:
        def typer(a: Any, b: Any) -> Any:
            if isinstance(a, Lanes) and b in (a, a.element):
                return a
            if isinstance(b, Lanes) and a == b.element:
                return b
            return None

        return typer

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        return build(builder, *(_to_vector(builder, value, kind) for value in args))

    for pair in ((Lanes, Lanes), (Lanes, types.Number), (types.Number, Lanes)):
        lower_builtin(op, *pair)(codegen)


def _arithmetic(name: str) -> Callable[..., Any]:
    def build(builder: Any, a: Any, b: Any) -> Any:
        if isinstance(a.type.element, ir.IntType):
            return getattr(builder, name)(a, b)
        return getattr(builder, f"f{name}")(a, b, flags=("contract",))

    return build


def _to_vector(builder: Any, value: Any, kind: Any) -> Any:
    if value.type == kind:
        return value
    nothing = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(nothing, value, _INT32(0))
    return builder.shuffle_vector(first, nothing, _places([0] * kind.count))


def _places(indices: list[int]) -> Any:
    return ir.Constant(ir.VectorType(_INT32, len(indices)), indices)


for _op, _name in {
    operator.add: "add",
    operator.sub: "sub",
    operator.mul: "mul",
    operator.truediv: "div",
}.items():
    _operator(_op, _arithmetic(_name))
_operator(operator.lshift, lambda builder, a, b: builder.shl(a, b))
_operator(operator.rshift, lambda builder, a, b: builder.lshr(a, b))
_operator(operator.and_, lambda builder, a, b: builder.and_(a, b))
_operator(operator.or_, lambda builder, a, b: builder.or_(a, b))


@intrinsic(prefer_literal=True)
def load(typing_context: Any, address: Any, dtype: Any, count: Any) -> Any:
    """The vector of ``count`` elements of a dtype at an address."""
    lanes = Lanes(dtype.dtype, count.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(lanes)
        vector = builder.load(builder.inttoptr(args[0], kind.as_pointer()))
        vector.align = lanes.element.bitwidth // 8
        return vector

    return lanes(types.int64, dtype, count), codegen


@intrinsic
def store(typing_context: Any, lanes: Any, address: Any) -> Any:
    """Write a vector to an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector, place = args
        done = builder.store(vector, builder.inttoptr(place, vector.type.as_pointer()))
        done.align = lanes.element.bitwidth // 8
        return context.get_dummy_value()

    return types.void(lanes, types.int64), codegen


@intrinsic(prefer_literal=True)
def repeat(typing_context: Any, value: Any, count: Any) -> Any:
    """The vector that has a number in all of its lanes."""
    number = types.unliteral(value)
    lanes = Lanes(number, count.literal_value)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _to_vector(builder, args[0], context.get_value_type(lanes))

    return lanes(number, count), codegen


def _extreme(comparison: str) -> Any:
    """The greater, or the lesser, of a and b in each lane; where a is NaN it is b."""

    def call(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.select(builder.fcmp_ordered(comparison, *args), *args)

        return a(a, b), codegen

    return intrinsic(call)


greater, lesser = _extreme(">"), _extreme("<")


@intrinsic
def fused(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c of vectors, or of numbers among them: rounded once where the machine can.

    So can all of x86 since 2013, with AVX2, and of ARM64.
    """
    lanes = next(value for value in (a, b, c) if isinstance(value, Lanes))
    kinds = [value if isinstance(value, Lanes) else lanes.element for value in (a, b, c)]

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = context.get_value_type(lanes)
        name = f"llvm.fmuladd.v{lanes.count}f{lanes.element.bitwidth}"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(kind, [kind] * 3), name
        )
        return builder.call(function, [_to_vector(builder, value, kind) for value in args])

    return lanes(*kinds), codegen


def _choice(comparison: str) -> Any:
    """A function that chooses in each lane by a comparison of its first two arguments."""

    def call(typing_context: Any, a: Any, b: Any, then: Any, otherwise: Any) -> Any:
        result = next((value for value in (then, otherwise) if isinstance(value, Lanes)), a)
        b, then, otherwise = (
            value if isinstance(value, Lanes) else lanes.element
            for value, lanes in ((b, a), (then, result), (otherwise, result))
        )

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            compared, chosen = args[0].type, context.get_value_type(result)
            a, b = (_to_vector(builder, value, compared) for value in args[:2])
            condition = builder.fcmp_ordered(comparison, a, b)
            return builder.select(
                condition, *(_to_vector(builder, value, chosen) for value in args[2:])
            )

        return result(a, b, then, otherwise), codegen

    return intrinsic(call)


where_equal = _choice("==")  # (a, b, then, otherwise); never equal: NaN
where_greater = _choice(">")
where_less = _choice("<")
where_at_least = _choice(">=")


@intrinsic
def chosen(typing_context: Any, flags: Any, lanes: Any, otherwise: Any) -> Any:
    """The lanes whose bytes, at the address of ``flags``, are not 0, and a number in the others."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flags, lanes, otherwise = args
        kind = ir.VectorType(ir.IntType(8), lanes.type.count)
        loaded = builder.load(builder.inttoptr(flags, kind.as_pointer()), align=1)
        kept = builder.icmp_unsigned("!=", loaded, ir.Constant(kind, None))
        return builder.select(kept, lanes, _to_vector(builder, otherwise, lanes.type))

    return lanes(types.int64, lanes, lanes.element), codegen


@intrinsic
def from_lane(typing_context: Any, first: Any, lanes: Any, otherwise: Any) -> Any:
    """The lanes from a number on, and another value in those before."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        first, lanes, otherwise = args
        places = _places(list(range(lanes.type.count)))
        limit = _to_vector(builder, builder.trunc(first, _INT32), places.type)
        kept = builder.icmp_signed(">=", places, limit)
        return builder.select(kept, lanes, _to_vector(builder, otherwise, lanes.type))

    return lanes(types.int64, lanes, lanes.element), codegen


@intrinsic
def zero_below(typing_context: Any, lanes: Any, limit: Any, value: Any) -> Any:
    """The value, but 0 where ``lanes`` are below a limit."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes, limit, value = args
        below = builder.fcmp_ordered("<", lanes, _to_vector(builder, limit, lanes.type))
        return builder.select(below, ir.Constant(value.type, None), value)

    return value(lanes, limit, value), codegen


def _any(comparison: str, for_nan: bool = False) -> Any:
    """A function that tells whether a comparison holds in any lane, or one of them is NaN."""

    def call(typing_context: Any, a: Any, b: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            a, b = (_to_vector(builder, value, args[0].type) for value in args)
            compare = builder.fcmp_unordered if for_nan else builder.fcmp_ordered
            flags = _flags(builder, compare(comparison, a, b))
            return builder.icmp_unsigned("!=", flags, flags.type(0))

        return types.boolean(a, b if isinstance(b, Lanes) else a.element), codegen

    return intrinsic(call)


any_greater = _any(">")  # (a, b), where b may be a number
any_less = _any("<")
any_at_least = _any(">=")
any_not_below = _any(">=", for_nan=True)


@intrinsic
def count_equal(typing_context: Any, a: Any, b: Any) -> Any:
    """In how many lanes a equals a number."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        same = builder.fcmp_ordered("==", args[0], _to_vector(builder, args[1], args[0].type))
        return builder.zext(builder.ctpop(_flags(builder, same)), ir.IntType(64))

    return types.int64(a, b), codegen


def _flags(builder: Any, condition: Any) -> Any:
    return builder.bitcast(condition, ir.IntType(condition.type.count))


@intrinsic
def widen(typing_context: Any, lanes: Any) -> Any:
    """The elements as float64."""
    wide = Lanes(types.float64, lanes.count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if lanes == wide:
            return args[0]
        return builder.fpext(args[0], context.get_value_type(wide))

    return wide(lanes), codegen


@intrinsic
def narrow(typing_context: Any, lanes: Any, dtype: Any) -> Any:
    """Float64 as a dtype, rounded once."""
    short = Lanes(dtype.dtype, lanes.count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if lanes == short:
            return args[0]
        return builder.fptrunc(args[0], context.get_value_type(short))

    return short(lanes, dtype), codegen


_SAME_SIZE = {
    types.float32: types.uint32,
    types.float64: types.uint64,
    types.uint32: types.float32,
    types.uint64: types.float64,
}


@intrinsic
def reinterpret_lanes(typing_context: Any, lanes: Any) -> Any:
    """The bits of floats as integers, or of integers as floats."""
    other = Lanes(_SAME_SIZE[lanes.element], lanes.count)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(other))

    return other(lanes), codegen


def _fold(build: Callable[..., Any]) -> Any:
    """A function that makes one number of a vector, by halves."""

    def call(typing_context: Any, lanes: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (vector,) = args
            while (count := vector.type.count) > 1:
                half = count // 2
                low = builder.shuffle_vector(vector, vector, _places(list(range(half))))
                high = builder.shuffle_vector(vector, vector, _places(list(range(half, count))))
                vector = build(builder, low, high)
            return builder.extract_element(vector, _INT32(0))

        return lanes.element(lanes), codegen

    return intrinsic(call)


def _half(of: Callable[..., Any]) -> Any:
    """A function that makes a vector of half as many lanes of the lower and the upper half."""

    def call(typing_context: Any, lanes: Any) -> Any:
        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (vector,) = args
            half = vector.type.count // 2
            low, high = (
                builder.shuffle_vector(vector, vector, _places(list(range(i, i + half))))
                for i in (0, half)
            )
            return of(builder, low, high)

        return Lanes(lanes.element, lanes.count // 2)(lanes), codegen

    return intrinsic(call)


lower_half = _half(lambda builder, low, high: low)
upper_half = _half(lambda builder, low, high: high)
halved = _half(lambda builder, low, high: builder.fadd(low, high))  # their sums
total = _fold(lambda builder, a, b: builder.fadd(a, b))
largest = _fold(lambda builder, a, b: builder.select(builder.fcmp_ordered(">", a, b), a, b))
smallest = _fold(lambda builder, a, b: builder.select(builder.fcmp_ordered("<", a, b), a, b))
