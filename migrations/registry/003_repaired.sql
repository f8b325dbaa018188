-- When "repair" had put right what an interrupted or failed run left behind: it is looked at once.
ALTER TABLE tenantctl.operations ADD COLUMN repaired_at timestamptz;

CREATE INDEX operations_unfinished_idx ON tenantctl.operations (tenant_uuid, started_at)
  WHERE status <> 'succeeded' AND repaired_at IS NULL;
