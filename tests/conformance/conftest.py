"""The markers of transformers' tests."""

_MARKERS = [
    "accelerate_tests", "flash_attn_test", "flash_attn_3_test", "flash_attn_4_test", "slow", "torch_compile_test",
]  # fmt: skip


def pytest_configure(config):
    for marker in _MARKERS:
        config.addinivalue_line("markers", f"{marker}: transformers' own")
