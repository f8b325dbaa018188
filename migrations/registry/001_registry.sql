-- The registry: everything tenantctl knows. Names of the columns of "tenants" follow the published pattern of a
-- central database (uuid, db_name, db_username, db_password); what must hold is a constraint, not a habit.

CREATE SCHEMA IF NOT EXISTS tenantctl;
REVOKE ALL ON SCHEMA tenantctl FROM PUBLIC;

-- One row: who we are, as written into the markers of databases and roles.
CREATE TABLE tenantctl.registry (
  singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
  id         uuid NOT NULL DEFAULT gen_random_uuid(),
  created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenantctl.registry DEFAULT VALUES;

-- PostgreSQL servers that hold tenants. How to log in to one stands in the configuration, never here.
CREATE TABLE tenantctl.servers (
  id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name       text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  created_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO tenantctl.servers (name) VALUES ('default');

CREATE TABLE tenantctl.tenants (
  id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  uuid            uuid NOT NULL UNIQUE,
  slug            text NOT NULL CHECK (slug ~ '^[a-z](-?[a-z0-9])*$' AND octet_length(slug) <= 63),
  name            text NOT NULL CHECK (name ~ '\S' AND length(name) <= 200),
  status          text NOT NULL DEFAULT 'provisioning'
                  CHECK (status IN ('provisioning', 'active', 'suspended', 'dropping', 'failed')),
  server_id       int NOT NULL REFERENCES tenantctl.servers,
  db_name         text NOT NULL CHECK (octet_length(db_name) BETWEEN 1 AND 63),
  db_username     text NOT NULL CHECK (octet_length(db_username) BETWEEN 1 AND 63),
  -- version.key id.ciphertext: a clear-text password cannot be stored by mistake.
  db_password     text NOT NULL CHECK (db_password ~ '^v1\.[0-9a-z_-]{1,64}\.[A-Za-z0-9+/_=-]{40,}$'),
  labels          jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(labels) = 'object'),
  -- Name of the last applied migration without extension, and a hash over the names of all of them.
  schema_version  text,
  migrations_hash text,
  protected       boolean NOT NULL DEFAULT false,
  -- Dropped, but kept until then: the database and the role bear the name of a tombstone.
  retained_until  timestamptz,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  UNIQUE (server_id, db_name),
  UNIQUE (server_id, db_username)
);
-- A retained tenant leaves its slug to the next one.
CREATE UNIQUE INDEX tenants_slug_key ON tenantctl.tenants (slug) WHERE retained_until IS NULL;
CREATE INDEX tenants_labels_idx ON tenantctl.tenants USING gin (labels jsonb_path_ops);

-- Journal and audit trail: no foreign key to the tenant, whose row goes when it is dropped.
CREATE TABLE tenantctl.operations (
  id          uuid PRIMARY KEY,
  kind        text NOT NULL CHECK (kind IN ('create', 'drop', 'migrate', 'rollback', 'seed', 'suspend', 'resume',
              'protect', 'unprotect', 'undrop', 'purge', 'rotate-password', 'restore', 'baseline')),
  tenant_uuid uuid NOT NULL,
  tenant_slug text NOT NULL,
  status      text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'succeeded', 'failed', 'interrupted')),
  actor       text NOT NULL,
  pid         int NOT NULL,
  parameters  jsonb NOT NULL DEFAULT '{}',
  error       jsonb,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  CHECK ((status = 'running') = (finished_at IS NULL))
);
CREATE INDEX operations_tenant_idx ON tenantctl.operations (tenant_uuid, started_at DESC);
CREATE INDEX operations_slug_idx ON tenantctl.operations (tenant_slug, started_at DESC);
CREATE INDEX operations_started_idx ON tenantctl.operations (started_at DESC);
CREATE INDEX operations_running_idx ON tenantctl.operations (tenant_uuid) WHERE status = 'running';

CREATE TABLE tenantctl.operation_steps (
  operation_id uuid NOT NULL REFERENCES tenantctl.operations ON DELETE CASCADE,
  position     smallint NOT NULL,
  name         text NOT NULL,
  status       text NOT NULL CHECK (status IN ('started', 'done', 'failed', 'undone')),
  -- What recovery must know, such as the transaction ids of seeds. Never a secret.
  detail       jsonb NOT NULL DEFAULT '{}',
  started_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at  timestamptz,
  PRIMARY KEY (operation_id, position)
);

-- Checksums of the migration files that were applied anywhere: such a file must not change any more.
CREATE TABLE tenantctl.migrations (
  name             text PRIMARY KEY,
  checksum         text NOT NULL,
  first_applied_at timestamptz NOT NULL DEFAULT now()
);
