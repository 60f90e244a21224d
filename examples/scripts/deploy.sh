#!/bin/sh
# Brings $SITE to the commit $1 of $ORIGIN. The whole payload is on stdin; this script does without.
set -eu
mkdir -p "$(dirname "$SITE")"
exec 9>"$SITE.lock"
flock 9                                     # one at a time: two pushes may come close together
[ -d "$SITE/.git" ] || git clone --quiet --no-checkout "$ORIGIN" "$SITE" >&2
git -C "$SITE" fetch --quiet origin >&2
git -C "$SITE" checkout --quiet --force --detach "$1" >&2
printf '{"deployed": "%s"}\n' "$1"          # JSON on stdout is the step's output
