"""The part of numba that the kernels use, typed so that a compiled function keeps its own signature.

numba's own decorators are untyped; under them mypy would look into no kernel and check no caller.
"""

from collections.abc import Callable
from typing import Any, TypeVar, overload

_F = TypeVar("_F", bound=Callable[..., Any])

@overload
def njit(function: _F, /) -> _F: ...
@overload
def njit(
    signature: object = None,
    /,
    *,
    cache: bool = ...,
    nogil: bool = ...,
    parallel: bool = ...,
    fastmath: bool = ...,
    boundscheck: bool = ...,
    inline: str = ...,
    error_model: str = ...,
    _nrt: bool = ...,
    locals: dict[str, Any] = ...,
) -> Callable[[_F], _F]: ...

prange = range

# Called in a compiled loop, numba's number types convert; a checker may take what they give for plain numbers.
# (numpy's would spread: to a checker np.int64 is no int, though in a compiled loop the two are the same.)
int8 = int
int16 = int
int32 = int
int64 = int
uint8 = int
uint16 = int
uint32 = int
uint64 = int
float64 = float

def get_num_threads() -> int: ...
def set_num_threads(n: int, /) -> None: ...
def __getattr__(name: str) -> Any: ...  # noqa: ANN401 -- the rest is as untyped as numba leaves it
