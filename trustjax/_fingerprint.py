"""Digests of arrays: what was kept on disk is compared with what is at hand."""

import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils


def fingerprint(tree: Any) -> str:
    """A digest of a tree of arrays and plain values: same content, same digest.

    Arrays that are spread over processes have the digest of the whole, and every
    process must ask for it: one array after the other is gathered on the host.

    >>> fingerprint({"a": np.arange(3)}) == fingerprint({"a": np.arange(3)})
    True
    >>> fingerprint({"a": np.arange(3)}) == fingerprint({"b": np.arange(3)})
    False
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        typed_key = isinstance(leaf, jax.Array) and jnp.issubdtype(
            leaf.dtype, jax.dtypes.prng_key
        )
        array = _on_host(jax.random.key_data(leaf) if typed_key else leaf)
        name = jax.tree_util.keystr(path)
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def row_fingerprints(tree: Any) -> np.ndarray:
    """A digest of each row of a tree of arrays, uint8 `[rows, 32]`.

    >>> rows = row_fingerprints({"a": np.array([1, 2, 1])})
    >>> (rows[0] == rows[2]).all().item(), (rows[0] == rows[1]).all().item()
    (True, False)
    """
    leaves = [
        (jax.tree_util.keystr(path), np.asarray(leaf))
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]
    kinds = "".join(f"{name} {a.dtype} {a.shape[1:]} " for name, a in leaves).encode()
    digests = [
        hashlib.sha256(b"".join([kinds, *(a[row].tobytes() for _, a in leaves)]))
        for row in range(len(leaves[0][1]))
    ]
    together = b"".join(digest.digest() for digest in digests)
    return np.frombuffer(together, np.uint8).reshape(len(digests), -1)


def _on_host(leaf: Any) -> np.ndarray:
    if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable:
        return np.asarray(leaf)
    if leaf.is_fully_replicated:
        return np.asarray(leaf.addressable_data(0))
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
