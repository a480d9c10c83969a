#!/usr/bin/env bash
# Gathers what the images are made of. Usage: context.sh LEVERET DIRECTORY
#
# LEVERET is a static program (docs/packages.md says how it is built). DIRECTORY is made, with an archive base.tar for
# both images and tools.tar for the full one.
# With BUSYBOX and BASH_STATIC in the environment, these are taken as the full image's tools; else Debian's packages
# busybox-static and bash-static are, which must be installed. Without them only the slim image can be built.
#
# Nothing is run in the images to build them, so that one machine builds them for all architectures: for each, give
# that architecture's programs.
set -euo pipefail

leveret=${1:?usage: context.sh LEVERET DIRECTORY}
context=${2:?usage: context.sh LEVERET DIRECTORY}
here=$(cd "$(dirname "$0")" && pwd)

commands="rabbitmq-server rabbitmqctl rabbitmq-diagnostics rabbitmq-plugins rabbitmq-queues rabbitmq-streams
    rabbitmq-upgrade rabbitmqadmin"

mkdir -p "$context"
context=$(cd "$context" && pwd)
rm -f "$context/base.tar" "$context/tools.tar"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/base" "$work/owned" "$work/tools"
install -D -m 755 "$leveret" "$work/base/usr/local/bin/leveret"
# Archives keep owners and modes, which engines do in different ways when they copy directories.
archive=(tar --sort=name "--mtime=@${SOURCE_DATE_EPOCH:-0}" --numeric-owner)

# What both images have.
cd "$work/base"
mkdir -p etc/ssl/certs opt/rabbitmq/plugins opt/rabbitmq/sbin root run usr/lib/rabbitmq/bin usr/bin var/lib var/log
mkdir -m 1777 tmp run/leveret
ln -s usr/bin bin
ln -s usr/bin sbin
ln -s bin usr/sbin
ln -s ../run var/run
ln -s /opt/rabbitmq/plugins plugins
for command in $commands; do
    ln -s /usr/local/bin/leveret "opt/rabbitmq/sbin/$command"
    # where pytest-rabbitmq and old scripts look
    ln -s /usr/local/bin/leveret "usr/lib/rabbitmq/bin/$command"
done
for command in docker-entrypoint.sh gosu; do
    ln -s leveret "usr/local/bin/$command"
done
for command in nc curl; do
    ln -s ../local/bin/leveret "usr/bin/$command"
done
cat >etc/passwd <<'END'
root:x:0:0:root:/root:/bin/sh
rabbitmq:x:999:999::/var/lib/rabbitmq:/bin/sh
nobody:x:65534:65534:nobody:/:/bin/false
END
cat >etc/group <<'END'
root:x:0:
tty:x:5:
rabbitmq:x:999:
nogroup:x:65534:
END
echo "hosts: files dns" >etc/nsswitch.conf
cat >etc/os-release <<END
NAME="leveret"
ID=leveret
PRETTY_NAME="leveret, from scratch"
END

"${archive[@]}" --owner=0 --group=0 -cf "$context/base.tar" *

# What belongs to the user rabbitmq. Whoever the image is run as may write there.
cd "$work/owned"
mkdir -p etc/rabbitmq/conf.d etc/rabbitmq/certs var/lib/rabbitmq var/log/rabbitmq
chmod 1777 etc/rabbitmq etc/rabbitmq/conf.d var/lib/rabbitmq var/log/rabbitmq
cp "$here/10-defaults.conf" etc/rabbitmq/conf.d/
echo "[rabbitmq_management]." >etc/rabbitmq/enabled_plugins
chmod 666 etc/rabbitmq/enabled_plugins
"${archive[@]}" --owner=999 --group=999 -rf "$context/base.tar" etc/rabbitmq var/lib/rabbitmq var/log/rabbitmq

# What the full image has besides.
cd "$work/tools"
busybox=${BUSYBOX:-/bin/busybox}
bash=${BASH_STATIC:-/bin/bash-static}
if [ ! -x "$busybox" ] || [ ! -x "$bash" ]; then
    echo "context.sh: no $busybox or no $bash: only the slim image can be built" >&2
    exit 0
fi
mkdir -p usr/bin usr/share
install -m 755 "$busybox" usr/bin/busybox
install -m 755 "$bash" usr/bin/bash
# why: the shell of busybox runs its own nc, whatever PATH says.
ln -s bash usr/bin/sh
# The list is asked of a busybox that runs here; that of another architecture has the same.
for applet in $("${BUSYBOX_HERE:-$busybox}" --list); do
    case $applet in
    busybox | sh | bash | nc | netcat) ;;
    *) ln -s busybox "usr/bin/$applet" ;;
    esac
done
for package in busybox-static bash-static; do
    if [ -f "/usr/share/doc/$package/copyright" ]; then
        install -D -m 644 "/usr/share/doc/$package/copyright" "usr/share/doc/$package/copyright"
    fi
done
"${archive[@]}" --owner=0 --group=0 -cf "$context/tools.tar" usr/bin/* usr/share
