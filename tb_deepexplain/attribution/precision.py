"""The precision in which explanations are computed, whatever the process has set; its own setting is put back afterwards."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, get_args

from tb_deepexplain.error_text import model_error_text
from tb_deepexplain.errors import InputError, ParameterError, UnsupportedModelError
from tb_deepexplain.lazy_tensorflow import tf

Precision: TypeAlias = Literal["float32", "tf32", "mixed", "float64"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"  # read by CUDA's libraries when they are loaded
_REWRITES = ("auto_mixed_precision", "auto_mixed_precision_onednn_bfloat16")  # TensorFlow's, on GPUs and CPUs

MAY_BE_TF32 = (
    "this process lets GPUs compute in TF32: TensorFlow keeps the plan of a matrix product or convolution once chosen in TF32, so that "
    "maps in float32 after such a computation may still be in TF32 (1.9 % of a map's largest value was measured); call "
    "tf.config.experimental.enable_tensor_float_32_execution(False) before the first computation, or set NVIDIA_TF32_OVERRIDE=0"
)


_thread = threading.local()


def read_precision(precision: str | None = None, mixed_precision: bool = False) -> Precision:
    """The precision of that name, by default float32; `mixed_precision=True` is "mixed". Raises ParameterError."""
    if precision is not None and precision not in PRECISIONS:
        raise ParameterError(f"precision={precision!r}: expected {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}")
    if mixed_precision and precision not in (None, "float32", "mixed"):
        raise ParameterError(f"got mixed_precision and precision={precision!r}; give one of them")
    return "mixed" if mixed_precision else precision or "float32"  # type: ignore[return-value]


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Within the context, this thread's matrix products and convolutions are computed in this precision.

    TF32 is a setting of the process: threads that need it on and threads that need it off wait for each other. Half precision is one of
    the thread.
    """
    outer: str | None = getattr(_thread, "precision", None)
    if outer == precision:
        yield
        return
    with _tf32.held(precision == "tf32"), _rewriting(precision == "mixed"):
        _thread.precision = precision
        try:
            yield
        finally:
            _thread.precision = outer


def check_mixed() -> None:
    """ParameterError if TensorFlow has no half precision on the device of this thread."""
    if not _has_half(_device()):
        raise ParameterError(
            "precision='mixed': TensorFlow has no half precision here; it needs a GPU of compute capability 7 or more, or a CPU "
            "with AVX-512"
        )


def check_tf32() -> None:
    """ParameterError if the process was started without TF32."""
    if os.environ.get(TF32_OVERRIDE) == "0" and computes_on_gpu():
        raise ParameterError(
            f"precision='tf32': the environment variable {TF32_OVERRIDE}=0 forbids it; unset it, or leave precision out"
        )


def computes_on_gpu() -> bool:
    """Whether this thread computes on a GPU."""
    return bool(tf.config.list_logical_devices("GPU")) and "GPU" in _device()


def _device() -> str:
    return str(tf.fill([1], 0.0).backing_device)


@functools.cache
def _has_half(device: str) -> bool:
    """Whether half precision changes a product on this device."""
    x = tf.random.stateless_uniform([64, 64], [0, 0])

    def product(y: Any) -> Any:
        for _ in range(4):  # TensorFlow does not optimise smaller graphs
            y = tf.nn.relu(y @ y) / 16
        return y

    with tf.device(device):
        with computing_in("float32"):
            exact = tf.function(product, autograph=False)(x).numpy()
        with computing_in("mixed"):
            mixed = tf.function(product, autograph=False)(x).numpy()
    return not (exact == mixed).all()


def forbid_tf32(precision: str) -> None:
    """Forbid TF32 to CUDA's libraries in this process and in those that it starts, unless the precision or the user wants it.

    Works before these libraries are loaded. Only for processes of ours: others may compute in TF32 besides.
    """
    if precision != "tf32":
        os.environ.setdefault(TF32_OVERRIDE, "0")


_HALF = re.compile(r"\b(bfloat16|half)\b")  # in TensorFlow's errors
_Computed = TypeVar("_Computed")
_Arguments = ParamSpec("_Arguments")


