#!/usr/bin/env bash
# Builds the images with podman and tries what people do with RabbitMQ's. Usage: tests/image/run.sh LEVERET
#
# LEVERET is a static program (docs/packages.md says how it is built). Needs podman, busybox-static and bash-static;
# python3 for pika, node for Testcontainers. Prints a line for each thing that is tried, and figures at the end. Ends with 0 when all
# went well, and when there is nothing to try it with, which one line says.
set -euo pipefail

leveret=${1:-target/x86_64-unknown-linux-gnu/release/leveret}
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)

skip() { echo "tests/image: skipped: $1"; exit 0; }
command -v podman >/dev/null || skip "there is no podman"
[ -x "$leveret" ] || skip "there is no static program $leveret"
[ -x "${BUSYBOX:-/bin/busybox}" ] && [ -x "${BASH_STATIC:-/bin/bash-static}" ] ||
    skip "busybox-static and bash-static are not installed"

work=$(mktemp -d)
# Without systemd, without a daemon, and beside whatever else podman has.
cat >"$work/containers.conf" <<'END'
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
END
command -v runc >/dev/null && echo 'runtime = "runc"' >>"$work/containers.conf"
export CONTAINERS_CONF="$work/containers.conf"
# Without systemd podman cannot repeat health checks and says so each time.
pod() { podman --root "$work/root" --runroot "$work/run" --storage-driver vfs --log-level fatal "$@"; }
containers=()
clean() {
    [ ${#containers[@]} -eq 0 ] || pod rm --force --time 1 "${containers[@]}" >/dev/null 2>&1 || true
    pod volume prune --force >/dev/null 2>&1 || true
    rm -rf "$work" 2>/dev/null || true
}
trap clean EXIT

failures=0
fine() { echo "  ok      $1"; }
wrong() { echo "  FAILED  $1"; failures=$((failures + 1)); }
# Runs a command and looks at its end: expect CODE NAME COMMAND…
expect() {
    local code=$1 name=$2 ended=0
    shift 2
    "$@" >"$work/out" 2>&1 || ended=$?
    if [ "$ended" -eq "$code" ]; then fine "$name"; else
        wrong "$name: code $ended, not $code: $(head -c 300 "$work/out")"
    fi
}
milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# Starts a container and waits for the ready line: start NAME OPTION… IMAGE COMMAND…
start() {
    local name=$1 began limit
    shift
    containers+=("$name")
    began=$(milliseconds)
    pod run --detach --name "$name" "$@" >/dev/null
    limit=$((began + 60000))
    until pod logs "$name" 2>&1 | grep -q 'Server startup complete'; do
        if [ "$(milliseconds)" -gt "$limit" ] || [ "$(pod inspect -f '{{.State.Running}}' "$name")" != true ]; then
            wrong "$name does not start: $(pod logs "$name" 2>&1 | tail -n 5)"
            return 1
        fi
    done
    fine "$name starts"
}
port() { pod port "$1" "$2/tcp" | head -n 1 | sed 's/.*://'; }

echo "build"
"$top/packaging/docker/context.sh" "$leveret" "$work/context"
for image in leveret:full=Dockerfile leveret:slim=Dockerfile.slim; do
    file="$work/${image#*=}"
    # podman before 5 does not know this option.
    sed 's/ --start-interval=[^ ]*//' "$top/packaging/docker/${image#*=}" >"$file"
    expect 0 "${image%=*} is built" pod build --isolation chroot --format docker -t "${image%=*}" -f "$file" \
        "$work/context"
done

echo "the full image"
published=(-p 127.0.0.1::5672 -p 127.0.0.1::15672)
volume="leveret-test-$$"
start full "${published[@]}" -v "$volume:/var/lib/rabbitmq" -e RABBITMQ_NODENAME=rabbit@here leveret:full
pod logs full >"$work/stdout" 2>"$work/stderr"
for line in 'Server startup complete; [0-9]* plugins started\.' 'started TCP listener on \[::\]:5672' \
    'Starting broker\.\.\. completed with [0-9]* plugins\.' ' \* rabbitmq_management'; do
    expect 0 "a line on standard output: $line" grep -q "$line" "$work/stdout"
done
amqp=$(port full 5672)
management=$(port full 15672)

# Installed once, into target/.
python="$top/target/image/venv/bin/python"
"$python" -c "import pika, testcontainers" 2>/dev/null || {
    python3 -m venv "$top/target/image/venv" && "$python" -m pip install -q -r "$here/requirements.txt"
} >/dev/null 2>&1 || python=
if [ -n "$python" ]; then
    expect 0 "pika publishes a durable message" "$python" "$here/messages.py" publish "$amqp" guest guest
else
    echo "  skipped pika: it cannot be installed"
fi
http() { curl -fsS -m 10 "$@"; }
expect 0 "the management API answers guest" http -u guest:guest "http://127.0.0.1:$management/api/overview"

echo "port probes, as Testcontainers has them"
inside() { pod exec full "$@"; }
expect 0 "grep in /proc/net/tcp" inside sh -c "grep -i ':0*1628' /proc/net/tcp*"
expect 0 "nc" inside sh -c "nc -vz -w 1 localhost 5672"
expect 0 "bash" inside sh -c "/bin/bash -c '</dev/tcp/localhost/5672'"
expect 0 "all three in one" inside /bin/sh -c \
    "true && (grep -i ':0*1628' /proc/net/tcp* || nc -vz -w 1 localhost 5672 || /bin/bash -c '</dev/tcp/localhost/5672')"
expect 0 "a shell has nothing to say of its own" inside sh -c '[ -z "$(sh -c true 2>&1)" ]'
expect 0 "awk" inside sh -c "cat /proc/net/tcp* | awk '{print \$2}' | grep -i :1628"
expect 1 "a port that nobody listens on" inside nc -z -w 1 localhost 5673

echo "health checks, as people have them"
health() { expect 0 "$1" inside sh -c "$1"; }
health "nc -z localhost 5672"
health "nc -w 1 -v 127.0.0.1 15672 </dev/null"
health "curl -f http://localhost:15672/"
health "curl -fsS -u guest:guest http://localhost:15672/api/overview"
health "curl -fsS -u guest:guest http://localhost:15672/api/aliveness-test/%2F"
health "curl -fsS -u guest:guest http://localhost:15672/api/healthchecks/node | grep -qx '{\"status\":\"ok\"}'"
health "bash -c '</dev/tcp/localhost/5672'"
# What asks the node itself. A program that does not have these commands yet answers 70.
needs_node=("rabbitmq-diagnostics -q ping" "rabbitmq-diagnostics ping" "rabbitmq-diagnostics -q check_running"
    "rabbitmq-diagnostics check_port_connectivity" "rabbitmqctl status" "rabbitmqctl node_health_check"
    "rabbitmq-diagnostics -q check_running && rabbitmq-diagnostics -q check_local_alarms")
ended=0
inside rabbitmq-diagnostics -q ping >"$work/out" 2>&1 || ended=$?
if grep -q "not there yet" "$work/out"; then
    for check in "${needs_node[@]}"; do echo "  later   $check"; done
else
    for check in "${needs_node[@]}"; do health "$check"; done
    expect 0 "podman healthcheck run" pod healthcheck run full
    expect 64 "a check that RabbitMQ refuses stays refused" inside rabbitmq-diagnostics -q check_running \
        check_port_connectivity
fi

echo "users and files"
expect 0 "the server is run as rabbitmq" inside sh -c "grep -q '^Uid:[[:space:]]*999[[:space:]]*999' /proc/1/status"
expect 0 "it has no other group" inside sh -c "grep -Eq '^Groups:[[:space:]]*$' /proc/1/status"
expect 0 "gosu" inside sh -c '[ "$(gosu rabbitmq id -u)" = 999 ] && [ "$(gosu rabbitmq:root id -g)" = 0 ]'
expect 0 "the data are rabbitmq's" inside sh -c '[ "$(stat -c %U /var/lib/rabbitmq/mnesia)" = rabbitmq ]'
expect 0 "nothing else in / is" inside sh -c '[ -z "$(find / -xdev -user rabbitmq ! -path "/etc/rabbitmq*" \
    ! -path "/var/l*/rabbitmq*" ! -path "/run/leveret/*" ! -path "/proc/*")" ]'
status="/proc/$(pod inspect -f '{{.State.Pid}}' full)/status"
kibibytes() { grep "$1" "$status" | tr -dc 0-9; }
resident=$(kibibytes VmRSS)
own=$(kibibytes RssAnon)

echo "the end, and the next start"
began=$(milliseconds)
pod stop --time 10 full >/dev/null
took=$(($(milliseconds) - began))
if [ "$took" -lt 2000 ]; then fine "SIGTERM ends it in $took ms"; else wrong "SIGTERM takes $took ms"; fi
expect 0 "with code 0" test "$(pod inspect -f '{{.State.ExitCode}}' full)" = 0
start again "${published[@]}" -v "$volume:/var/lib/rabbitmq" -e RABBITMQ_NODENAME=rabbit@here \
    --entrypoint docker-entrypoint.sh leveret:full rabbitmq-server
[ -z "$python" ] || expect 0 "pika gets the message" "$python" "$here/messages.py" consume "$(port again 5672)" guest guest

echo "configuration"
start users -p 127.0.0.1::15672 -e RABBITMQ_DEFAULT_USER=eva -e RABBITMQ_DEFAULT_PASS=secret leveret:full
expect 0 "RABBITMQ_DEFAULT_USER" http -u eva:secret "http://127.0.0.1:$(port users 15672)/api/whoami"
expect 22 "and no guest" http -u guest:guest "http://127.0.0.1:$(port users 15672)/api/whoami"
start option -p 127.0.0.1::5672 leveret:full --listen '[::]:5672'
start script leveret:full sh -c 'echo "[rabbitmq_management]." >/etc/rabbitmq/enabled_plugins; exec rabbitmq-server'
start other --user 1234:1234 leveret:full
start readonly --read-only --tmpfs /tmp --tmpfs /run leveret:full
# Where commands find the server; some engines mount an empty /run, and the entry point makes it.
expect 0 "the server may write in /run/leveret" pod exec --user rabbitmq readonly sh -c '>/run/leveret/try'
expect 127 "a program that is not there" pod run --rm leveret:full no-such-program

echo "the slim image"
start slim "${published[@]}" leveret:slim
[ -z "$python" ] || expect 0 "pika" "$python" "$here/messages.py" both "$(port slim 5672)" guest guest
expect 0 "its curl" pod exec slim curl -fsS http://localhost:15672/
expect 0 "it is run as rabbitmq" pod top slim huser

echo "images made of it"
mkdir "$work/derived"
cat >"$work/derived/Dockerfile" <<'END'
FROM localhost/leveret:full
COPY rabbitmq.conf /etc/rabbitmq/
RUN echo 'loopback_users = none' >>/etc/rabbitmq/rabbitmq.conf && chown rabbitmq:rabbitmq /etc/rabbitmq/rabbitmq.conf
USER rabbitmq
END
echo 'default_user = $(WHO)' >"$work/derived/rabbitmq.conf"
expect 0 "one is built with RUN, COPY and USER" pod build --isolation chroot --format docker -t derived "$work/derived"
start derived -p 127.0.0.1::15672 -e WHO=eva -e RABBITMQ_DEFAULT_PASS=secret derived
expect 0 "its configuration is read" http -u eva:secret "http://127.0.0.1:$(port derived 15672)/api/whoami"

echo "Testcontainers"
export DOCKER_HOST="unix://$work/podman.sock" TESTCONTAINERS_RYUK_DISABLED=true
export TESTCONTAINERS_HOST_OVERRIDE=127.0.0.1 TESTCONTAINERS_CONNECTION_MODE=docker_host
pod system service --time 0 "$DOCKER_HOST" >/dev/null 2>&1 &
service=$!
until [ -S "$work/podman.sock" ]; do sleep 0.05; done
if [ -n "$python" ]; then
    expect 0 "for Python" "$python" "$here/with_testcontainers.py" localhost/leveret:full
fi
node="$top/target/image/node"
if command -v npm >/dev/null && mkdir -p "$node" && cp "$here"/package.json "$here"/with_testcontainers.mjs "$node/" &&
    (cd "$node" && npm install --silent --no-audit --no-fund) >/dev/null 2>&1; then
    expect 0 "for Node.js" env -C "$node" node with_testcontainers.mjs localhost/leveret:full
else
    echo "  skipped Node.js: there is no npm, or its packages cannot be installed"
fi
kill "$service"
wait "$service" 2>/dev/null || true

echo "figures"
# From the call of podman to the line, as who waits for it sees it.
ready=()
for attempt in 1 2 3 4 5; do
    name="timed$attempt"
    containers+=("$name")
    lines="$work/lines.$attempt"
    touch "$lines"
    began=$(milliseconds)
    pod run --name "$name" leveret:slim >"$lines" 2>/dev/null &
    until grep -q 'Server startup complete' "$lines"; do
        [ "$(milliseconds)" -lt $((began + 60000)) ] || { wrong "$name is not ready"; break; }
        sleep 0.01
    done
    ready+=($(($(milliseconds) - began)))
    pod stop --time 5 "$name" >/dev/null
    wait
done
size() { pod image inspect -f '{{.Size}}' "$1"; }
echo "  program          $(stat -c %s "$leveret") bytes"
echo "  leveret:full     $(size leveret:full) bytes"
echo "  leveret:slim     $(size leveret:slim) bytes"
echo "  run to ready     $(printf '%s\n' "${ready[@]}" | sort -n | tr '\n' ' ')ms"
echo "  idle memory      $own KiB of its own, $resident KiB with the pages of the program's file"
expect 0 "idle memory is below 10 MiB" test "$own" -lt 10240

if [ "$failures" -gt 0 ]; then
    echo "tests/image: $failures failed"
    exit 1
fi
echo "tests/image: all went well"
