#!/bin/sh
# rclone as the S3 store, with the key that the secrets hold; quoted, since it is read as a list.
set -eu
value() { sed -n "s/^$1 = //p" "$AWS_SHARED_CREDENTIALS_FILE"; }
# shellcheck disable=SC2089
RCLONE_AUTH_KEY="\"$(value aws_access_key_id),$(value aws_secret_access_key)\""
# shellcheck disable=SC2090
export RCLONE_AUTH_KEY
exec rclone serve s3 --addr 0.0.0.0:8333 --vfs-cache-mode off --config /dev/null /data
