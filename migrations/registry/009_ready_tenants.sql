-- The stock: databases with their roles that are made, and nobody's yet. `create` takes one instead of making it. No
-- password is kept for them, since nobody can log in before that.

CREATE TABLE tenantctl.ready_tenants (
  -- In the names and markers of its database and roles, until it gets those of its tenant.
  uuid        uuid PRIMARY KEY,
  server_id   int NOT NULL REFERENCES tenantctl.servers,
  roles       text NOT NULL CHECK (roles IN ('single', 'separate')),
  -- What it is a copy of, and the seeds whose rows came with that: other files make another template.
  template    text NOT NULL CHECK (octet_length(template) BETWEEN 1 AND 63),
  seeds       text[] NOT NULL,
  status      text NOT NULL DEFAULT 'filling' CHECK (status IN ('filling', 'ready', 'taken', 'removing')),
  -- Whose it is from the moment it is taken. The row goes when that tenant is active, or gone.
  tenant_uuid uuid UNIQUE REFERENCES tenantctl.tenants (uuid),
  made_at     timestamptz NOT NULL DEFAULT now(),
  CHECK ((status = 'taken') = (tenant_uuid IS NOT NULL))
);
CREATE INDEX ready_tenants_stock_idx ON tenantctl.ready_tenants (server_id, template, made_at) WHERE status = 'ready';
