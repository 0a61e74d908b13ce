#!/bin/sh
# Build the images and bring the stack up with podman until every service is healthy; then take it
# down. Takes some ten minutes; no part of the tests. A machine without a registry gives a base of
# its own.
#
#   docker/smoke/smoke.sh
#
# BASE           base image                                      (python:3.11-slim-trixie)
# BUILD_OPTIONS  more options of `podman build`, such as `--volume` for certificates    (none)
# COMPOSE        the command for compose files                                (podman-compose)
# KEEP           1 leaves the stack running                                                (0)
# PATIENCE       seconds that a service gets to become healthy                              (600)
# SKIP_BUILD     1 takes the images that there are                                         (0)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
BASE=${BASE:-docker.io/library/python:3.11-slim-trixie}
PATIENCE=${PATIENCE:-600}

build() { # file, target, tag
  # shellcheck disable=SC2086
  podman build ${BUILD_OPTIONS:-} --build-arg "BASE=$BASE" \
    --file "$project/$1" --target "$2" --tag "localhost/$3" "$project"
}
stack() {
  ${COMPOSE:-podman-compose} --file "$project/docker/compose.yaml" --file "$here/compose.yaml" "$@"
}
healthy() { # services; podman itself looks only where systemd runs
  for name in "$@"; do
    since=$(date +%s)
    until podman healthcheck run "lungseg_${name}_1" > "$work/health" 2>&1; do
      if [ $(($(date +%s) - since)) -gt "$PATIENCE" ]; then
        echo "error: $name is not healthy after $PATIENCE s: $(cat "$work/health")" >&2
        podman logs --tail 20 "lungseg_${name}_1" >&2
        exit 1
      fi
      sleep 3
    done
    echo "healthy: $name after $(($(date +%s) - since)) s"
  done
}
end() {
  code=$?
  if [ "${KEEP:-0}" != 1 ]; then
    stack down --volumes --timeout 10 >/dev/null 2>&1 || true
    rm -rf "$work"
  fi
  exit $code
}
trap end EXIT
trap 'exit 130' INT TERM

if [ "${SKIP_BUILD:-0}" != 1 ]; then
  for target in airflow mlflow worker; do build docker/Dockerfile $target lungseg-$target; done
  for target in postgres redis storage; do
    build docker/smoke/Dockerfile $target lungseg-smoke-$target
  done
fi
podman images --format '{{.Repository}} {{.Size}}' | grep lungseg-

git clone --quiet --bare "$project" "$work/git/lungseg.git"
chmod -R go+rX "$work"
"$project/docker/make_secrets.sh" "$work/secrets" "$work/env"
export LUNGSEG_SECRETS="$work/secrets" LUNGSEG_REPO=git://git/lungseg.git SMOKE_GIT="$work/git"
LUNGSEG_TRACKING_REF=$(git -C "$project" rev-parse HEAD)
export LUNGSEG_TRACKING_REF

# podman-compose does not wait for health, so it is done here in the order of depends_on.
stack up --detach postgres redis storage git
healthy postgres redis storage
stack up --detach --no-deps mlflow
healthy mlflow
stack run --rm --no-deps init
stack up --detach --no-deps airflow-server airflow-scheduler airflow-dag-processor airflow-triggerer
healthy airflow-server airflow-scheduler airflow-dag-processor airflow-triggerer
stack up --detach --no-deps worker-cpu
healthy worker-cpu
echo "all services are healthy"
