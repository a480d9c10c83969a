#!/usr/bin/env bash
# The one step of the action: gets the program, starts it in the background, waits until it is ready, and says where
# it is. What action.yml names is in the environment.
set -euo pipefail

work=${RUNNER_TEMP:-$(mktemp -d)}/leveret
mkdir -p "$work/etc"
fail() {
    echo "::error title=leveret::$1"
    [ ! -f "$work/log" ] || tail -n 50 "$work/log"
    exit 1
}

program=${LEVERET_BINARY:-}
if [ -z "$program" ]; then
    case "$(uname -s)-$(uname -m)" in
    Linux-x86_64) target=x86_64-unknown-linux-gnu ;;
    Linux-aarch64) target=aarch64-unknown-linux-gnu ;;
    Darwin-x86_64) target=x86_64-apple-darwin ;;
    Darwin-arm64) target=aarch64-apple-darwin ;;
    *) fail "there is no release for $(uname -s) $(uname -m)" ;;
    esac
    name="leveret-$LEVERET_VERSION-$target"
    from="${GITHUB_SERVER_URL:-https://github.com}/$LEVERET_REPOSITORY/releases/download/v$LEVERET_VERSION"
    curl -fsSL --retry 3 -o "$work/$name.tar.gz" "$from/$name.tar.gz" || fail "$from/$name.tar.gz cannot be fetched"
    curl -fsSL --retry 3 -o "$work/SHA256SUMS" "$from/SHA256SUMS" || fail "$from/SHA256SUMS cannot be fetched"
    sums=$(command -v sha256sum || echo "shasum -a 256")
    (cd "$work" && grep " [ *]*$name.tar.gz\$" SHA256SUMS | $sums -c - >/dev/null) || fail "$name.tar.gz is not what was released"
    tar -xzf "$work/$name.tar.gz" -C "$work"
    program="$work/$name/leveret"
fi
[ -x "$program" ] || fail "there is no program $program"

# Nothing of the machine's own RabbitMQ is read, and nothing of it is in the way.
options=(--container)
[ -z "${LEVERET_CONFIG_FILE:-}" ] || options+=(--config "$LEVERET_CONFIG_FILE")
[ -z "${LEVERET_DEFINITIONS_FILE:-}" ] || options+=(--definitions "$LEVERET_DEFINITIONS_FILE")
# The words of this input are options of their own.
# shellcheck disable=SC2206
options+=(${LEVERET_ARGUMENTS:-})
variables=(
    LEVERET_RABBITMQ_DIR="$work/etc"
    RABBITMQ_DATA_DIR="$work/data"
    RABBITMQ_NODENAME=rabbit@localhost
    RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
    RABBITMQ_NODE_PORT="${LEVERET_PORT:-5672}"
    RABBITMQ_MANAGEMENT_BIND_IP=127.0.0.1
    RABBITMQ_MANAGEMENT_PORT="${LEVERET_MANAGEMENT_PORT:-15672}"
)
if [ -z "${LEVERET_DEFINITIONS_FILE:-}" ]; then
    variables+=(
        RABBITMQ_DEFAULT_USER="${LEVERET_USER:-guest}"
        RABBITMQ_DEFAULT_PASS="${LEVERET_PASSWORD:-guest}"
        RABBITMQ_DEFAULT_VHOST="${LEVERET_VHOST:-/}"
    )
fi
if [ "${LEVERET_PASSWORD:-guest}" != guest ]; then
    echo "::add-mask::$LEVERET_PASSWORD"
fi
# Variables of this step are none of the program's.
for name in $(compgen -v LEVERET_) $(compgen -v RABBITMQ_); do export -n "${name?}"; done
: >"$work/log"
nohup env "${variables[@]}" "$program" "${options[@]}" >>"$work/log" 2>&1 </dev/null &
pid=$!

# The last of the lines that are printed when all is ready.
until grep -q 'Starting broker\.\.\. completed with' "$work/log"; do
    kill -0 "$pid" 2>/dev/null || fail "leveret did not start"
    [ "$SECONDS" -lt 60 ] || fail "leveret is not ready after 60 seconds"
    sleep 0.05
done
port=$(sed -n 's/^started TCP listener on .*:\([0-9]*\)$/\1/p' "$work/log" | head -n 1)
management=$(sed -n 's/^Management plugin: .* started on port \([0-9]*\)$/\1/p' "$work/log" | head -n 1)

# As it stands in a URL.
escaped() {
    local LC_ALL=C text=$1 index letter
    for ((index = 0; index < ${#text}; index++)); do
        letter=${text:index:1}
        case $letter in
        [a-zA-Z0-9._~-]) printf %s "$letter" ;;
        # Older shells have bytes beyond 127 as negative numbers.
        *) printf %%%02X $(($(printf %d "'$letter") & 255)) ;;
        esac
    done
}
login="$(escaped "${LEVERET_USER:-guest}"):$(escaped "${LEVERET_PASSWORD:-guest}")"
amqp_url="amqp://$login@127.0.0.1:$port/$(escaped "${LEVERET_VHOST:-/}")"
management_url="http://127.0.0.1:$management"
{
    echo "amqp-url=$amqp_url"
    echo "management-url=$management_url"
    echo "pid=$pid"
    echo "log=$work/log"
} >>"${GITHUB_OUTPUT:-/dev/stdout}"
{
    echo "AMQP_URL=$amqp_url"
    echo "RABBITMQ_MANAGEMENT_URL=$management_url"
} >>"${GITHUB_ENV:-/dev/stdout}"
echo "leveret $("$program" --version | cut -d' ' -f2) listens on 127.0.0.1:$port, management on 127.0.0.1:$management"
