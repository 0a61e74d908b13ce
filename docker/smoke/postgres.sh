#!/bin/sh
# What the official image does: a new data folder gets its password and its scripts.
set -eu
data=/var/lib/postgresql/data/cluster
if [ ! -e "$data/PG_VERSION" ]; then
  initdb --pgdata "$data" --pwfile "$POSTGRES_PASSWORD_FILE" --auth-local trust --auth-host scram-sha-256
  echo "host all all all scram-sha-256" >> "$data/pg_hba.conf"
  pg_ctl --pgdata "$data" --options "-c listen_addresses= -k /tmp" --wait start
  for script in /docker-entrypoint-initdb.d/*.sh; do "$script"; done
  pg_ctl --pgdata "$data" --wait stop
fi
exec postgres -D "$data" -c listen_addresses='*' -k /tmp
