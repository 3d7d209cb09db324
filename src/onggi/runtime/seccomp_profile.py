"""Docker's default seccomp profile, as data in the form of its own JSON.

Everything is refused with EPERM but what a rule allows. A rule may ask for capabilities (that
the container has in its bounding set), for architectures, for a kernel. Docker 20.10 and 28
differ: io_uring was taken out in 25 (it goes around seccomp), ``socket`` of AF_VSOCK in 23,
and calls of newer kernels came in.

Source: the profile that moby publishes (profiles/seccomp/default.json).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["default_profile"]

_ALLOW, _ERRNO = "SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"
_EPERM, _ENOSYS = 1, 38
_AF_VSOCK = 40

_ARCHITECTURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("X86_64", ("X86", "X32")),
    ("AARCH64", ("ARM",)),
    ("MIPS64", ("MIPS", "MIPS64N32")),
    ("MIPS64N32", ("MIPS", "MIPS64")),
    ("MIPSEL64", ("MIPSEL", "MIPSEL64N32")),
    ("MIPSEL64N32", ("MIPSEL", "MIPSEL64")),
    ("S390X", ("S390",)),
    ("RISCV64", ()),
)

_ALWAYS = """
    accept accept4 access adjtimex alarm bind brk capget capset chdir chmod chown chown32 clock_adjtime
    clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep
    clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 epoll_create
    epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd eventfd2
    execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_mark fchdir
    fchmod fchmodat fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork
    fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 futex
    futex_time64 futex_waitv futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32
    getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority
    getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list getrusage getsid
    getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr inotify_add_watch
    inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy io_getevents io_pgetevents
    io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill landlock_add_rule
    landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link linkat listen listxattr
    llistxattr _llseek lremovexattr lseek lsetxattr lstat lstat64 madvise membarrier memfd_create memfd_secret
    mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap msgctl
    msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat _newselect open openat openat2
    pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll ppoll_time64 prctl pread64 preadv preadv2
    prlimit64 process_mrelease pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readlink
    readlinkat readv recv recvfrom recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr rename
    renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_getaffinity
    sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min sched_getscheduler
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send
    sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setrlimit set_robust_list setsid setsockopt set_thread_area
    set_tid_address setuid setuid32 setxattr shmat shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4
    sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statx symlink symlinkat
    sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete timer_getoverrun
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask
    uname unlink unlinkat utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write
    writev
"""
_ALWAYS_20 = "io_uring_enter io_uring_register io_uring_setup socket"
_ALWAYS_28 = """
    cachestat fchmodat2 futex_requeue futex_wait futex_wake getxattrat listmount listxattrat
    map_shadow_stack mseal name_to_handle_at pkey_alloc pkey_free pkey_mprotect removexattrat riscv_hwprobe
    setxattrat statmount uretprobe
"""
_TRACING_20, _TRACING_28 = "ptrace", "process_vm_readv process_vm_writev ptrace"
# What uname may claim: Linux, 32 bit Linux, each also with the release of 2.6; and the question (all ones).
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: without CAP_SYS_ADMIN no clone may have one of them."""

