from tests.tree.conftest import umask_of_a_worker

__all__ = ["umask_of_a_worker"]
