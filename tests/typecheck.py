"""The type checker that the tests run the library's annotations through."""

import beartype

typechecked = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
"""An int is a float (PEP 484): `temperature=2` is what users write."""
