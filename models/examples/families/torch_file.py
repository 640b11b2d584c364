"""Reads the tensors of a file written by torch.save before its 1.6, without torch and without trusting the file.

Such a file is a row of pickles (a magic number, a version, the machine, the tensors, the keys of their storages) and behind
them the storages, each a count and the numbers. A pickle can name any function to call; here it gets what four names stand for.
"""

import collections
import io
import pickle

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
TYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


class Slice:
    """A tensor before its storage is read."""

    def __init__(self, storage, first, shape, strides, *_gradients):
        self.storage, self.first, self.shape, self.strides = storage, first, shape, strides


class Reader(pickle.Unpickler):
    """Knows dictionaries, tensors and the two kinds of storage, and refuses every other name."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return Slice
        if module == "torch" and name in TYPES:
            return name
        raise pickle.UnpicklingError(f"the file asks for {module}.{name}, which no tensor needs")

    def persistent_load(self, pid):
        kind, storage, key, _device, count, view = pid
        if kind != "storage" or storage not in TYPES or view is not None:
            raise pickle.UnpicklingError(f"the file has storage of an unknown form: {pid}")
        return key, TYPES[storage], count


def tensors(content):
    """The arrays by their names."""
    file = io.BytesIO(content)
    magic, version = Reader(file).load(), Reader(file).load()
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError("this is no file of torch.save's older form")
    Reader(file).load()
    slices, keys = Reader(file).load(), Reader(file).load()
    kinds = {key: (kind, count) for key, kind, count in (found.storage for found in slices.values())}
    storages = {}
    for key in keys:
        kind, expected = kinds[key]
        count = int.from_bytes(file.read(8), "little")
        flat = np.frombuffer(file.read(count * kind.itemsize), kind)
        if not len(flat) == count == expected:
            raise ValueError(f"storage {key} has {len(flat)} of {expected} numbers")
        storages[key] = flat
    return {name: whole(found, storages[found.storage[0]], name) for name, found in slices.items()}


def whole(found, storage, name):
    """The tensor in the order of its own axes, which may not be that of its storage."""
    shape, strides = tuple(found.shape), tuple(found.strides)
    reach = sum((width - 1) * stride for width, stride in zip(shape, strides))
    if min((found.first, *shape, *strides)) < 0 or found.first + reach >= len(storage):
        raise ValueError(f"{name} reaches beyond its storage")
    view = np.lib.stride_tricks.as_strided(storage[found.first :], shape, [stride * storage.itemsize for stride in strides])
    return np.ascontiguousarray(view)
