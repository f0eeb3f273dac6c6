#!/bin/sh
# An nginx for the test of a reverse proxy: an installed one, else Debian's, unpacked into FOLDER and
# not installed, so that no service starts. Without either, the test is skipped and says so.
# Usage: install_nginx.sh FOLDER
PATH="$PATH:/usr/sbin:/usr/local/sbin"
if command -v nginx >/dev/null 2>&1 || [ -x "$1/usr/sbin/nginx" ]; then exit 0; fi
command -v apt-get >/dev/null 2>&1 || exit 0
[ "$(id -u)" != 0 ] || apt-get update -qq || true
mkdir -p "$1" && cd "$1" || exit 0
for name in nginx nginx-core; do  # Ubuntu's nginx may be an empty package beside nginx-core
  apt-get download -qq "$name" 2>/dev/null && dpkg-deb -x "$name"_*.deb . && rm -f "$name"_*.deb
  [ ! -x usr/sbin/nginx ] || exit 0
done
exit 0
