import errno
import os
from pathlib import Path

import pytest

from onggi.errors import InvalidArgument
from onggi.linux import mount as mount_module
from onggi.linux.filesystem import is_mountpoint
from onggi.linux.mount import (
    MAX_LOWERS,
    MountError,
    bind_mount,
    overlay_mount,
    overlay_writable,
    unmount,
)
from onggi.linux.mount_calls import move_mount


@pytest.fixture
def target(tmp_path):
    """A directory to mount on; free again afterwards."""
    directory = tmp_path / "target"
    directory.mkdir()
    yield directory
    while is_mountpoint(directory):
        unmount(directory)


@pytest.fixture(params=["lowerdir+", "mount(2)"])
def way(request, monkeypatch):
    """With the new mount API, and as on a kernel without ``lowerdir+``."""
    if request.param == "mount(2)":

        def refuse(*arguments):
            raise mount_module._NoLowerdirPlus

        monkeypatch.setattr(mount_module, "_mount_by_steps", refuse)
    return request.param


def make_layers(tmp_path, count, name="layer"):
    """Directories, uppermost first, each with a file of its own and one that the uppermost wins."""
    layers = []
    for number in range(count):
        layer = tmp_path / f"{name}{number}"
        layer.mkdir()
        (layer / f"file{number}").write_text(str(number))
        (layer / "which").write_text(str(number))
        layers.append(layer)
    return layers


def assert_stack(target, count):
    assert is_mountpoint(target)
    assert len(os.listdir(target)) == count + 1
    assert (target / "which").read_text() == "0"


def options_of(target):
    with open("/proc/self/mounts") as table:
        return next(line.split()[3] for line in table if line.split()[1] == str(target))


@pytest.mark.parametrize("count", [2, 3, 125, 128, 300, MAX_LOWERS])
def test_read_only_stacks(tmp_path, target, way, count):
    overlay_mount(target, make_layers(tmp_path, count))
    assert_stack(target, count)
    with pytest.raises(OSError) as caught:
        (target / "new").write_text("x")
    assert caught.value.errno == errno.EROFS


def test_one_lower_is_bound_read_only(tmp_path, target, way):
    (layer,) = make_layers(tmp_path, 1)
    overlay_mount(target, [layer])
    assert_stack(target, 1)
    assert "ro" in options_of(target).split(",")
    with pytest.raises(OSError) as caught:
        (target / "new").write_text("x")
    assert caught.value.errno == errno.EROFS
    (layer / "still").write_text("writable at its own place")


def test_a_writable_layer(tmp_path, target, way):
    layers = make_layers(tmp_path, 2)
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    overlay_mount(target, layers, upper, work, options=["index=off"])
    (target / "new").write_text("x")
    (target / "file1").unlink()
    assert sorted(os.listdir(upper)) == ["file1", "new"]
    assert (upper / "file1").stat().st_rdev == 0


def test_one_lower_below_a_writable_layer(tmp_path, target, way):
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    overlay_mount(target, make_layers(tmp_path, 1), upper, work)
    assert_stack(target, 1)


@pytest.mark.parametrize("name", ["with,comma", "with:colon", "with\\backslash", "with space", "ü" * 100])
def test_odd_names(tmp_path, target, way, name):
    overlay_mount(target, make_layers(tmp_path, 3, name))
    assert_stack(target, 3)


def test_descriptors_as_layers(tmp_path, target, way):
    layers = make_layers(tmp_path, 3)
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in (*layers, upper, work)]
    try:
        overlay_mount(target, fds[:3], fds[3], fds[4])
    finally:
        for fd in fds:
            os.close(fd)
    assert_stack(target, 3)


def test_one_descriptor_is_bound(tmp_path, target):
    fd = os.open(make_layers(tmp_path, 1)[0], os.O_PATH | os.O_DIRECTORY)
    overlay_mount(target, [fd])
    os.close(fd)
    assert_stack(target, 1)


def test_short_stacks_show_their_paths(tmp_path, target, way):
    layers = make_layers(tmp_path, 2)
    overlay_mount(target, layers)
    assert all(str(layer) in options_of(target) for layer in layers)