# architectures (libseccomp's names) → calls that only these have
_BY_ARCHITECTURE: tuple[tuple[tuple[str, ...], str], ...] = (
    (("ppc64le",), "sync_file_range2 swapcontext"),
    (("arm", "arm64"), "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
    (("amd64", "x32"), "arch_prctl"),
    (("amd64", "x32", "x86"), "modify_ldt"),
    (("s390", "s390x"), "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"),
    (("riscv64",), "riscv_flush_icache"),
)
_S390 = ("s390", "s390x")

_SYS_ADMIN = """
    bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
    move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount
    umount2 unshare
"""
_SYS_ADMIN_20 = "name_to_handle_at"
_SYS_ADMIN_28 = "lsm_get_self_attr lsm_list_modules lsm_set_self_attr"

# capability → calls that come with it
_BY_CAPABILITY: tuple[tuple[str, str], ...] = (
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy"),
    ("CAP_SYSLOG", "syslog"),
)
_BY_CAPABILITY_28: tuple[tuple[str, str], ...] = (
    ("CAP_SYS_TIME", "clock_settime64"),
    ("CAP_SYS_NICE", "set_mempolicy_home_node"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
)


def default_profile(compat: str) -> dict[str, Any]:
    """The profile of Docker ``compat`` (``20.10`` or ``28``): defaultAction, archMap, syscalls."""
    modern = compat != "20.10"
    always = [*_ALWAYS.split(), *(_ALWAYS_28 if modern else _ALWAYS_20).split()]
    rules = [
        _rule(sorted(always)),
        # Before 4.8 a traced process could get around seccomp.
        _rule((_TRACING_28 if modern else _TRACING_20).split(), includes={"minKernel": "4.8"}),
        *([_rule(["socket"], args=[_argument(0, _AF_VSOCK, "SCMP_CMP_NE")])] if modern else []),
        *(_rule(["personality"], args=[_argument(0, value, "SCMP_CMP_EQ")]) for value in _PERSONALITIES),
        *(_rule(names.split(), includes={"arches": arches}) for arches, names in _BY_ARCHITECTURE),
        _rule(["open_by_handle_at"], includes={"caps": ["CAP_DAC_READ_SEARCH"]}),
        *_administration(modern),
        *(_rule(names.split(), includes={"caps": [name]}) for name, names in _BY_CAPABILITY),
    ]
    if modern:
        rules += [_rule(names.split(), includes={"caps": [name]}) for name, names in _BY_CAPABILITY_28]
    architectures = [
        {"architecture": f"SCMP_ARCH_{name}", "subArchitectures": [f"SCMP_ARCH_{sub}" for sub in subs]}
        for name, subs in _ARCHITECTURES
    ]
    # Without the number the runtime takes EPERM too.
    number = {"defaultErrnoRet": _EPERM} if modern else {}
    return {"defaultAction": _ERRNO, **number, "archMap": architectures, "syscalls": rules}


def _administration(modern: bool) -> list[dict[str, Any]]:
    """Mounts and namespaces: with CAP_SYS_ADMIN. Without, clone makes threads and processes only."""
    names = [*_SYS_ADMIN.split(), *(_SYS_ADMIN_28 if modern else _SYS_ADMIN_20).split()]
    admin, s390 = ["CAP_SYS_ADMIN"], list(_S390)
    return [
        _rule(sorted(names), includes={"caps": admin}),
        _rule(["clone"], args=[_no_namespaces(0)], excludes={"caps": admin, "arches": s390}),
        # There the flags are clone's second argument.
        _rule(["clone"], args=[_no_namespaces(1)], includes={"arches": s390}, excludes={"caps": admin}),
        # Its flags are in memory, where seccomp cannot look; C libraries fall back to clone on ENOSYS.
        _rule(["clone3"], action=_ERRNO, errno=_ENOSYS, excludes={"caps": admin}),
    ]


def _no_namespaces(index: int) -> dict[str, Any]:
    return _argument(index, _NAMESPACE_FLAGS, "SCMP_CMP_MASKED_EQ")


def _argument(index: int, value: int, op: str) -> dict[str, Any]:
    return {"index": index, "value": value, "op": op}


def _rule(
    names: Sequence[str],
    *,
    action: str = _ALLOW,
    errno: int | None = None,
    args: list[dict[str, Any]] | None = None,
    includes: dict[str, Any] | None = None,
    excludes: dict[str, Any] | None = None,
) -> dict[str, Any]:
    rule: dict[str, Any] = {"names": list(names), "action": action}
    optional = {"errnoRet": errno, "args": args, "includes": includes, "excludes": excludes}
    return rule | {key: value for key, value in optional.items() if value is not None}
