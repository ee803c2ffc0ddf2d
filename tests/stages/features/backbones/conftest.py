import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Several threads for these tiny models only wait for each other on a busy machine."""
    torch.set_num_threads(1)
