#!/bin/sh
# What a container does before its command: it takes secrets from the files that hold them, and
# hands signals on. Nothing secret is in an image, a command line or a compose file.
set -eu
umask 077
export HOME=/tmp  # of its own: what programs keep for a user is not kept longer than the container

# NAME_FILE names the file of a value that a program reads only from its environment.
for name in MLFLOW_BACKEND_STORE_URI MLFLOW_FLASK_SERVER_SECRET_KEY; do
  eval "file=\${${name}_FILE:-}"
  if [ -n "$file" ]; then
    [ -r "$file" ] || { echo "${name}_FILE=$file: cannot be read" >&2; exit 1; }
    value=$(cat "$file")
    export "$name=$value"
  fi
done

# A file that must be this user's alone, or be writable, is copied: a mounted secret is neither.
for name in LUNGSEG_SIGNING_KEY AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE; do
  eval "file=\${${name}:-}"
  if [ -n "$file" ]; then
    [ -r "$file" ] || { echo "$name=$file: cannot be read" >&2; exit 1; }
    mkdir -p /tmp/own
    cat "$file" > "/tmp/own/${file##*/}"
    export "$name=/tmp/own/${file##*/}"
  fi
done

exec dumb-init -- "$@"
