"""What an HTTP receiver's answer means for the message that it was given."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from http import HTTPStatus

from trunkline.api.callbacks import Callbacks
from trunkline.api.problems import Problem
from trunkline.ports import TryLater, Undeliverable

LONGEST_WAIT_S = 24 * 3600
_LATER = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)


def hand_over(callbacks: Callbacks, address: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Post a message; returns when the receiver has taken it, and raises `TryLater` or `Undeliverable`.

    A redirection is not followed: the address would not be one that was judged.
    """
    try:
        answer = callbacks.post(address, body, headers)
    except Problem as error:
        if isinstance(error.__cause__, OSError):
            raise TryLater("its name leads nowhere now") from error
        raise Undeliverable("the address may not be called (TRUNKLINE_NOTIFY_NETWORKS)") from error
    except TimeoutError as error:
        raise TryLater("no answer in time") from error
    except (OSError, http.client.HTTPException) as error:
        raise TryLater(f"no answer ({type(error).__name__})") from error
    if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in _LATER:
        raise TryLater(f"answered {answer.status}", min(answer.retry_after_s, LONGEST_WAIT_S), reached=True)
    raise Undeliverable(f"answered {answer.status}")
