"""timm's own tests/test_models.py on our names. `make conformance` runs it on more of them."""

import pytest

from .__main__ import FEW, run


@pytest.mark.parametrize("tasks", [1, 3])
@pytest.mark.timeout(900)
def test_timms_own_model_tests(tasks):
    try:
        code = run(FEW, tasks, workers=1)
    except FileNotFoundError as error:
        pytest.skip(f"timm's source distribution cannot be had: {error}")
    assert code == 0, "see the output of timm's tests above"