def test_the_working_directory_stays(tmp_path, target, monkeypatch):
    def refuse(*arguments):
        raise mount_module._NoLowerdirPlus

    monkeypatch.setattr(mount_module, "_mount_by_steps", refuse)
    monkeypatch.chdir(tmp_path)
    overlay_mount("target", [path.name for path in make_layers(tmp_path, 200, "n" * 50)])
    assert os.getcwd() == str(tmp_path)
    assert_stack(target, 200)


def test_no_descriptors_are_left(tmp_path, target, way):
    before = len(os.listdir("/proc/self/fd"))
    overlay_mount(target, make_layers(tmp_path, 150))
    with pytest.raises(MountError):
        overlay_mount(target, [tmp_path / "none", tmp_path / "nothing"])
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_kernels_words(tmp_path, target):
    with pytest.raises(
        MountError, match=r"bogus=1: invalid argument \(overlay: Unknown parameter 'bogus'\)"
    ) as caught:
        overlay_mount(target, make_layers(tmp_path, 2), options=["bogus=1"])
    assert caught.value.errno == errno.EINVAL
    assert not is_mountpoint(target)


def test_what_is_missing(tmp_path, target, way):
    layers = make_layers(tmp_path, 2)
    with pytest.raises(MountError, match="no such file or directory"):
        overlay_mount(target, [*layers, tmp_path / "none"])
    with pytest.raises(MountError, match="no such file or directory"):
        overlay_mount(tmp_path / "none", layers)
    with pytest.raises(MountError, match="no such file or directory"):
        overlay_mount(target, [tmp_path / "none"])
    assert not is_mountpoint(target)


def test_arguments_that_make_no_stack(tmp_path, target):
    for lowers in ([], [tmp_path] * (MAX_LOWERS + 1)):
        with pytest.raises(InvalidArgument, match="1 to 500"):
            overlay_mount(target, lowers)
    with pytest.raises(InvalidArgument, match="belong together"):
        overlay_mount(target, [tmp_path], tmp_path)


@pytest.mark.parametrize("old_kernel", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
def test_bind(tmp_path, target, monkeypatch, read_only, old_kernel):
    if old_kernel:

        def missing(*arguments, **options):
            raise MountError("open_tree", errno.ENOSYS)

        monkeypatch.setattr(mount_module, "open_tree", missing)
    (layer,) = make_layers(tmp_path, 1)
    bind_mount(layer, target, read_only=read_only)
    assert_stack(target, 1)
    assert ("ro" in options_of(target).split(",")) == read_only


def test_unmount_what_is_not_mounted(target):
    with pytest.raises(MountError, match=f"unmount {target}: invalid argument"):
        unmount(target)


def test_unmount_of_a_busy_mount(tmp_path, target):
    bind_mount(make_layers(tmp_path, 1)[0], target)
    with open(target / "which"):
        with pytest.raises(MountError, match="busy"):
            unmount(target, detach=False)
        unmount(target)
    assert not is_mountpoint(target)


def test_without_rights(tmp_path, target):
    """As another user: the error says the way out."""
    layers = make_layers(tmp_path, 2)
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            overlay_mount(target, layers)
        except MountError as error:
            os._exit(0 if error.errno == errno.EPERM and error.hint == "mounting needs root" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("count", [1, 3, 200])
@pytest.mark.parametrize("kernel", ["lowerdir+", "mount(2)"])
def test_a_detached_overlay_is_a_writable_directory_that_nobody_sees(tmp_path, count, kernel, monkeypatch):
    if kernel == "mount(2)":

        def refuse(*arguments):
            raise mount_module._NoLowerdirPlus

        monkeypatch.setattr(mount_module, "_detached", refuse)
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    before = Path("/proc/self/mounts").read_text()
    root = overlay_writable(make_layers(tmp_path, count), upper, work)
    try:
        listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=root)
        assert len(os.listdir(listed)) == count + 1
        os.close(listed)
        os.close(os.open("made", os.O_CREAT | os.O_WRONLY, dir_fd=root))
        assert Path("/proc/self/mounts").read_text() == before
    finally:
        os.close(root)
    assert (upper / "made").exists()


def test_a_detached_overlay_is_attached_later(tmp_path, target):
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    root = overlay_writable(make_layers(tmp_path, 2), upper, work)
    move_mount(root, target)
    os.close(root)
    assert_stack(target, 2)
