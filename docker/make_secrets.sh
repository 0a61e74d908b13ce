#!/bin/sh
# Make the secrets of docker/compose.yaml, each a file of its own, and the file of variables that
# names their folder. Overwrites nothing.
#
#   docker/make_secrets.sh [FOLDER [FILE]]    docker/secrets and docker/.env unless told otherwise
#
# Nobody else can enter the folder. The files in it can be read by those who can, since a container
# sees them with their mode on the host, and each service runs as a user of its own.
set -eu
umask 077
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-$here/secrets}
file=${2:-$here/.env}

if [ -e "$folder" ]; then
  echo "error: $folder: exists already; remove it for a new stack, whose databases are empty" >&2
  exit 1
fi
command -v openssl >/dev/null || { echo "error: openssl: not found; install it" >&2; exit 1; }
making=$folder.partial
rm -rf "$making"
mkdir -p "$making"

random() { openssl rand -hex "${1:-24}"; }
put() { printf '%s' "$2" > "$making/$1"; }

airflow=$(random) mlflow=$(random) redis=$(random) people=$(random 12)
mlflow_admin=$(random 12) access=$(random 10) secret=$(random)

put postgres_password "$(random)"
put airflow_database_password "$airflow"
put mlflow_database_password "$mlflow"
put airflow_database_url "postgresql+psycopg2://airflow:$airflow@postgres:5432/airflow"
put mlflow_database_url "postgresql+psycopg2://mlflow:$mlflow@postgres:5432/mlflow"
put redis.conf "dir /data
appendonly yes
maxmemory-policy noeviction
requirepass $redis"
put broker_url "redis://:$redis@redis:6379/0"
put result_backend "redis://:$redis@redis:6379/1"

put fernet_key "$(openssl rand -base64 32 | tr '+/' '-_')"
put api_secret_key "$(random)"
put jwt_secret "$(random 32)"
put airflow_password "$people"
put airflow_passwords.json "{\"admin\": \"$people\"}"

put mlflow_password "$mlflow_admin"
put mlflow_secret_key "$(random 32)"
# MLflow checks a slow hash of the password at every request, a tenth of a second each; with one
# worker, which forgets whom it knows when a password is changed there, it need not.
put mlflow_auth.ini "[mlflow]
auth_cache_ttl_seconds = 300
default_permission = READ
database_uri = postgresql+psycopg2://mlflow:$mlflow@postgres:5432/mlflow_auth
admin_username = admin
admin_password = $mlflow_admin
authorization_function = mlflow.server.auth:authenticate_request_basic_auth"

put aws_credentials "[default]
aws_access_key_id = $access
aws_secret_access_key = $secret"
put s3.json "{\"identities\": [{\"name\": \"lungseg\",
  \"credentials\": [{\"accessKey\": \"$access\", \"secretKey\": \"$secret\"}],
  \"actions\": [\"Admin\", \"Read\", \"Write\", \"List\", \"Tagging\"]}]}"

openssl genpkey -algorithm ed25519 -out "$making/signing_key"

chmod 0644 "$making"/*
mv "$making" "$folder"
folder=$(cd "$folder" && pwd)  # compose takes a relative path from its own folder
if [ ! -e "$file" ]; then
  {
    echo "# What docker/compose.yaml asks for; docs/deployment.md lists all that it understands."
    echo "LUNGSEG_SECRETS=$folder"
    echo "# The git URL of the project, as the containers reach it"
    echo "LUNGSEG_REPO="
  } > "$file"
fi
echo "made $folder; set LUNGSEG_REPO in $file"
echo "Airflow's and MLflow's user is admin; passwords: $folder/airflow_password, $folder/mlflow_password"
