-- What templates were built of: their names are mere hashes of that, and somebody may want to know why one is old.

CREATE TABLE tenantctl.built_templates (
  server_id int NOT NULL REFERENCES tenantctl.servers ON DELETE CASCADE,
  name      text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 63),
  made_of   jsonb NOT NULL CHECK (jsonb_typeof(made_of) = 'object'),
  built_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (server_id, name)
);
