-- Makes the two roles and the database. Run once by a superuser, with psql 15 or newer and both passwords in the
-- environment; see docs/deployment.md. The owner makes the schema and is used by nothing else. The engine is the
-- application role: it owns nothing and cannot bypass row security.
\set ON_ERROR_STOP on
\getenv owner_password OWNER_PASSWORD
\getenv app_password APP_PASSWORD

CREATE ROLE interlock_owner LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
  PASSWORD :'owner_password';
CREATE ROLE interlock_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
  PASSWORD :'app_password';

CREATE DATABASE interlock OWNER interlock_owner TEMPLATE template0 ENCODING 'UTF8';
REVOKE ALL ON DATABASE interlock FROM PUBLIC;
GRANT CONNECT ON DATABASE interlock TO interlock_app;
-- What is answered positively must be on the disk, whatever the server's own default says.
ALTER ROLE interlock_app IN DATABASE interlock SET synchronous_commit = 'on';

\connect interlock
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO interlock_app;
