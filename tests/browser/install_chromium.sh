#!/bin/sh
# A Chromium for the browser tests: an installed one, else Debian's package, else Playwright's own.
# Usage: install_chromium.sh PYTHON
set -e
for name in chromium chromium-browser google-chrome; do
  if command -v "$name" >/dev/null 2>&1; then exit 0; fi
done
if "$1" -c 'import os, sys; from playwright.sync_api import sync_playwright as p
with p() as x: sys.exit(not os.path.exists(x.chromium.executable_path))' 2>/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core && exit 0
fi
"$1" -m playwright install --with-deps chromium || "$1" -m playwright install chromium
