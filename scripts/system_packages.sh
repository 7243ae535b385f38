#!/usr/bin/env bash
# Installs the programs that some tests start: a browser, the real senders of usage and telemetry, and what the servers
# of the cluster run on (Java, with Maven to fetch them; PostgreSQL).
# Where it may not (no root, no apt-get) it says what is missing; the tests that need it then say so too.
set -euo pipefail

# a program that tells whether the package is there : the package
needed=(
    chromium:chromium
    kamailio:kamailio
    kamailio:kamailio-sqlite-modules
    kamailio:kamailio-json-modules
    kamailio:kamailio-extra-modules
    sipp:sip-tester
    sqlite3:sqlite3
    rsyslogd:rsyslog
    snmptrap:snmp
    softflowd:softflowd
    freeradius:freeradius
    radclient:freeradius-utils
    pg_ctl:postgresql
)

# a program, of which any that is there will do, whichever package it came in : the package that brings one
any_of=(
    java:default-jre-headless
    mvn:maven
)

PATH=$PATH:/usr/sbin:/sbin

is_there() {
    local program=${1%%:*} package=${1#*:}
    if command -v dpkg-query >/dev/null; then
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ]
    else
        command -v "$program" >/dev/null
    fi
}

missing=()
for entry in "${needed[@]}"; do
    is_there "$entry" || missing+=("${entry#*:}")
done
for entry in "${any_of[@]}"; do
    command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf '\n'
    printf '  !!  These system packages are missing, and this account may not install them:\n'
    printf '  !!      %s\n' "${missing[*]}"
    printf '  !!  The tests that need them will be left out, each with its name at the end.\n'
    printf '  !!  On Debian and Ubuntu: sudo apt-get install %s\n\n' "${missing[*]}"
    exit 0
fi

# Installing a server must not start it: its port may be taken, and the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
printf 'Installing what the tests start: %s\n' "${missing[*]}"
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
