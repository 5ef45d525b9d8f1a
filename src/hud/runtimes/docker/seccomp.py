"""The seccomp profile of containers: bubblewrap works inside, and the kernel's sharp parts do not.

An allow list for the machine's own instruction set: whatever is not in it fails as if the kernel
did not have it. Compared to Docker's own profile, namespaces and mounts are allowed, which is what
a sandbox inside is made of (they lead nowhere without the rights they need, which containers do not
have outside of user namespaces); kernel keys, io_uring, modules, clocks, BPF and tracing are not.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Names of the kernel's system calls (syscalls(2)).
_ALLOWED = """
accept accept4 access alarm arch_prctl arm_fadvise64_64 bind brk cachestat capget capset chdir
chmod chown chroot clock_getres clock_gettime clock_nanosleep clone clone3 close close_range
connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
epoll_pwait2 epoll_wait eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl
fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate
futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_robust_list getcpu getcwd
getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp
getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname
getsockopt gettid gettimeofday getuid getxattr inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit ioctl
ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset landlock_restrict_self
lchown lgetxattr link linkat listen listmount listxattr llistxattr lremovexattr lseek lsetxattr
lsm_get_self_attr lsm_list_modules lstat madvise map_shadow_stack membarrier memfd_create
memfd_secret mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mount mprotect
mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap mseal msgctl
msgget msgrcv msgsnd msync munlock munlockall munmap nanosleep newfstatat open openat openat2
pause pidfd_open pidfd_send_signal pipe pipe2 pivot_root pkey_alloc pkey_free pkey_mprotect poll
ppoll prctl pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev
pselect6 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom
recvmmsg recvmsg remap_file_pages removexattr rename renameat renameat2 restart_syscall rmdir
rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select
semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_robust_list set_tid_address
setdomainname setfsgid setfsuid setgid setgroups sethostname setitimer setns setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr shmat shmctl
shmdt shmget shutdown sigaltstack signalfd signalfd4 socketpair splice stat statfs statmount
statx symlink symlinkat sync sync_file_range sync_file_range2 syncfs sysinfo tee tgkill time
timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create
timerfd_gettime timerfd_settime times tkill truncate umask umount2 uname unlink unlinkat unshare
utime utimensat utimes vfork vmsplice wait4 waitid write writev
""".split()  # noqa: SIM905 -- 300 lines otherwise
_ENOSYS = 38
# Address families that reach past the container: the hypervisor, and the kernel's crypto.
_AF_ALG, _AF_VSOCK = 38, 40
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)


def profile() -> dict[str, Any]:
    """Return the profile as `docker run --security-opt seccomp=FILE` reads it."""
    rules: list[dict[str, Any]] = [
        {"names": _ALLOWED, "action": "SCMP_ACT_ALLOW"},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [_arg("SCMP_CMP_LT", _AF_ALG)]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [_arg("SCMP_CMP_EQ", 39)]},
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [_arg("SCMP_CMP_GT", _AF_VSOCK)]},
    ]
    rules += [
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [_arg("SCMP_CMP_EQ", persona)],
        }
        for persona in _PERSONALITIES
    ]
    return {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": _ENOSYS, "syscalls": rules}


def write_profile(path: Path) -> Path:
    """Write the profile to a file and return it."""
    path.write_text(json.dumps(profile()), encoding="utf-8")
    return path


def _arg(operator: str, value: int) -> dict[str, Any]:
    return {"index": 0, "value": value, "valueTwo": 0, "op": operator}
