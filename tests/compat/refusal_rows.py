"""Command lines that are refused: the same exit status and the same message.

One a line; ``run`` and ``create`` lines get ``--network none`` and, where no image is named, ``box true``.
``{files}`` is a directory of the host with ``bad``, a file of variables with a blank in a name.
"""

from __future__ import annotations

__all__ = ["RARE", "REFUSED"]

REFUSED = """
run --security-opt seccomp=/nonexistent
run --security-opt bogus
run --security-opt bogus=1
run --security-opt no-new-privileges:maybe
run --device /dev/nonexistent
run --device /dev/full:/dev/x:q
run --device relative
run --device-cgroup-rule nope
run --sysctl kernel.hostname=x
run --sysctl net.nope=1
run --tmpfs t
run --tmpfs /t:bogus=1
run --oom-score-adj 5000
run --memory 1m
run --memory-swap 1g
run --memory 8m --memory-reservation 9m
run --memory 8m --memory-swap 7m
run --memory-swappiness 101
run --cpus 500
run --cpus x
run --cpus 1 --cpu-quota 10000
run --cpu-period 1
run --cpu-quota 1
run --cpu-shares 1
run --cpu-shares -1
run --cpuset-cpus 99
run --cpuset-mems 99
run --cpuset-cpus x
run --blkio-weight 70000
run --blkio-weight-device /dev/vda:5
run --device-read-bps /dev/nope:1mb
run --device-read-bps nope:1mb
run --device-read-iops /dev/vda:x
run --ipc bogus
run --pid bogus
run --uts bogus
run --uts host -h x
run --userns bogus
run --cgroupns bogus
run --isolation process
run --storage-opt size=1g
run --gpus all
run --gpus bogus=x
run --stop-signal NOPE
run --stop-timeout x
run --pull bogus
run --platform bogus/x/y/z
run --platform linux/
run --cidfile /nonexistent/x
run --ulimit bogus=1
run --ulimit nofile=5:3
run --add-host nope
run --add-host a:nope
run --dns nope
run --dns-search a_b
run --shm-size x
run --name x
run --name 'bad name'
run -e =x
run --env-file /nonexistent
run --env-file {files}/bad
run --label-file /nonexistent
run -l ''
run -l 'a b=c'
run -a bogus
run -d -a stdout
run --rm --restart always
run --restart bogus
run --restart on-failure:x
run --restart always:3
run --group-add nope
run -u nobody2
run -w relative
run -w /etc/passwd
run --entrypoint nope
run -it
run box nope
run box /etc
run -d box nope
run BOX
run
run --nope
run --user
create
create --cidfile /nonexistent/x
create --pull bogus
create --restart bogus:x
create --pull never absent
create --pid bogus
"""

RARE = """
run --security-opt no-new-privileges=2
run --device /dev/zero:rel
run --device ''
run --device /a:/b:c:d
run --device-cgroup-rule 'c 1:1'
run --device-cgroup-rule 'c 1:1 rwmx'
run --sysctl x
run --sysctl kernel.shm_next_id=x
run --tmpfs /t:size=x
run --cpus -1
run --cpus 0.0000000001
run --cpus 1 --cpu-period 10000
run --cpuset-cpus 1-0
run --blkio-weight-device /dev/vda
run --device-read-bps /dev/vda:x
run --pid container:
run --ipc container:nope
run --pid container:nope
run --network container:nope
run --gpus 2
run --gpus driver=x,count=1
run --gpus x
run --gpus all,all
run --gpus count=1,count=2
run --ulimit nofile
run --ulimit nofile=x
run --ulimit nofile=1:2:3
run --dns-search -x
run --shm-size -1
run --oom-score-adj x
run --pids-limit x
run -e ''
run -l =x
run --restart :3
run --restart no:3 --rm
run -u 4294967296
run -u root:nope
run --pull never absent
run box /etc/passwd
run -d --rm box nope
run Box:X:Y
start
stop
kill
rm
wait
exec
exec x
attach
logs
"""
