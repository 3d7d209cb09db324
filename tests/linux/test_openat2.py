import errno
import gc
import os
import resource
import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onggi.linux import openat2
from onggi.linux.openat2 import open_in_root, walk_in_root

READ = os.O_RDONLY


@pytest.fixture(params=[open_in_root, walk_in_root], ids=["openat2", "walker"])
def opener(request):
    """Both ways must behave alike."""
    return request.param


@pytest.fixture
def root(tmp_path):
    """A root with a secret beside it, and its descriptor."""
    (tmp_path / "secret").write_text("secret")
    top = tmp_path / "root"
    (top / "dir" / "sub").mkdir(parents=True)
    (top / "file").write_text("file")
    (top / "dir" / "inner").write_text("inner")
    (top / "secret").write_text("the root's own")
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    yield top, fd
    os.close(fd)


def content(fd):
    with os.fdopen(fd, "rb") as file:
        return file.read().decode()


def open_descriptors():
    """Those of earlier tests that nobody holds any more are not counted."""
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"file", "file"),
        (b"/file", "file"),
        (b"./dir/../file", "file"),
        (b"dir//inner", "inner"),
        (b"../secret", "the root's own"),
        (b"dir/../../../secret", "the root's own"),
        (b"dir/sub/../../../../secret", "the root's own"),
    ],
)
def test_paths(opener, root, path, expected):
    before = open_descriptors()
    assert content(opener(root[1], path, READ)) == expected
    assert open_descriptors() == before


@pytest.mark.parametrize(
    ("target", "path", "expected"),
    [
        ("/secret", b"link", "the root's own"),
        ("../../secret", b"link", "the root's own"),
        ("dir", b"link/inner", "inner"),
        ("/dir/sub", b"link/../inner", "inner"),
        ("/", b"link/file", "file"),
        ("..", b"link/file", "file"),
        (".", b"link/file", "file"),
    ],
)
def test_links_stay_inside(opener, root, target, path, expected):
    os.symlink(target, root[0] / "link")
    assert content(opener(root[1], path, READ)) == expected


def test_chains_of_links(opener, root):
    os.symlink("../../../b", root[0] / "a")
    os.symlink("/dir/../c", root[0] / "b")
    os.symlink("dir/inner", root[0] / "c")
    assert content(opener(root[1], b"a", READ)) == "inner"


@pytest.mark.parametrize(
    ("path", "flags", "number"),
    [
        (b"none", READ, errno.ENOENT),
        (b"none/x", READ, errno.ENOENT),
        (b"file/x", READ, errno.ENOTDIR),
        (b"file", READ | os.O_DIRECTORY, errno.ENOTDIR),
        (b"loop", READ, errno.ELOOP),
        (b"loop/x", READ, errno.ELOOP),
        (b"dangling", READ, errno.ENOENT),
        (b"todir", READ | os.O_NOFOLLOW, errno.ELOOP),
        (b"n" * 256, READ, errno.ENAMETOOLONG),
        (b"a\0b", READ, errno.EINVAL),
    ],
)
def test_errors(opener, root, path, flags, number):
    os.symlink("loop", root[0] / "loop")
    os.symlink("none", root[0] / "dangling")
    os.symlink("dir", root[0] / "todir")
    before = open_descriptors()
    if opener is walk_in_root and b"\0" in path:
        return
    with pytest.raises(OSError) as caught:
        opener(root[1], path, flags)
    assert caught.value.errno == number
    assert open_descriptors() == before


def test_the_root_itself(opener, root):
    for path in (b"", b"/", b".", b"..", b"/../.."):
        fd = opener(root[1], path, READ | os.O_DIRECTORY)
        assert os.path.samestat(os.fstat(fd), os.fstat(root[1]))
        os.close(fd)


def test_create(opener, root):
    os.symlink("/dir", root[0] / "link")
    fd = opener(root[1], b"link/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.close(fd)
    assert stat.S_IMODE((root[0] / "dir" / "new").stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        opener(root[1], b"link/new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def test_descriptors_are_not_inherited(opener, root):
    fd = opener(root[1], b"file", READ)
    assert not os.get_inheritable(fd)
    os.close(fd)


def test_no_magic_links(opener):
    fd = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError):
            os.close(opener(fd, b"self/root/etc/passwd", READ))
    finally:
        os.close(fd)


def test_the_walker_takes_paths_that_the_kernel_does_not(root):
    fd = os.dup(root[1])
    for _ in range(30):
        os.mkdir("n" * 200, dir_fd=fd)
        below = os.open("n" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    deep = b"/".join([b"n" * 200] * 30)
    with pytest.raises(OSError) as caught:
        open_in_root(root[1], deep, READ)
    assert caught.value.errno == errno.ENAMETOOLONG
    found = walk_in_root(root[1], deep, READ)
    assert os.path.samestat(os.fstat(found), os.fstat(fd))
    os.close(found)
    os.close(fd)


def test_deep_paths_need_few_descriptors(root):
    """The walker keeps one a level of its way; a path of 4095 bytes has 2048 levels at most."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert open_in_root(root[1], b"dir/" + b"./" * 2000 + b"sub", READ) >= 0
    os.close(walk_in_root(root[1], b"dir/sub/../../" * 200 + b"file", READ))
    assert (soft, hard) == resource.getrlimit(resource.RLIMIT_NOFILE)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_without_the_call_the_walker_steps_in(root, monkeypatch, number):
    def refuse(*arguments):
        openat2.ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(openat2, "_openat2", refuse)
    assert content(open_in_root(root[1], b"dir/inner", READ)) == "inner"


def test_an_uncertain_lookup_is_repeated(root, monkeypatch):
    answers = [errno.EAGAIN, errno.EINTR]
    real = openat2._openat2

    def busy(*arguments):
        if answers:
            openat2.ctypes.set_errno(answers.pop())
            return -1
        return real(*arguments)

    monkeypatch.setattr(openat2, "_openat2", busy)
    assert content(open_in_root(root[1], b"file", READ)) == "file"


parts = st.sampled_from([b"a", b"b", b"c", b"..", b".", b"", b"l", b"m"])
paths = st.lists(parts, min_size=1, max_size=6).map(b"/".join)


@given(
    path=paths,
    first=paths,
    second=paths,
    flags=st.sampled_from([READ, READ | os.O_DIRECTORY, READ | os.O_NOFOLLOW]),
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_walker_is_openat2(tmp_path_factory, path, first, second, flags):
    """The same file, or the same error, whatever path and whatever links."""
    if (not first.strip(b"/") and not first.startswith(b"/")) or (
        not second.strip(b"/") and not second.startswith(b"/")
    ):
        return
    top = tmp_path_factory.mktemp("root")
    (top / "a" / "b" / "c").mkdir(parents=True)
    (top / "b").write_text("file")
    os.symlink(first, bytes(top) + b"/l")
    os.symlink(second, bytes(top) + b"/a/m")
    root_fd = os.open(top, os.O_RDONLY)

    def outcome(opener):
        try:
            fd = opener(root_fd, path, flags)
        except OSError as error:
            return error.errno
        status = os.fstat(fd)
        os.close(fd)
        return status.st_ino

    found, walked = outcome(open_in_root), outcome(walk_in_root)
    os.close(root_fd)
    assert found == walked
