"""A training that is interrupted in the middle."""

from collections.abc import Callable

import pytest


def cut_short(train: Callable[..., object], when: Callable[..., bool]) -> None:
    """Run `train`, and interrupt it at the first progress for which `when` is true."""

    def stop(*progress: object) -> None:
        if when(*progress):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(progress=stop)
