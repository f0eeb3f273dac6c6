#!/bin/sh
# A Slurm for its tests: Debian's controller, node daemon and commands, unpacked into FOLDER and not
# installed, so that no service starts. Where they cannot be had, the tests are skipped and say so.
# Usage: install_slurm.sh FOLDER
if [ -x "$1/usr/sbin/slurmctld-wlm" ]; then exit 0; fi
command -v apt-get >/dev/null 2>&1 || exit 0
[ "$(id -u)" != 0 ] || apt-get update -qq || true
mkdir -p "$1" && cd "$1" || exit 0
for name in libhwloc15 libmunge2 liblua5.1-0 slurm-wlm-basic-plugins slurm-client slurmd slurmctld; do
  apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x "$name"_*.deb . && rm -f "$name"_*.deb
done
exit 0
