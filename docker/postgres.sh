#!/bin/sh
# Run by the image of Postgres when it makes its data folder: a user and database for each product.
set -eu
for name in airflow mlflow; do
  psql --set ON_ERROR_STOP=1 --username postgres --set "name=$name" <<'SQL'
\set file /run/secrets/ :name _database_password
\set password `cat :file`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
psql --set ON_ERROR_STOP=1 --username postgres --command 'CREATE DATABASE mlflow_auth OWNER mlflow'
