-- Template databases that new tenants cannot be copied from, and why: so that nobody builds them again only to find out.
CREATE TABLE tenantctl.refused_templates (
  server_id  int NOT NULL REFERENCES tenantctl.servers ON DELETE CASCADE,
  name       text NOT NULL CHECK (octet_length(name) BETWEEN 1 AND 63),
  reason     text NOT NULL,
  refused_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (server_id, name)
);
