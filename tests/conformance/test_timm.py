"""timm's own tests/test_models.py on our names. `make conformance` runs more, each with one task and with three."""

import pytest

from tests.matrices import NIGHTLY

from .__main__ import FEW, run

# With one task, a model has a plain classifier and norms of one row: two architectures show that.
ONE_TASK = ["test_efficientnet", "test_vit"]


# Every day one with BatchNorms and one with LayerNorms: what others have is in tests/models/test_families.py.
THREE_TASKS = FEW if NIGHTLY else ["test_resnet", "test_vit"]


@pytest.mark.parametrize(
    ("architectures", "tasks"),
    [pytest.param(ONE_TASK, 1, marks=pytest.mark.nightly), (THREE_TASKS, 3)],
    ids=["one task", "three tasks"],
)
@pytest.mark.timeout(900)
def test_timms_own_model_tests(architectures, tasks):
    try:
        code = run(architectures, tasks, workers=0)
    except FileNotFoundError as error:
        pytest.skip(f"timm's source distribution cannot be had: {error}")
    assert code == 0, "see the output of timm's tests above"