def in_its_precision(method: Callable[_Arguments, _Computed]) -> Callable[_Arguments, _Computed]:
    """A method that computes in the attribute `precision` of its object."""

    @functools.wraps(method)
    def computed(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Computed:
        precision = arguments[0].precision  # type: ignore[attr-defined]
        with computing_in(precision):
            try:
                return method(*arguments, **options)
            except (InputError, tf.errors.InvalidArgumentError) as error:
                reason = model_error_text(error.__cause__ or error)
                if precision != "mixed" or not _HALF.search(reason):
                    raise
                raise UnsupportedModelError(
                    f"precision='mixed': TensorFlow's rewriting for half precision breaks this model ({reason}); choose another precision"
                ) from error

    return computed


class _Tf32:
    """TensorFlow's switch for TF32 in this process, held on or off by any number of threads at once."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders, self._is_on = 0, False
        self._waiting = {True: 0, False: 0}  # threads, by what they need
        self._before = False  # what the process had set
        self._of_thread = threading.local()

    def was_on(self) -> bool:
        """Whether the process had TF32 switched on before it was held."""
        with self._changed:
            return self._before if self._holders else tf.config.experimental.tensor_float_32_execution_enabled()

    @contextlib.contextmanager
    def held(self, on: bool) -> Iterator[None]:
        """Within the context, the switch stays as it is needed. A thread that needs it otherwise inside lets it go meanwhile."""
        outer: bool | None = getattr(self._of_thread, "on", None)
        if outer is on:
            yield
            return
        try:
            self._let_go()
            self._acquire(on)
            yield
        finally:  # also after a Ctrl-C while it waits
            self._let_go()
            if outer is not None:
                self._acquire(outer)

    def _let_go(self) -> None:
        """Release what this thread holds, if anything."""
        if getattr(self._of_thread, "on", None) is not None:
            self._of_thread.on = None
            self._release()

    def _acquire(self, on: bool) -> None:
        switch = tf.config.experimental
        with self._changed:
            self._waiting[on] += 1
            try:
                self._changed.wait_for(lambda: self._may_enter(on))
            finally:
                self._waiting[on] -= 1
            if not self._holders:
                self._before, self._is_on = switch.tensor_float_32_execution_enabled(), on
                switch.enable_tensor_float_32_execution(on)
            self._holders += 1
            self._of_thread.on = on

    def _may_enter(self, on: bool) -> bool:
        """Whether a thread need not wait; if others wait for the other setting, it is their turn: else they might wait for ever."""
        if self._waiting[not on]:
            return not self._holders and self._is_on is not on
        return not self._holders or self._is_on is on

    def _release(self) -> None:
        with self._changed:
            self._holders -= 1
            if not self._holders:
                tf.config.experimental.enable_tensor_float_32_execution(self._before)
                self._changed.notify_all()


_tf32 = _Tf32()


_began_with_us = threading.Event()


def note_first_computation() -> None:
    """Note that this process has computed nothing before: no plan of an earlier computation is in TF32."""
    _began_with_us.set()


def may_have_computed_in_tf32() -> bool:
    """Whether the process lets GPUs compute in TF32, outside of `computing_in`, and may have done so already."""
    return _tf32.was_on() and os.environ.get(TF32_OVERRIDE) != "0" and not _began_with_us.is_set()


@contextlib.contextmanager
def _rewriting(in_half: bool) -> Iterator[None]:
    """Within the context, functions that this thread calls or traces are rewritten for half precision, or are not."""
    from tensorflow.python.eager import (
        context,  # in public, it is a setting of the process that threads read at different times
    )

    eager, before = context.context(), context.context().function_call_options
    serialized = _with_rewrites(before.config_proto_serialized, in_half)
    if serialized == before.config_proto_serialized:
        yield
        return
    eager.function_call_options = context.FunctionCallOptions(
        before.executor_type, tf.compat.v1.ConfigProto.FromString(serialized)
    )
    try:
        yield
    finally:
        eager.function_call_options = before


@functools.lru_cache(maxsize=16)
def _with_rewrites(serialized: bytes, in_half: bool) -> bytes:
    """A ConfigProto with or without the rewrites for half precision."""
    config = tf.compat.v1.ConfigProto.FromString(serialized)
    options = config.graph_options.rewrite_options
    on, off = type(options).ON, type(options).OFF
    for name in _REWRITES:
        if in_half:
            setattr(options, name, on)
        elif getattr(options, name) == on:
            setattr(options, name, off)
    result: bytes = config.SerializeToString(deterministic=True)
    return result
