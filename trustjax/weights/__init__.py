"""Files of weights, of any framework: arrays by name in, arrays by name out.

`read` takes what PyTorch, Flax, Orbax, safetensors and NumPy write, without PyTorch and
without running anything that is in the file; `write` makes files that others read.
`fitted` holds them against what a network expects, and says all that differs at once.
Nothing here knows a network; `models` does.
"""

from trustjax.weights._contents import Contents as Contents
from trustjax.weights._contents import contents as contents
from trustjax.weights._contents import read as read
from trustjax.weights._fitted import fitted as fitted
from trustjax.weights._trees import plain_state_dict as plain_state_dict
from trustjax.weights._write import require_place as require_place
from trustjax.weights._write import write as write
