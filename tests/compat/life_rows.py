"""Conversations with containers: commands in order, each answered alike by dockerd and Onggi.

One command a line; ``run`` and ``create`` lines get ``--network none``. A line may begin with marks:
``~`` its two streams count as one, ``?`` it is repeated until both say the same, and ``< WORDS |``
what it reads.
"""

from __future__ import annotations

__all__ = ["CONVERSATIONS", "RARE_CONVERSATIONS"]

_LISTS = """
run -d --name up -l a=b -e X=y box sleep 1000
run -d --name up box sleep 1000
create --name made -l a=c -l com.example.some-thing=7 box sh -c 'echo out; sleep 0.1; echo err >&2; exit 7'
run --name ended box sh -c 'exit 9'
ps
ps -a
ps -as
ps -l
ps -n 2
ps -aq
ps -a --no-trunc
ps -a --format '{{.ID}}|{{.Names}}|{{.Image}}|{{.Command}}|{{.CreatedAt}}|{{.RunningFor}}|{{.Ports}}|{{.State}}'
ps -a --format '{{.Status}}|{{.Size}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Networks}}|{{.Platform}}|{{.Label "a"}}'
ps -a --filter name=made --format '{{.Labels}}'
ps -a --format 'table {{.Names}}\\t{{.Label "com.example.some-thing"}}'
ps -a --format json --filter name=up
ps -a --format '{{json .}}' --filter name=up
ps -a --format {{.Nope}}
ps -a --format {{.Names
ps -a --filter name=^/up$ --format {{.Names}}
ps -a --filter label=a=b --format {{.Names}}
ps -a --filter label=a=b --filter label=a --format {{.Names}}
ps --filter status=exited --filter status=created --format {{.Names}}
ps -a --filter status=bogus
ps -a --filter exited=9 --format {{.Names}}
ps -a --filter exited=x
ps -a --filter ancestor=box --format {{.Names}}
ps -a --filter before=made --format {{.Names}}
ps -a --filter since=made --format {{.Names}}
ps -a --filter since=nope
ps -a --filter network=none --format {{.Names}}
ps -a --filter health=none --format {{.Names}}
ps -a --filter health=bogus
ps -a --filter is-task=x
ps -a --filter expose=x
ps -a --filter bogus=1
inspect --format '{{.Name}} {{.State.Status}} {{json .Config.Labels}}' up made
inspect -f {{.Name}} nope up
inspect --type image up
inspect -s --format '{{.SizeRw}} {{.SizeRootFs}}' made
container inspect -f {{.Nope}} up
container inspect nope
"""

_LIFE = """
run -d --name up box sleep 1000
create --name made box sh -c 'echo out; sleep 0.1; echo err >&2; exit 7'
start made
wait made
logs made
logs --tail 1 made
logs --since 10m made
logs --since bogus made
logs -f made
start -a made
start made nope
start -a made up
pause up
pause up
ps --format '{{.Status}} {{.State}}' --filter name=up
exec up true
unpause up
unpause up
pause made
unpause made
rename up made
rename up 'bad name'
rename up up
rename up other
rename other up
rm up
rm -l up
rm nope up
rm -f nope
kill -s bogus up
kill -s 99 up
kill nope
kill -s USR1 up
restart -t 0 up
stop -t 0 up
stop up
kill up
wait up made
start up
kill -s KILL up
wait up
rm up made
container prune -f --filter bogus=x
container prune -f --filter until=x
container prune -f
"""

_EXEC = """
run -d --name in -e X=image box sleep 1000
exec in sh -c 'exit 4'
~exec in nope
~exec in /etc
~exec -w relative in pwd
~exec -w /nope in pwd
~exec -u nope in id
exec nope true
exec -w /etc in pwd
exec -e A=1 -e X=own in sh -c 'echo $A $X'
exec -u user:extra in id
exec -u 1000 in id
exec -d in touch /made
? exec in ls /made
< some | exec -i in cat
< some | exec in cat
exec -t in tty
exec -it in tty
exec --env-file {files}/environment in sh -c 'echo $FILED $CALLER'
exec --env-file {files}/bad in env
exec --env-file /nonexistent in env
attach nope
rm -f in
exec in true
"""

