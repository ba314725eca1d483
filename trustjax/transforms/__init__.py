"""Function transformations: the same function, differentiated in another way or cut."""

from trustjax.transforms._affine import affine_start as affine_start
from trustjax.transforms._affine import is_affine as is_affine
from trustjax.transforms._affine import last_layer as last_layer
from trustjax.transforms._convolution import conv_p as conv_p
from trustjax.transforms._cpu import cpu_convolution as cpu_convolution
from trustjax.transforms._cuts import Cut as Cut
from trustjax.transforms._gathered import gather_as_typed as gather_as_typed
from trustjax.transforms._gathered import gather_parameters as gather_parameters
from trustjax.transforms._order import order_of_use as order_of_use
from trustjax.transforms._pooling import max_pool_p as max_pool_p
from trustjax.transforms._product import Product as Product
from trustjax.transforms._rectified import deconvolved_relu as deconvolved_relu
from trustjax.transforms._rectified import guided_relu as guided_relu
from trustjax.transforms._rewrite import matmul_kernel_grads as matmul_kernel_grads
from trustjax.transforms._rewrite import swap as swap
from trustjax.transforms._split import cuts as cuts
from trustjax.transforms._split import split as split
from trustjax.transforms._taps import find_products as find_products
from trustjax.transforms._taps import run as run
