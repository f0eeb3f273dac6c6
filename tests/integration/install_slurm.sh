#!/bin/sh
# A Slurm for its tests: Debian's controller, node daemon and commands, unpacked into FOLDER and not
# installed, so that no service starts. FOLDER is there only when all of it could be had; else the
# tests are skipped and say so.
# Usage: install_slurm.sh FOLDER
if [ -d "$1" ]; then exit 0; fi
command -v apt-get >/dev/null 2>&1 || exit 0
[ "$(id -u)" != 0 ] || apt-get update -qq || true
rm -rf "$1.part" && mkdir -p "$1.part" || exit 0
(
  cd "$1.part" || exit 1
  for name in libhwloc15 libmunge2 liblua5.1-0 slurm-wlm-basic-plugins slurm-client slurmd slurmctld; do
    apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x "$name"_*.deb . && rm -f "$name"_*.deb || exit 1
  done
) && mv "$1.part" "$1"
exit 0
