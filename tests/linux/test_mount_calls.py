import errno
import os

import pytest

from onggi.linux import mount_calls
from onggi.linux.filesystem import is_mountpoint
from onggi.linux.mount_calls import MountError


@pytest.fixture
def tmpfs():
    """A detached tmpfs."""
    config = mount_calls.fsopen("tmpfs")
    mount_calls.fsconfig_string(config, "size", "1m")
    mount_calls.fsconfig_create(config)
    mounted = mount_calls.fsmount(config, mount_calls.MOUNT_ATTR_NODEV)
    os.close(config)
    yield mounted
    os.close(mounted)


def test_a_mount_in_steps(tmpfs, tmp_path):
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=tmpfs))
    mount_calls.move_mount(tmpfs, tmp_path)
    try:
        assert os.listdir(tmp_path) == ["file"]
        copy = mount_calls.open_tree(tmp_path)
        os.close(os.open("file", os.O_RDONLY, dir_fd=copy))
        os.close(copy)
    finally:
        mount_calls.unmount(tmp_path)
    assert not is_mountpoint(tmp_path)


def test_attributes_can_change(tmpfs):
    mount_calls.mount_setattr(tmpfs, mount_calls.MOUNT_ATTR_RDONLY)
    with pytest.raises(OSError) as caught:
        os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=tmpfs)
    assert caught.value.errno == errno.EROFS
    mount_calls.mount_setattr(tmpfs, 0, mount_calls.MOUNT_ATTR_RDONLY)
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=tmpfs))


def test_descriptors_are_not_inherited(tmpfs, tmp_path):
    config = mount_calls.fsopen("tmpfs")
    copy = mount_calls.open_tree(tmp_path)
    assert not any(os.get_inheritable(fd) for fd in (tmpfs, config, copy))
    os.close(config)
    os.close(copy)


def test_flags_and_long_values():
    config = mount_calls.fsopen("tmpfs")
    try:
        mount_calls.fsconfig_flag(config, "inode64")
        with pytest.raises(MountError, match=r"fsconfig size=x+: invalid argument") as caught:
            mount_calls.fsconfig_string(config, "size", "x" * (mount_calls.FSCONFIG_STRING_MAX + 1))
        assert caught.value.errno == errno.EINVAL
    finally:
        os.close(config)


def test_the_kernels_log_is_in_the_error():
    config = mount_calls.fsopen("overlay")
    try:
        with pytest.raises(MountError) as caught:
            mount_calls.fsconfig_flag(config, "none")
    finally:
        os.close(config)
    assert caught.value.message == "fsconfig none: invalid argument (overlay: Unknown parameter 'none')"
    assert caught.value.log == "overlay: Unknown parameter 'none'"


def test_unknown_file_systems():
    with pytest.raises(MountError, match="fsopen none: no such device"):
        mount_calls.fsopen("none")


def test_mount_at_once(tmp_path):
    mount_calls.mount("onggi", tmp_path, "tmpfs", mount_calls.MS_RDONLY, "size=1m")
    try:
        assert is_mountpoint(tmp_path)
    finally:
        mount_calls.unmount(tmp_path, detach=False)
    with pytest.raises(MountError, match=rf"mount tmpfs on {tmp_path}/none: no such file or directory"):
        mount_calls.mount("onggi", tmp_path / "none", "tmpfs")


def test_names_of_any_bytes(tmp_path):
    place = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(place)
    mount_calls.mount("onggi", place, "tmpfs")
    mount_calls.unmount(place)
    with pytest.raises(MountError, match=r"\\xff: invalid argument"):
        mount_calls.unmount(place)
