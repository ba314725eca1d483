"""Pickles of PyTorch, read as data: nothing that they name is run."""

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import IO, Any, NamedTuple, cast

import ml_dtypes
import numpy as np

_DTYPES = {
    **{name: np.dtype(name) for name in ("bool", "complex64", "complex128")},
    **{name: np.dtype(name) for name in ("float16", "float32", "float64")},
    **{name: np.dtype(name) for name in ("int8", "int16", "int32", "int64")},
    **{name: np.dtype(name) for name in ("uint8", "uint16", "uint32", "uint64")},
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float8_e4m3fn": np.dtype(ml_dtypes.float8_e4m3fn),
    "float8_e4m3fnuz": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "float8_e5m2": np.dtype(ml_dtypes.float8_e5m2),
    "float8_e5m2fnuz": np.dtype(ml_dtypes.float8_e5m2fnuz),
}
_STORAGES = {
    "BFloat16Storage": "bfloat16",
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "ShortStorage": "int16",
    "UntypedStorage": "uint8",
}


class RefusedError(ValueError):
    """A pickle that names something other than arrays and their containers."""


class Storage(NamedTuple):
    """The numbers that tensors look at.

    Attributes:
      key: its name in the file.
      dtype: of one number.
      length: how many.
      start: the number of the storage `key` that is this one's first.
    """

    key: str
    dtype: np.dtype
    length: int
    start: int = 0


class Tensor(NamedTuple):
    """A look at a storage.

    Attributes:
      storage: where its numbers are.
      dtype: of one number.
      offset: that of its first, in numbers of `dtype`.
      shape: its sizes.
      strides: in numbers of `dtype`.
    """

    storage: Storage
    dtype: np.dtype
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def load(file: io.BufferedIOBase, widths: dict[str, int] | None = None) -> Any:
    """The next pickle of a file: dicts, lists, numbers, and each tensor a `Tensor`.

    A pickle is a program that may call whatever it names. Here it may name PyTorch's
    tensors and a few containers, and what it then calls are functions of this module;
    nothing is imported for it.

    Args:
      file: it is left behind the pickle.
      widths: takes the bytes of one number of each storage that is named.

    Raises:
      RefusedError: if it names anything else, naming that.
      pickle.UnpicklingError: or another error of `pickle`, if it is damaged.
    """
    start = file.tell()
    _require_small_memo(file)
    file.seek(start)
    return _Unpickler(file, {} if widths is None else widths).load()


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BufferedIOBase, widths: dict[str, int]):
        super().__init__(file)
        self._widths = widths

    def find_class(self, module: str, name: str, /) -> Any:
        known = _known(module, name)
        if known is None:
            raise RefusedError(f"{module}.{name}")
        return known

    def persistent_load(self, pid: Any, /) -> Storage:
        match pid:
            case ("storage", _Name(dtype=np.dtype() as dtype), key, _, length, *view):
                storage = Storage(str(key), dtype, _count(length))
            case _:
                raise pickle.UnpicklingError("it holds no storage where one belongs")
        self._widths[storage.key] = dtype.itemsize
        if view and view[0] is not None:  # in files from before PyTorch 0.4
            _, start, length = view[0]
            storage = storage._replace(start=_count(start), length=_count(length))
        return storage


class _Name:
    """What stands for a name: the pickle can call it, and change nothing of it."""

    __slots__ = ("_function", "dtype")

    def __init__(self, function: Callable[..., Any], dtype: np.dtype | None = None):
        self._function = function
        self.dtype = dtype

    def __call__(self, *arguments: Any) -> Any:
        return self._function(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("it changes what it does not hold")


class _Dict(dict):
    """An `OrderedDict` whose attributes, PyTorch's `_metadata`, are left out."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


class _Ignored:
    """An object without consequence: whatever it is given, it stays empty.

    As it has a `__setstate__`, a pickle cannot set anything of the class either.
    """

    __slots__ = ()

    def __init__(self, *_: Any):
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def _known(module: str, name: str) -> Any:
    place = f"{module}.{name}"
    if place in _IGNORED:
        return _Ignored  # the class: a pickle makes its objects without a call
    if place in _FUNCTIONS:
        return _Name(_FUNCTIONS[place])
    if module in ("torch", "torch.cuda", "torch.storage") and name in _STORAGES:
        return _Name(_not_called, _DTYPES[_STORAGES[name]])
    if module == "torch" and name in _DTYPES:
        return _Name(_not_called, _DTYPES[name])
    return None


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    return _look(storage, storage.dtype, offset, size, stride)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> Tensor:
    _require_plain(rest[2:])
    return _look(storage, storage.dtype, offset, size, stride)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, *rest: Any
) -> Tensor:
    _require_plain(rest[3:])
    return _look(storage, rest[2].dtype, offset, size, stride)


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    return data


def _rebuild_from_type(function: Any, _: Any, arguments: Any, *state: Any) -> Any:
    if not isinstance(function, _Name):
        raise pickle.UnpicklingError("it calls what it does not name")
    return function(*arguments)


def _look(storage: Any, dtype: Any, offset: Any, size: Any, stride: Any) -> Tensor:
    if not (isinstance(storage, Storage) and isinstance(dtype, np.dtype)):
        raise pickle.UnpicklingError("it holds a tensor without a storage")
    shape, strides = tuple(map(_count, size)), tuple(map(_count, stride))
    if len(shape) != len(strides) or len(shape) > 32:
        raise pickle.UnpicklingError(f"it holds a tensor of {shape} by {strides}")
    return Tensor(storage, dtype, _count(offset), shape, strides)


def _require_plain(metadata: tuple[Any, ...]) -> None:
    """Refuses the lazy conjugates and negatives of PyTorch."""
    if metadata and metadata[0]:
        raise pickle.UnpicklingError(f"it holds a tensor with {metadata[0]}")


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise pickle.UnpicklingError(f"it has {value!r} for a count")
    return value


def _not_called(*_: Any) -> Any:
    raise pickle.UnpicklingError("it calls the type of a storage")


# What a checkpoint may name, and what that gives here.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _Dict,
    "torch._tensor._rebuild_from_type_v2": _rebuild_from_type,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch.Size": lambda sizes=(): tuple(sizes),
    "torch.Tensor": _not_called,
    "torch.nn.parameter.Buffer": _not_called,
    "torch.nn.parameter.Parameter": _not_called,
}
# What stands beside the weights, such as the arguments of a command and the best
# accuracy so far: nothing of it is kept.
_IGNORED = {
    "__builtin__.set",
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.set",
    "collections.Counter",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "pathlib.PosixPath",
    "torch.device",
}


def _require_small_memo(file: io.BufferedIOBase) -> None:
    """Refuses numbers in the memo for which `pickle` would take gigabytes."""
    for number, (opcode, argument, _) in enumerate(
        pickletools.genops(cast(IO[bytes], file))
    ):
        if opcode.name.endswith("PUT") and (argument or 0) > 2 * number + 256:
            raise pickle.UnpicklingError(f"it asks for a memo of {argument}")
