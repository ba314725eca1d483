"""Weights of the Hugging Face Hub, which are downloaded once."""

import re
from typing import NamedTuple

from trustjax import _extras
from trustjax.weights import _refusals

PREFIX = "hub:"
_FORM = "hub:owner/repository/file, and @revision behind it"


class Place(NamedTuple):
    """Where a file is on the hub.

    Attributes:
      repository: `"owner/name"`.
      file: its path in the repository.
      revision: a branch, a tag or a commit; None for the newest.
    """

    repository: str
    file: str
    revision: str | None


def place(address: str) -> Place:
    """What an address names.

    A branch moves: what is to be the same tomorrow has a commit for its revision, or
    an expected digest.

    Raises:
      ValueError: if it is no address.

    >>> place("hub:timm/resnet18.a1_in1k/model.safetensors@main").revision
    'main'
    >>> place("hub:resnet18")
    Traceback (most recent call last):
    ValueError: hub:resnet18: expected hub:owner/repository/file, and @revision ...
    """
    found = re.fullmatch(r"hub:([^/@]+/[^/@]+)/([^@]+?)(?:@([^@]+))?", address)
    if found is None:
        raise ValueError(f"{address}: expected {_FORM}")
    return Place(*found.groups())


def fetched(address: str) -> str:
    """The local path of a file of the hub; from its cache, if it is there.

    Raises:
      ConnectionError: if the hub cannot be reached and the file is not in its cache.
      ValueError: if it is no address, or there is no such file.
    """
    repository, file, revision = place(address)
    with _extras.required("hub"):
        import huggingface_hub
        from huggingface_hub import errors
    try:
        with _refusals.quiet("huggingface_hub"):
            return huggingface_hub.hf_hub_download(repository, file, revision=revision)
    except (errors.LocalEntryNotFoundError, ConnectionError, TimeoutError) as error:
        raise ConnectionError(
            f"{address}: the hub cannot be reached, and the file is not in its cache; "
            f"give a file that is here ({_refusals.reason(error)})"
        ) from error
    except (errors.HfHubHTTPError, errors.EntryNotFoundError) as error:
        raise ValueError(f"{address}: {_refusals.reason(error)}") from error
    except errors.HFValidationError as error:
        raise ValueError(f"{address}: {_refusals.reason(error)}") from error
