"""What a refusal is: one line that names file or row, fault and fix."""

from tonestack.base.errors import UserError

import pytest


def refused(call, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
