"""What the 1,000 logits of a network of ImageNet stand for."""

import functools
import importlib.resources


@functools.cache
def _classes() -> tuple[tuple[str, str], ...]:
    file = importlib.resources.files("trustjax.models") / "imagenet_classes.txt"
    lines = file.read_text(encoding="utf-8").splitlines()
    named = (line.partition(" ") for line in lines if not line.startswith("#"))
    return tuple((wordnet_id, name) for wordnet_id, _, name in named)


def imagenet_class_names() -> tuple[str, ...]:
    """The names of ImageNet's 1,000 classes, in the order of the logits.

    >>> names = imagenet_class_names()
    >>> len(names), names[0], names[282], names[967]
    (1000, 'tench', 'tiger cat', 'espresso')

    References:
      Russakovsky et al. 2015 (arXiv:1409.0575); the names are torchvision's, all
      different.
    """
    return tuple(name for _, name in _classes())


def imagenet_wordnet_ids() -> tuple[str, ...]:
    """The WordNet ids of ImageNet's 1,000 classes, in the order of the logits.

    Folders of ImageNet are named by them.

    >>> imagenet_wordnet_ids()[:2]
    ('n01440764', 'n01443537')
    """
    return tuple(wordnet_id for wordnet_id, _ in _classes())
