-- The ledger of fleet commands: what a run was asked to do, how it ended, and what became of each tenant it came to.

CREATE TABLE tenantctl.runs (
  -- Sorts by time of beginning.
  id          text PRIMARY KEY CHECK (id ~ '^r_[0-9a-z]{8,20}$'),
  command     text NOT NULL,
  parameters  jsonb NOT NULL DEFAULT '{}',
  actor       text NOT NULL,
  pid         int NOT NULL,
  status      text NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'succeeded', 'failed', 'interrupted')),
  total       int NOT NULL,
  up_to_date  int NOT NULL DEFAULT 0,
  succeeded   int NOT NULL DEFAULT 0,
  failed      int NOT NULL DEFAULT 0,
  skipped     int NOT NULL DEFAULT 0,
  -- Why tenants were left out.
  stopped     text,
  started_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  CHECK ((status = 'running') = (finished_at IS NULL))
);
CREATE INDEX runs_running_idx ON tenantctl.runs (id) WHERE status = 'running';

-- Tenants that needed nothing, and those that a run did not come to, are counted only.
CREATE TABLE tenantctl.run_tenants (
  run_id       text NOT NULL REFERENCES tenantctl.runs ON DELETE CASCADE,
  tenant_slug  text NOT NULL,
  -- Null for one whose creation got no further than its name.
  tenant_uuid  uuid,
  status       text NOT NULL,
  attempts     smallint NOT NULL DEFAULT 1,
  from_version text,
  to_version   text,
  applied      text[] NOT NULL DEFAULT '{}',
  duration_ms  int NOT NULL,
  error        jsonb,
  error_class  text,
  finished_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (run_id, tenant_slug)
);
CREATE INDEX run_tenants_tenant_idx ON tenantctl.run_tenants (tenant_uuid, finished_at DESC);
CREATE INDEX run_tenants_failed_idx ON tenantctl.run_tenants (tenant_uuid, finished_at DESC) WHERE status = 'failed';

-- An operation is written down before its deed, so it tells what a run that was killed was about to change.
ALTER TABLE tenantctl.operations ADD COLUMN run_id text;
CREATE INDEX operations_run_idx ON tenantctl.operations (run_id) WHERE run_id IS NOT NULL;
