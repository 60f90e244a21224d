#!/bin/sh
# Writes what the people must know to the board. The text is an argument, and never part of this script.
set -eu
mkdir -p "$(dirname "$BOARD")"
printf '%s  %s\n' "$TRIGGER_UID" "$1" >>"$BOARD"
echo "$1"    # stdout is the step's output, and of its last step the workflow's
