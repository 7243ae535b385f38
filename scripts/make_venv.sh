#!/usr/bin/env bash
# Makes a virtual environment with the first Python on PATH that is 3.11 to 3.13 and really starts.
# A name on PATH proves nothing: version managers put names there that answer "not installed", and
# some systems split the venv module off into a package of its own.
set -euo pipefail

target=$1
suits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
can_venv='import ensurepip, venv'

say() { printf '%s\n' "$*" >&2; }

too_bare=''
chosen=''
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python /usr/bin/python3}; do
    "$candidate" -c "$suits" >/dev/null 2>&1 || continue
    if "$candidate" -c "$can_venv" >/dev/null 2>&1; then
        chosen=$candidate
        break
    fi
    too_bare=$candidate
done

if [ -z "$chosen" ] && [ -n "$too_bare" ]; then
    version=$("$too_bare" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "$too_bare has no venv module; installing python$version-venv"
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "python$version-venv" >/dev/null
        chosen=$too_bare
    else
        say "trunkline: $too_bare is Python $version, but it lacks the venv module."
        say "Install it (on Debian and Ubuntu: sudo apt-get install python$version-venv) and try again."
        exit 1
    fi
fi

if [ -z "$chosen" ]; then
    say "trunkline: no Python from 3.11 to 3.13 found${PYTHON:+ at $PYTHON}."
    say "Install one, or name it: make env PYTHON=/path/to/python3.12"
    exit 1
fi

say "Making $target with $("$chosen" --version) and installing the pinned packages; once, about a minute."
"$chosen" -m venv --clear "$target"
