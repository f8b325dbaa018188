-- What tenants' schemas look like: one row for each that was ever seen, and which one a tenant had last.

CREATE TABLE tenantctl.schema_fingerprints (
  fingerprint text PRIMARY KEY CHECK (fingerprint ~ '^[0-9a-f]{64}$'),
  objects     jsonb NOT NULL CHECK (jsonb_typeof(objects) = 'array'),
  first_seen  timestamptz NOT NULL DEFAULT now()
);

ALTER TABLE tenantctl.tenants
  ADD COLUMN schema_fingerprint text REFERENCES tenantctl.schema_fingerprints,
  ADD COLUMN fingerprinted_at   timestamptz;
