#!/bin/sh
# How many addresses the access log shows on the day $1.
set -eu
awk -v day="$1" '$1 == day && !seen[$2]++ { visitors++ } END { printf "{\"visitors\": %d}\n", visitors }' figures/access.log