_ENDS = """
run -d --name again --restart on-failure:2 box sh -c 'exit 3'
? inspect -f '{{.State.Running}} {{.RestartCount}} {{.State.ExitCode}}' again
run -d --name asked --stop-signal USR1 --stop-timeout 5 box sh -c "trap 'exit 5' USR1; while :; do sleep 0.1; done"
stop asked
inspect -f '{{.State.ExitCode}} {{.Config.StopSignal}} {{.Config.StopTimeout}}' asked
run --rm box sh -c 'kill -9 $$'
run --rm box sh -c 'kill -9 1; exit 3'
run -d --rm --name gone box true
? ps -aq --filter name=gone
run --name two box sh -c 'echo a; sleep 0.2; echo b >&2'
run --rm -a stdout box sh -c 'echo o; echo e >&2'
run --rm -a stderr box sh -c 'echo o; echo e >&2'
< some | run --rm -i box cat
< some | run --rm box cat
run --rm -t box sh -c 'tty; test -t 0 && test -t 1 && test -t 2 && echo $TERM'
create --name filed --label-file {files}/environment -l own= box
inspect -f '{{json .Config.Labels}} {{.HostConfig.RestartPolicy.Name}}' filed
run -d --name share --ipc shareable box sleep 100
run --rm --ipc container:share box sh -c 'mount | grep -c shm'
run --rm --pid container:share box sh -c 'ps -o comm | head -2'
run --rm --ipc container:two box true
run --rm --pid container:two box true
run --rm --network container:share -h x box true
create --name wants --gpus device=0 box true
start wants
inspect -f '{{json .HostConfig.DeviceRequests}} {{.State.ExitCode}} {{.State.Error}}' wants
run --name missing --device /dev/nonexistent box true
inspect -f '{{.State.ExitCode}} {{.State.Status}} {{.State.Error}}' missing
run --rm --platform linux/arm64 box true
run --rm --pull never far true
run --rm --pull always -q box echo pulled
run --rm --detach-keys x,y --sig-proxy=false --disable-content-trust --log-driver none box echo alone
"""

_FLAGS = """
run -d --name in box sleep 1000
create --name caught -i box sh -c 'read line; echo $line; exit 4'
< some | start -ai --detach-keys x,y caught
logs --details caught
logs -t caught
logs --until 1h caught
container inspect -s -f '{{.SizeRw}} {{.Name}}' caught
run -d --name brief box sh -c 'sleep 2; echo end; exit 3'
attach --no-stdin --sig-proxy=false --detach-keys x,y brief
exec --detach-keys x,y in true
cp -aLq {files}/environment in:/etc/copied
exec in cat /etc/copied
export -o {files}/exported.tar in
commit -a author -m message -c 'ENV X=1' -p=false in kept:1
image inspect -f '{{.Author}}|{{.Comment}}|{{json .Config.Env}}' kept:1
rmi kept:1
pause in
commit in kept:2
commit --pause=false in kept:3
ps --format '{{.Names}} {{.State}}' --filter name=in
unpause in
commit in kept:4
ps --format '{{.Names}} {{.State}}' --filter name=in
rmi kept:2 kept:3 kept:4
stats -a --no-stream --no-trunc --format '{{.Name}}' in
update --blkio-weight 300 --cpu-period 50000 --cpu-quota 25000 -c 50 --cpuset-mems 0 --memory 90m --memory-swap 95m in
update --memory-reservation 60m --cpuset-cpus 0 --pids-limit 40 --kernel-memory 50m in
inspect -f '{{.HostConfig.CpuPeriod}} {{.HostConfig.CpuQuota}} {{.HostConfig.CpuShares}} {{.HostConfig.CpusetMems}}' in
exec in sh -c 'cd /sys/fs/cgroup; cat cpu/cpu.cfs_*_us cpu/cpu.shares memory/memory.soft_limit_in_bytes pids/pids.max'
update --cpu-rt-period 900000 --cpu-rt-runtime 9000 in
inspect -f '{{.HostConfig.CpuRealtimePeriod}} {{.HostConfig.CpuRealtimeRuntime}}' in
update --cpu-period 40000 --cpus 1 in
update --restart always:3 in
create --name anonymous -v /data box
rm -v anonymous
volume ls -q
volume create --name named -d local --label a=b -o type=tmpfs -o device=tmpfs
volume inspect --format '{{.Name}} {{.Driver}} {{json .Labels}} {{json .Options}}' named
volume ls -q --filter label=a=b
volume ls --format '{{.Name}}|{{.Driver}}' --filter name=named
volume rm -f named nobody
volume prune -f --filter label=nothing
"""

_RARE = """
logs -n 0 nope
logs nope
logs
ps extra
start nope
stop -t 0 nope
pause nope
restart nope
wait nope
attach --no-stdin nope
rename nope x1
rm nope
rm --link nope
inspect nope
container prune -f --filter label=x
ps -a --filter volume=x --format {{.Names}}
ps -a --filter publish=80 --format {{.Names}}
ps -a --filter bogus
run --rm --kernel-memory 20m box true
run --rm -u : box id
run --rm -u 0:0 box id
run --rm -w '' box pwd
run --rm -w /a/../b box pwd
run --rm --entrypoint '' box echo x
run --rm --memory 0 box true
run --rm --memory-swap -1 --memory 64m box cat /sys/fs/cgroup/memory/memory.memsw.limit_in_bytes
run --rm --pids-limit -1 box cat /sys/fs/cgroup/pids/pids.max
run --rm --cpuset-cpus 0,1 box cat /sys/fs/cgroup/cpuset/cpuset.cpus
run --rm --dns-search . box cat /etc/resolv.conf
run --rm --blkio-weight 5 box true
run --rm --oom-kill-disable box true
run --rm --device-cgroup-rule 'a *:* rwm' box true
run --rm -e A= -e 'B=a b' box sh -c 'echo $A,$B'
run --rm --restart '' box true
run --rm --platform amd64 box true
"""

CONVERSATIONS = {"lists": _LISTS, "life": _LIFE, "exec": _EXEC, "ends": _ENDS, "flags": _FLAGS}
RARE_CONVERSATIONS = {"rare": _RARE}
